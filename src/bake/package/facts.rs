//! What a package says of itself, in a .deb or in dpkg's list of what is installed.

use super::relation::{self, Group, Provided, Relation};
use super::version::Version;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;

/// A paragraph of deb-control(5): fields by their names in small letters, in which case does not count.
pub type Fields = BTreeMap<String, String>;

/// What a package is, and what it needs.
#[derive(Debug, Clone)]
pub struct Facts {
    pub name: String,
    /// `None` where dpkg's list has none that can be read.
    pub version: Option<Version>,
    /// As Debian names it: `arm64`, `all`.
    pub architecture: String,
    /// `foreign`, `allowed`, `same`, or empty.
    pub multi_arch: String,
    /// What has to be configured before this is unpacked.
    pub pre_depends: Vec<Group>,
    pub depends: Vec<Group>,
    pub provides: Vec<Provided>,
    /// What must not be there when this is unpacked.
    pub conflicts: Vec<Relation>,
    /// What must not be configured beside it.
    pub breaks: Vec<Relation>,
}

impl Facts {
    /// The facts that these fields are.
    ///
    /// # Errors
    /// One of them is missing, or is not what deb-control(5) says.
    pub fn read(fields: &Fields) -> Result<Facts> {
        let needed =
            |name: &str| fields.get(name).map(|text| text.trim()).with_context(|| format!("it has no field {name}"));
        let groups = |name: &str| match fields.get(name) {
            Some(text) => relation::groups(text).with_context(|| format!("its field {name}")),
            None => Ok(Vec::new()),
        };
        let name = needed("package")?;
        ensure!(relation::is_name(name), "it calls itself {name:?}, and so no package is called");
        let architecture = needed("architecture")?;
        ensure!(
            relation::is_architecture(architecture),
            "it is for {architecture:?}, and so no architecture is called"
        );
        Ok(Facts {
            name: name.to_owned(),
            version: Some(Version::parse(needed("version")?)?),
            architecture: architecture.to_owned(),
            multi_arch: fields.get("multi-arch").map(|text| text.trim().to_owned()).unwrap_or_default(),
            pre_depends: groups("pre-depends")?,
            depends: groups("depends")?,
            provides: relation::provided(fields.get("provides").map_or("", String::as_str))
                .context("its field provides")?,
            conflicts: groups("conflicts")?.into_iter().flat_map(|group| group.0).collect(),
            breaks: groups("breaks")?.into_iter().flat_map(|group| group.0).collect(),
        })
    }

    /// All that has to be there for it to work.
    pub fn needs(&self) -> impl Iterator<Item = &Group> {
        self.pre_depends.iter().chain(&self.depends)
    }

    /// Whether it is for a system of this architecture.
    pub fn fits(&self, architecture: &str) -> bool {
        self.architecture == "all" || self.architecture == architecture
    }

    /// Whether it is what `relation` asks for, on a system of this architecture (deb-control(5), `Depends` and `Multi-Arch`).
    pub fn is(&self, relation: &Relation, architecture: &str) -> bool {
        let fits = self.multi_arch == "foreign"
            || match relation.qualifier.as_deref() {
                None | Some("native") => self.fits(architecture),
                Some("any") => self.multi_arch == "allowed",
                Some(other) => self.fits(other),
            };
        fits && self.has(relation)
    }

    /// Whether it has the name and the version that `relation` tells, itself or as what it provides.
    pub fn has(&self, relation: &Relation) -> bool {
        let is_itself = self.name == relation.name && relation.accepts(self.version.as_ref());
        let provides = |one: &Provided| one.name == relation.name && relation.accepts(one.version.as_ref());
        is_itself || self.provides.iter().any(provides)
    }
}

/// The fields of the one paragraph that the file `control` of a package is.
///
/// # Errors
/// It is not what deb-control(5) says.
pub fn fields(text: &str) -> Result<Fields> {
    let mut found = Fields::new();
    let mut last = String::new();
    for line in text.trim_end().lines() {
        if line.starts_with([' ', '\t']) {
            let field = found.get_mut(&last).context("its first line belongs to no field")?;
            field.push('\n');
            field.push_str(line.trim());
            continue;
        }
        let (name, value) = line.split_once(':').with_context(|| format!("the line {line:?} is no field"))?;
        last = name.to_ascii_lowercase();
        let before = found.insert(last.clone(), value.trim().to_owned());
        ensure!(before.is_none(), "it has the field {name} twice");
    }
    Ok(found)
}

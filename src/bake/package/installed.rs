//! What an image has installed.

use super::facts::Facts;
use super::relation;
use super::version::Version;
use crate::inspect::system;
use crate::inspect::tree::Tree;
use anyhow::Result;

/// The packages of an image.
#[derive(Debug, Clone, Default)]
pub struct Installed {
    /// What the image calls its system, `Debian GNU/Linux 12 (bookworm)`; empty where it says nothing.
    pub system: String,
    pub packages: Vec<Facts>,
}

impl Installed {
    /// What dpkg in the root of an image has on its list.
    ///
    /// # Errors
    /// The list cannot be read.
    pub fn of(root: &dyn Tree) -> Result<Installed> {
        let packages = system::packages(root)?.into_iter().map(facts).collect();
        Ok(Installed { system: system::name(root)?, packages })
    }

    /// The package of that name that one for `architecture` would take the place of.
    pub fn find(&self, name: &str, architecture: &str) -> Option<&Facts> {
        self.packages.iter().find(|facts| facts.name == name && facts.fits(architecture))
    }
}

/// What dpkg has on its list was read by it: a field that cannot be read here is as if it were not there.
fn facts(package: system::Package) -> Facts {
    let system::Package { name, version, architecture, mut relations } = package;
    let mut field = |name| relations.remove(name).unwrap_or_default();
    let groups = |text: String| relation::groups(&text).unwrap_or_default();
    let each = |text: String| groups(text).into_iter().flat_map(|group| group.0).collect();
    Facts {
        name,
        version: version.and_then(|text| Version::parse(&text).ok()),
        architecture: architecture.unwrap_or_default(),
        multi_arch: field("Multi-Arch"),
        pre_depends: groups(field("Pre-Depends")),
        depends: groups(field("Depends")),
        provides: relation::provided(&field("Provides")).unwrap_or_default(),
        conflicts: each(field("Conflicts")),
        breaks: each(field("Breaks")),
    }
}

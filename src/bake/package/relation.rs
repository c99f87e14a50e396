//! What packages say of each other: `Depends`, `Provides` and the like (deb-control(5); Debian Policy, 7.1).

use super::version::Version;
use anyhow::{Context, Result, bail, ensure};
use std::fmt;

/// How a version is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`
    LaterOrEqual,
    /// `>>`
    Later,
}

/// One package that is asked for: `python3:any (>= 3.5)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    pub name: String,
    /// What is after the colon: `any`, or an architecture.
    pub qualifier: Option<String>,
    pub version: Option<(Operator, Version)>,
}

/// Packages of which one is enough: `busybox | busybox-static`. It has one at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group(pub Vec<Relation>);

/// What a package is, besides itself: `libext2fs2 (= 1.47.2-3)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provided {
    pub name: String,
    pub version: Option<Version>,
}

impl Relation {
    /// Whether a package, or what one provides, fits with this version. What is provided without a version fits where none is asked for.
    pub fn accepts(&self, version: Option<&Version>) -> bool {
        let Some((operator, wanted)) = &self.version else { return true };
        version.is_some_and(|version| match operator {
            Operator::Earlier => version < wanted,
            Operator::EarlierOrEqual => version <= wanted,
            Operator::Equal => version == wanted,
            Operator::LaterOrEqual => version >= wanted,
            Operator::Later => version > wanted,
        })
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operator::Earlier => "<<",
            Operator::EarlierOrEqual => "<=",
            Operator::Equal => "=",
            Operator::LaterOrEqual => ">=",
            Operator::Later => ">>",
        })
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(qualifier) = &self.qualifier {
            write!(f, ":{qualifier}")?;
        }
        match &self.version {
            Some((operator, version)) => write!(f, " ({operator} {version})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alternatives: Vec<String> = self.0.iter().map(Relation::to_string).collect();
        f.write_str(&alternatives.join(" | "))
    }
}

/// What `Depends` or `Conflicts` say.
///
/// # Errors
/// It is not what deb-control(5) says.
pub fn groups(text: &str) -> Result<Vec<Group>> {
    let groups = text.split(',').map(str::trim).filter(|group| !group.is_empty());
    groups.map(|group| Ok(Group(group.split('|').map(relation).collect::<Result<_>>()?))).collect()
}

/// What `Provides` says.
///
/// # Errors
/// It is not what deb-control(5) says.
pub fn provided(text: &str) -> Result<Vec<Provided>> {
    let each = text.split(',').map(str::trim).filter(|one| !one.is_empty());
    each.map(|one| {
        let relation = relation(one)?;
        let version = match relation.version {
            None => None,
            Some((Operator::Equal, version)) => Some(version),
            Some(_) => bail!("`{one}` is not what is provided: it says no version, but which ones"),
        };
        Ok(Provided { name: relation.name, version })
    })
    .collect()
}

fn relation(text: &str) -> Result<Relation> {
    let text = text.trim();
    let (named, version) = match text.split_once('(') {
        None => (text, None),
        Some((named, version)) => {
            let version = version.strip_suffix(')').with_context(|| format!("`{text}` has no closing bracket"))?;
            (named.trim(), Some(comparison(version.trim()).with_context(|| format!("`{text}`"))?))
        }
    };
    let (name, qualifier) = match named.split_once(':') {
        Some((name, qualifier)) => (name, Some(qualifier)),
        None => (named, None),
    };
    ensure!(is_name(name), "`{text}` does not begin with the name of a package");
    ensure!(qualifier.is_none_or(is_architecture), "`{text}` has no architecture after the colon");
    Ok(Relation { name: name.to_owned(), qualifier: qualifier.map(str::to_owned), version })
}

fn comparison(text: &str) -> Result<(Operator, Version)> {
    let sign = text.find(|c| !matches!(c, '<' | '=' | '>')).unwrap_or(text.len());
    let operator = match &text[..sign] {
        "<<" => Operator::Earlier,
        // The two of one character are of old packages; dpkg takes them as it does here.
        "<=" | "<" => Operator::EarlierOrEqual,
        // dpkg takes no sign at all for this one.
        "=" | "" => Operator::Equal,
        ">=" | ">" => Operator::LaterOrEqual,
        ">>" => Operator::Later,
        other => bail!("`{other}` compares nothing"),
    };
    Ok((operator, Version::parse(&text[sign..])?))
}

/// Whether a package can be called so, as dpkg sees it; Policy allows less.
pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-+._".contains(&byte))
}

/// Whether an architecture can be called so.
pub fn is_architecture(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn relations_are_read_as_they_are_written() {
        let text =
            "busybox | busybox-static, libc6 (>= 2.36), python3:any (<< 3.14~) , a(=1:2-3), b (> 1), c (1) |d,\n e,";
        let found: Vec<String> = groups(text).unwrap().iter().map(Group::to_string).collect();
        let wanted = [
            "busybox | busybox-static",
            "libc6 (>= 2.36)",
            "python3:any (<< 3.14~)",
            "a (= 1:2-3)",
            "b (>= 1)",
            "c (= 1) | d",
            "e",
        ];
        assert_eq!(found, wanted);
        assert_eq!(groups(" ").unwrap(), []);
    }

    #[test]
    fn what_is_no_relation_is_told() {
        for text in
            ["a b", "a |", "| a", "a (1", "a (>= )", "a (=> 1)", "a (>= 1) x", "(1)", "a:", "-a", "a (1) [arm64]", "ä"]
        {
            assert!(groups(text).is_err(), "{text}: {:?}", groups(text));
        }
        assert!(provided("a (>= 1)").is_err());
        let one = provided("libext2fs2 (= 1.47), x").unwrap();
        assert_eq!(one[0], Provided { name: "libext2fs2".into(), version: Some(Version::parse("1.47").unwrap()) });
        assert_eq!(one[1], Provided { name: "x".into(), version: None });
    }

    #[test]
    fn versions_are_compared() {
        for (operator, older, same, newer) in [
            ("<<", true, false, false),
            ("<=", true, true, false),
            ("=", false, true, false),
            (">=", false, true, true),
            (">>", false, false, true),
        ] {
            let relation = relation(&format!("a ({operator} 2)")).unwrap();
            let accepts = |text: &str| relation.accepts(Some(&Version::parse(text).unwrap()));
            assert_eq!(
                (accepts("1"), accepts("2-0"), accepts("2.0"), accepts("3")),
                (older, same, newer, newer),
                "{operator}"
            );
            assert!(!relation.accepts(None), "{operator}");
        }
        assert!(relation("a").unwrap().accepts(None));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_was_read_can_be_written_and_read_again(text in "[ab0-1:(),|<>= ~.-]{0,24}", any in any::<String>()) {
            for text in [text, any] {
                if let Ok(found) = groups(&text) {
                    let written: Vec<String> = found.iter().map(Group::to_string).collect();
                    prop_assert_eq!(groups(&written.join(", ")).unwrap(), found);
                }
            }
        }
    }
}

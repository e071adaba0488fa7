//! Names the owner gives: of the gateway, lines, devices, upstreams, points.

use std::fmt;
use std::sync::Arc;

/// A name that can be a topic level and a file name: `[A-Za-z0-9_-]{1,64}`.
///
/// Cheap to clone, since every reading carries several.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Why a text is no [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAName {
    #[error("a name has 1 to 64 characters, this one has {0}")]
    Length(usize),
    #[error("a name is made of A-Z a-z 0-9 _ -, not {0:?}")]
    Character(char),
}

impl Name {
    /// Longest name, so that a topic of six levels stays under every broker's 256 octets.
    pub const LONGEST: usize = 64;

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A host's name made into a gateway's: other characters become `-`.
    pub fn from_host(host: &str) -> Name {
        let text: String =
            host.chars().map(|c| if Self::allows(c) { c } else { '-' }).take(Self::LONGEST).collect();
        if text.is_empty() { Name(Arc::from("linesman")) } else { Name(Arc::from(text)) }
    }

    fn allows(c: char) -> bool {
        c.is_ascii_alphanumeric() || c == '_' || c == '-'
    }
}

impl std::str::FromStr for Name {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Name, NotAName> {
        if let Some(c) = text.chars().find(|c| !Self::allows(*c)) {
            return Err(NotAName::Character(c));
        }
        match text.len() {
            1..=Self::LONGEST => Ok(Name(Arc::from(text))),
            n => Err(NotAName::Length(n)),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_topic_level() {
        assert!("boiler-2_a".parse::<Name>().is_ok());
        assert_eq!("a.b".parse::<Name>(), Err(NotAName::Character('.')));
        assert_eq!("".parse::<Name>(), Err(NotAName::Length(0)));
        assert_eq!("x".repeat(65).parse::<Name>(), Err(NotAName::Length(65)));
    }

    #[test]
    fn a_hosts_name_becomes_a_gateways() {
        assert_eq!(Name::from_host("plant.7 west").as_str(), "plant-7-west");
        assert_eq!(Name::from_host("").as_str(), "linesman");
    }
}

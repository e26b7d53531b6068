//! The name that a dashboard gives a region. It is echoed in every event of the region.

use std::{borrow::Borrow, fmt, sync::Arc};

/// The longest name in bytes.
const NAME_BYTES_MAX: usize = 128;

/// A viewer's own name for one of its regions.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegionName(Arc<str>);

/// Why a region name was refused. The message is shown to dashboards.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRegionName {
    /// The name has no characters.
    #[error("region is empty")]
    Empty,
    /// The name is longer than allowed.
    #[error("region is longer than {NAME_BYTES_MAX} bytes")]
    TooLong,
    /// The name would damage a log line.
    #[error("region holds a control character")]
    Control,
}

impl RegionName {
    /// Checks a name.
    ///
    /// # Errors
    /// Empty, longer than 128 bytes, or with control characters.
    pub fn parse(name: &str) -> Result<Self, InvalidRegionName> {
        if name.is_empty() {
            return Err(InvalidRegionName::Empty);
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(InvalidRegionName::TooLong);
        }
        if name.chars().any(char::is_control) {
            return Err(InvalidRegionName::Control);
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for RegionName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_visible_text() {
        assert!(RegionName::parse("map #1 *é").is_ok());
        assert!(RegionName::parse(&"x".repeat(128)).is_ok());
        assert_eq!(RegionName::parse(""), Err(InvalidRegionName::Empty));
        assert_eq!(RegionName::parse(&"x".repeat(129)), Err(InvalidRegionName::TooLong));
        assert_eq!(RegionName::parse("a\nb"), Err(InvalidRegionName::Control));
    }
}

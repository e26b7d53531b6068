//! Values of options: durations, rates, secrets. Every part may use them; they know no part.
//! Invariant: a secret's text never reaches `Debug`, `Display` or an error.

use std::{convert::Infallible, fmt, net::IpAddr, str::FromStr, time::Duration};

/// Reads `250ms`, `30s`, `5m` or `2h`; for `value_parser`.
///
/// # Errors
/// The text is not a whole number with one of these units.
pub fn duration(text: &str) -> Result<Duration, InvalidValue> {
    let invalid = || InvalidValue(format!("`{text}` is not a duration such as 250ms, 30s or 5m"));
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
    let (number, unit) = text.split_at(unit_at);
    let ms_per_unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(invalid()),
    };
    let ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(ms_per_unit));
    // Far above any sensible value, and low enough that adding it to a clock cannot overflow.
    ms.filter(|ms| *ms <= DURATION_MS_MAX).map(Duration::from_millis).ok_or_else(invalid)
}

const DURATION_MS_MAX: u64 = 1000 * 3_600_000;

/// Like [`duration`], but nothing is no duration.
///
/// # Errors
/// The text is no duration, or zero.
pub fn positive_duration(text: &str) -> Result<Duration, InvalidValue> {
    let value = duration(text)?;
    if value.is_zero() { Err(InvalidValue(format!("`{text}` must be more than zero"))) } else { Ok(value) }
}

/// Why a value was refused; names the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(pub String);

/// So many in a second, written `1000/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least one.
    pub per_second: u32,
}

impl FromStr for Rate {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let per_second = text.strip_suffix("/s").and_then(|number| number.parse().ok());
        match per_second {
            Some(per_second @ 1..) => Ok(Self { per_second }),
            _ => Err(InvalidValue(format!("`{text}` is not a rate such as 1000/s"))),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.per_second)
    }
}

/// An address, or a network such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

impl Network {
    /// Whether the address lies in it. An IPv4 address counts the same when it comes wrapped into IPv6.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let host_bits = 32 - u32::from(self.prefix_bits);
                (network.to_bits() ^ address.to_bits()).checked_shr(host_bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let host_bits = 128 - u32::from(self.prefix_bits);
                (network.to_bits() ^ address.to_bits()).checked_shr(host_bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let invalid =
            || InvalidValue(format!("`{text}` is neither an address nor a network such as 10.0.0.0/8"));
        let text = text.trim();
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = prefix.map_or(Ok(bits_max), str::parse).map_err(|_| invalid())?;
        if prefix_bits > bits_max {
            return Err(invalid());
        }
        Ok(Self { address, prefix_bits })
    }
}

/// A text that must not be printed. An option of this type may also be given as a file, by the variable
/// of its name and `_FILE`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for whoever must use it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        let yes = |text: &str, ms: u64| assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        yes("250ms", 250);
        yes("0s", 0);
        yes("30s", 30_000);
        yes("5m", 300_000);
        yes("2h", 7_200_000);
        for no in ["", "5", "s", "5 s", "-5s", "1.5s", "5d", "1001h", "99999999999999999999s", "5S", "ms5"] {
            let error = duration(no).unwrap_err().to_string();
            assert!(error.contains(&format!("`{no}`")), "{error}");
        }
        assert!(positive_duration("0ms").is_err());
    }

    #[test]
    fn rates_are_per_second() {
        assert_eq!("1000/s".parse(), Ok(Rate { per_second: 1000 }));
        for no in ["", "1000", "0/s", "-1/s", "1/m", "/s", "5000000000/s"] {
            assert!(no.parse::<Rate>().is_err(), "{no}");
        }
    }

    #[test]
    fn networks_contain_addresses() {
        let check = |network: &str, address: &str, expected: bool| {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expected, "{network:?} {address}");
        };
        check("10.0.0.0/8", "10.255.1.2", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("127.0.0.1", "127.0.0.1", true);
        check("127.0.0.1", "127.0.0.2", false);
        check("0.0.0.0/0", "203.0.113.9", true);
        check("10.0.0.0/8", "::ffff:10.1.1.1", true);
        check("fd00::/8", "fd12::1", true);
        check("::/0", "fd12::1", true);
        check("fd00::/8", "10.0.0.1", false);
        for no in ["", "10.0.0.0/33", "10.0.0", "host", "10.0.0.0/", "10.0.0.0/-1", "::/129"] {
            assert!(no.parse::<Network>().is_err(), "{no}");
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        let secret: Secret = "hunter2".parse().unwrap();
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert_eq!(secret.expose(), "hunter2");
    }
}

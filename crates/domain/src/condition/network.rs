//! Ranges of addresses: `10.0.0.0/8`, `2001:db8::/32`, `192.0.2.7`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    length: u8,
}

/// Why a text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// Neither an address nor an address and a length.
    #[error("not a network: write it as 10.0.0.0/8, 2001:db8::/32 or 192.0.2.7")]
    Form,
    /// Bits beyond the length: mistyped, or meant as one host.
    #[error("the address has bits beyond its length: did you mean {0}?")]
    HostBits(Network),
    /// `::ffff:10.0.0.1` is `10.0.0.1`.
    #[error("write it as an IPv4 network: addresses are compared in that form")]
    Mapped,
}

impl Network {
    /// Whether the address is one of them. An IPv4 address is the same whether it is written as IPv6 or not.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && cut(address, self.length) == self.first
    }
}

/// The address with zeros behind its first `length` bits.
fn cut(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| InvalidNetwork::Form)?;
        let longest = if first.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => longest,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|length| *length <= longest).ok_or(InvalidNetwork::Form)?
            }
            Some(_) => return Err(InvalidNetwork::Form),
        };
        if first.to_canonical() != first {
            return Err(InvalidNetwork::Mapped);
        }
        let network = Self { first: cut(first, length), length };
        if network.first == first { Ok(network) } else { Err(InvalidNetwork::HostBits(network)) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = if self.first.is_ipv4() { 32 } else { 128 };
        if self.length == longest {
            write!(formatter, "{}", self.first)
        } else {
            write!(formatter, "{}/{}", self.first, self.length)
        }
    }
}

impl Serialize for Network {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pc_24_a_network_holds_its_addresses_however_they_are_written() {
        let contains = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().contains(address.parse().unwrap())
        };
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.0"));
        assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3"), "IPv4 in IPv6 form is the same address");
        assert!(!contains("10.0.0.0/8", "::ffff:11.1.2.3"));
        assert!(!contains("10.0.0.0/8", "::10.1.2.3"), "the old compatible form is another address");
        assert!(contains("0.0.0.0/0", "203.0.113.9") && !contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("::/0", "2001:db8::1") && !contains("::/0", "::ffff:10.0.0.1"));
        assert!(
            contains("2001:db8::/33", "2001:db8:7fff::1") && !contains("2001:db8::/33", "2001:db8:8000::")
        );
        assert!(contains("192.0.2.7", "192.0.2.7") && !contains("192.0.2.7", "192.0.2.6"));
    }

    #[test]
    fn pc_24_what_is_mistyped_is_no_network() {
        let refused = |text: &str| text.parse::<Network>().unwrap_err();
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "::/129",
            "x",
            "10.0.0.0/8/8",
            "fe80::1%eth0",
        ] {
            assert_eq!(refused(text), InvalidNetwork::Form, "{text:?}");
        }
        assert_eq!(
            refused("10.0.0.1/8").to_string(),
            "the address has bits beyond its length: did you mean 10.0.0.0/8?"
        );
        assert_eq!(refused("::ffff:10.0.0.0/104"), InvalidNetwork::Mapped);
        for text in ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1", "0.0.0.0/0"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
    }
}

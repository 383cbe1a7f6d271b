//! Where we may be sent: https, the usual port, no address of an internal network; what an operator listed besides.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use url::{Host, Url};

/// An address that may be asked, if what its name resolves to may be dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    url: Url,
    host: String,
    port: u16,
    is_listed: bool,
}

/// Why an address is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    /// Plain http is for hosts on loopback that are listed.
    #[error("its address is not https")]
    NotHttps,
    #[error("its address is none that we ask: user info, a fragment, or no host")]
    Form,
    #[error("its address has another port than 443, and its host is not in registration.internal_hosts")]
    Port,
    #[error("its host has a private address, and is not in registration.internal_hosts")]
    Private,
    #[error("its host has an address that is never dialled")]
    Never,
}

/// What may be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Ours or nobody's: also not where a host is listed.
    Never,
    /// Of an internal network.
    Private,
    Public,
}

impl Place {
    /// `own` is a host and port that an operator wrote.
    pub(super) fn parse(
        text: &str,
        internal: &BTreeSet<String>,
        own: Option<(&str, u16)>,
    ) -> Result<Self, Unfit> {
        // Whatever notation an address is in, what comes out is one (127.1, 0x7f.1, 2130706433).
        let url = Url::parse(text).map_err(|_| Unfit::Form)?;
        let bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        let host = url.host_str().filter(|host| bare && is_plain(host)).ok_or(Unfit::Form)?.to_owned();
        let port = url.port_or_known_default().filter(|port| *port != 0).ok_or(Unfit::Form)?;
        let is_listed = internal.contains(&host);
        match url.scheme() {
            "https" => {}
            "http" if is_listed => {}
            _ => return Err(Unfit::NotHttps),
        }
        if port != 443 && !is_listed && own != Some((&host, port)) {
            return Err(Unfit::Port);
        }
        let place = Self { url, host, port, is_listed };
        if let Some(address) = place.literal() {
            place.admits(address)?;
        }
        Ok(place)
    }

    /// Whether this address, to which the host resolves, may be dialled.
    pub(super) fn admits(&self, address: IpAddr) -> Result<(), Unfit> {
        if self.url.scheme() == "http" && !address.is_loopback() {
            return Err(Unfit::NotHttps);
        }
        match (class(address), self.is_listed) {
            (Class::Public, _) | (Class::Private, true) => Ok(()),
            (Class::Private, false) => Err(Unfit::Private),
            (Class::Never, _) => Err(Unfit::Never),
        }
    }

    /// The address, where the host is one.
    pub(super) fn literal(&self) -> Option<IpAddr> {
        match self.url.host()? {
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
            Host::Domain(_) => None,
        }
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// `host` or `host:port`.
    pub(super) fn authority(&self) -> String {
        match self.url.port() {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }

    /// Scheme, host and port.
    pub(crate) fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }
}

/// Names of hosts, and addresses; nothing that means something to a shell or a page.
fn is_plain(host: &str) -> bool {
    host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte))
}

fn class(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(address) => class_of_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(inside) => class_of_v4(inside),
            None => class_of_v6(address),
        },
    }
}

fn class_of_v4(address: Ipv4Addr) -> Class {
    match address.octets() {
        // This network; link-local, where clouds keep their secrets; protocol assignments, 6to4 relays; documentation;
        // benchmarks; multicast; reserved.
        [0 | 224..=255, ..]
        | [169, 254, ..]
        | [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _] => Class::Never,
        [10 | 127, ..] | [100, 64..=127, ..] | [172, 16..=31, ..] | [192, 168, ..] => Class::Private,
        _ => Class::Public,
    }
}

fn class_of_v6(address: Ipv6Addr) -> Class {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] | [0xfc00..=0xfdff, ..] => Class::Private,
        // Teredo and other protocols, documentation, 6to4: these hold or hide other addresses.
        [0x2001, 0..=0x01ff | 0x0db8, ..] | [0x2002, ..] | [0x3fff, 0..=0x0fff, ..] => Class::Never,
        [0x2000..=0x3fff, ..] => Class::Public,
        // NAT64, link-local, site-local, multicast, and whatever is not given out.
        _ => Class::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, listed: &[&str]) -> Result<Place, Unfit> {
        let listed = listed.iter().map(|host| (*host).to_owned()).collect();
        Place::parse(text, &listed, Some(("mcp.example", 8443)))
    }

    #[test]
    fn cimd_01_loopback_in_any_notation_is_refused() {
        for host in [
            "127.0.0.1",
            "127.1",
            "0x7f.1",
            "2130706433",
            "0177.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
        ] {
            assert_eq!(parse(&format!("https://{host}/x"), &[]), Err(Unfit::Private), "{host}");
        }
        assert_eq!(parse("https://0.0.0.0/x", &[]), Err(Unfit::Never));
        assert_eq!(parse("https://[::]/x", &[]), Err(Unfit::Never));
    }

    #[test]
    fn cimd_03_addresses_that_are_nobodys_business() {
        for host in ["10.1.2.3", "172.16.0.1", "172.31.255.1", "192.168.0.1", "100.64.0.1", "[fd00::1]"] {
            assert_eq!(parse(&format!("https://{host}/x"), &[]), Err(Unfit::Private), "{host}");
        }
        for host in [
            "169.254.169.254",
            "[64:ff9b::a00:1]",
            "[64:ff9b:1::1]",
            "[2002:a00:1::]",
            "[2001::1]",
            "[fe80::1]",
            "[fec0::1]",
            "[ff02::1]",
            "224.0.0.1",
            "192.0.0.1",
            "198.18.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "[::ffff:169.254.169.254]",
            "[::a00:1]",
        ] {
            let address = format!("https://{host}/x");
            assert_eq!(parse(&address, &[]), Err(Unfit::Never), "{host}");
            let bare = Url::parse(&address).unwrap();
            let listed = bare.host_str().unwrap();
            assert_eq!(parse(&address, &[listed]), Err(Unfit::Never), "{host}, even if listed");
        }
        for host in ["1.1.1.1", "[2606:4700::1111]", "192.0.1.1", "100.128.0.1"] {
            assert!(parse(&format!("https://{host}/x"), &[]).is_ok(), "{host}");
        }
    }

    #[test]
    fn ups_09_schemes_ports_and_user_info() {
        for (address, why) in [
            ("javascript:alert(1)", Unfit::Form),
            ("http://as.example/token", Unfit::NotHttps),
            ("ftp://as.example/token", Unfit::NotHttps),
            ("file:///etc/passwd", Unfit::Form),
            ("https://as.example:22/token", Unfit::Port),
            ("https://mcp.example:8444/token", Unfit::Port),
            ("https://as.example:0/token", Unfit::Form),
            ("https://user@as.example/token", Unfit::Form),
            ("https://as.example/token#x", Unfit::Form),
            ("/token", Unfit::Form),
            ("https://$(reboot)/", Unfit::Form),
        ] {
            assert_eq!(parse(address, &[]), Err(why), "{address}");
        }
        for good in
            ["https://as.example/token?x=1", "https://as.example:443/", "https://mcp.example:8443/mcp"]
        {
            assert!(parse(good, &[]).is_ok(), "{good}");
        }
        assert!(parse("http://127.0.0.1:9000/mcp", &["127.0.0.1"]).is_ok());
        assert_eq!(parse("http://10.0.0.7/mcp", &["10.0.0.7"]), Err(Unfit::NotHttps), "http is for loopback");
        assert!(parse("https://10.0.0.7:8443/mcp", &["10.0.0.7"]).is_ok());
    }
}

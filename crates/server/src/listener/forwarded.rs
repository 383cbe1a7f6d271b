//! Whose request it is when it comes through a proxy (AS-HTTP-02, HDR-06): the peer's, unless the peer is a proxy that the
//! operator named; then whatever stands rightmost in its header and is no such proxy itself. Everything further left
//! was written by strangers.

use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// More hops than this are nobody's proxies.
const MOST_HOPS: usize = 32;

/// The proxies in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    header: ForwardedHeader,
}

/// The one header that is looked at. If both were, a client could write the one that its proxy does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// RFC 7239.
    Forwarded,
    /// What most proxies write.
    XForwardedFor,
}

/// A text that is no network.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// Everybody would be believed.
    #[error("that would believe everybody")]
    Everything,
    /// `10.0.0.5/8`: one of the two is not what was meant.
    #[error("the address has bits beyond the network: {0} is the network")]
    HostBits(IpNet),
    /// Not an address either.
    #[error("not an address or a network")]
    Unreadable,
}

/// What a trusted proxy said cannot be understood, so it is not known whose request this is. It is refused rather than
/// taken for the proxy's own: the proxy is inside, and conditions on addresses would let it pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the forwarding header does not say whose request this is")]
pub(super) struct Unclear;

impl Default for TrustedProxies {
    /// Nobody is believed.
    fn default() -> Self {
        Self { networks: Vec::new(), header: ForwardedHeader::XForwardedFor }
    }
}

impl TrustedProxies {
    /// These, saying it in that header.
    pub fn new(networks: Vec<IpNet>, header: ForwardedHeader) -> Self {
        Self { networks, header }
    }

    /// An address or a network as operators write it.
    pub fn network(text: &str) -> Result<IpNet, InvalidNetwork> {
        let network = text
            .parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map_err(|_| InvalidNetwork::Unreadable)?;
        if network.prefix_len() == 0 {
            return Err(InvalidNetwork::Everything);
        }
        if network != network.trunc() {
            return Err(InvalidNetwork::HostBits(network.trunc()));
        }
        Ok(network)
    }

    /// Whether this is one of them.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Whose request it is.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Result<IpAddr, Unclear> {
        let peer = peer.to_canonical();
        if !self.contain(peer) {
            return Ok(peer);
        }
        let hops = match self.header {
            ForwardedHeader::XForwardedFor => listed(headers)?,
            ForwardedHeader::Forwarded => described(headers)?,
        };
        // The proxy's own request, or of somebody beside it: nobody speaks for anybody else.
        let mut client = peer;
        for hop in hops.iter().rev().take(MOST_HOPS) {
            client = hop.as_deref().and_then(address).ok_or(Unclear)?;
            if !self.contain(client) {
                return Ok(client);
            }
        }
        if hops.len() > MOST_HOPS { Err(Unclear) } else { Ok(client) }
    }
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

type Hops = Vec<Option<String>>;

/// `X-Forwarded-For: client, proxy1, proxy2`. Several lines are one list (RFC 9110 s5.3).
fn listed(headers: &HeaderMap) -> Result<Hops, Unclear> {
    let mut hops = Vec::new();
    for line in headers.get_all(X_FORWARDED_FOR) {
        // A value that is no ASCII may hide a comma from some reader; whose word it is is not known then.
        let line = line.to_str().map_err(|_| Unclear)?;
        hops.extend(line.split(',').map(|hop| Some(hop.trim().to_owned())));
    }
    Ok(hops)
}

/// `Forwarded: for=192.0.2.43;proto=https, for="[2001:db8::1]:4711"`. An element without `for` is a hop that says nothing.
fn described(headers: &HeaderMap) -> Result<Hops, Unclear> {
    let mut hops = Vec::new();
    for line in headers.get_all(header::FORWARDED) {
        let line = line.to_str().map_err(|_| Unclear)?;
        for element in split_outside_quotes(line, b',')? {
            let mut hop = None;
            for pair in split_outside_quotes(element, b';')? {
                let Some((name, value)) = pair.split_once('=') else {
                    return Err(Unclear);
                };
                if name.trim().eq_ignore_ascii_case("for") && hop.replace(unquoted(value.trim())?).is_some() {
                    return Err(Unclear);
                }
            }
            hops.push(hop);
        }
    }
    Ok(hops)
}

/// RFC 7239 s4: values may be quoted strings. One that does not end hides what comes after it.
fn split_outside_quotes(text: &str, separator: u8) -> Result<Vec<&str>, Unclear> {
    let mut parts = Vec::new();
    let (mut from, mut quoted, mut escaped) = (0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if byte == separator && !quoted => {
                parts.push(text[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    if quoted {
        return Err(Unclear);
    }
    parts.push(text[from..].trim());
    Ok(parts)
}

/// No address needs an escape, so there are none.
fn unquoted(value: &str) -> Result<String, Unclear> {
    let bare = match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').ok_or(Unclear)?,
        None => value,
    };
    if bare.contains(['"', '\\']) { Err(Unclear) } else { Ok(bare.to_owned()) }
}

/// With or without a port, IPv6 in brackets or bare. `unknown` and names that hide somebody are nobody's address.
fn address(text: &str) -> Option<IpAddr> {
    let bracketed =
        || text.strip_prefix('[')?.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().ok().map(IpAddr::V6);
    let address = text
        .parse::<IpAddr>()
        .ok()
        .or_else(bracketed)
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(name: &'static str, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        headers
    }

    fn proxies(header: ForwardedHeader) -> TrustedProxies {
        let networks = ["10.0.0.0/8", "2001:db8:1::/48", "192.0.2.7"];
        TrustedProxies::new(networks.map(|text| TrustedProxies::network(text).unwrap()).to_vec(), header)
    }

    fn x_forwarded_for(peer: &str, lines: &[&str]) -> Option<String> {
        let headers = headers("x-forwarded-for", lines);
        let client = proxies(ForwardedHeader::XForwardedFor).client(peer.parse().unwrap(), &headers);
        client.ok().map(|address| address.to_string())
    }

    fn forwarded(peer: &str, lines: &[&str]) -> Option<String> {
        let headers = headers("forwarded", lines);
        let client = proxies(ForwardedHeader::Forwarded).client(peer.parse().unwrap(), &headers);
        client.ok().map(|address| address.to_string())
    }

    #[test]
    fn hdr_06_the_rightmost_hop_that_is_no_proxy_is_the_client() {
        let is = |lines: &[&str], client: &str| {
            assert_eq!(x_forwarded_for("10.0.0.1", lines).as_deref(), Some(client), "{lines:?}");
        };
        is(&["203.0.113.9"], "203.0.113.9");
        is(&["203.0.113.9, 10.9.9.9"], "203.0.113.9");
        is(&["203.0.113.9", "10.9.9.9, 192.0.2.7"], "203.0.113.9");
        // Whatever the client wrote itself stands further left.
        is(&["127.0.0.1, 203.0.113.9"], "203.0.113.9");
        is(&["10.0.0.2, 203.0.113.9"], "203.0.113.9");
        is(&["127.0.0.1", "203.0.113.9"], "203.0.113.9");
        is(&["garbage \", ;, 203.0.113.9"], "203.0.113.9");
        is(&["203.0.113.9:4711"], "203.0.113.9");
        is(&["2001:db8::1"], "2001:db8::1");
        is(&["[2001:db8::1]:443"], "2001:db8::1");
        is(&["::ffff:203.0.113.9"], "203.0.113.9");
        // Somebody inside, all along proxies: the first of them.
        is(&["10.1.1.1, 10.2.2.2"], "10.1.1.1");
        is(&[], "10.0.0.1");
        assert_eq!(x_forwarded_for("::ffff:10.0.0.1", &["203.0.113.9"]).as_deref(), Some("203.0.113.9"));
        assert_eq!(x_forwarded_for("2001:db8:1::5", &["203.0.113.9"]).as_deref(), Some("203.0.113.9"));
    }

    #[test]
    fn hdr_06_a_stranger_s_header_counts_for_nothing() {
        for lines in [&["127.0.0.1"] as &[_], &["10.0.0.1"], &["\"garbage"], &["a", "b"]] {
            assert_eq!(x_forwarded_for("203.0.113.5", lines).as_deref(), Some("203.0.113.5"), "{lines:?}");
            assert_eq!(forwarded("203.0.113.5", lines).as_deref(), Some("203.0.113.5"), "{lines:?}");
        }
        let nobody = TrustedProxies::default();
        let spoofed = headers("x-forwarded-for", &["127.0.0.1"]);
        let peer = "10.0.0.1".parse().unwrap();
        assert_eq!(nobody.client(peer, &spoofed), Ok(peer), "nobody is trusted unless named");
        // The header that the proxies do not write is the client's own.
        let other = headers("forwarded", &["for=127.0.0.1"]);
        assert_eq!(proxies(ForwardedHeader::XForwardedFor).client(peer, &other), Ok(peer));
    }

    #[test]
    fn hdr_06_what_cannot_be_understood_is_nobody_s_request() {
        for line in
            ["unknown", "", "203.0.113.9,", "203.0.113.999", "_hidden", "203.0.113.9 10.0.0.1", "evil\u{fc}"]
        {
            assert_eq!(x_forwarded_for("10.0.0.1", &[line]), None, "{line:?}");
        }
        let endless = vec!["10.0.0.2"; MOST_HOPS + 1].join(",");
        assert_eq!(x_forwarded_for("10.0.0.1", &[&endless]), None);
        for line in [
            "for=unknown",
            "for=\"203.0.113.9",
            "for=203.0.113.9;for=10.0.0.1",
            "proto=https",
            "203.0.113.9",
            "",
        ] {
            assert_eq!(forwarded("10.0.0.1", &[line]), None, "{line:?}");
        }
        // An open quote of the client's must not swallow what the proxy added.
        assert_eq!(forwarded("10.0.0.1", &["for=\"10.0.0.3, for=203.0.113.9"]), None);
    }

    #[test]
    fn hdr_06_rfc_7239_is_read_as_written() {
        for (line, client) in [
            ("for=203.0.113.9", "203.0.113.9"),
            ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=192.0.2.43;proto=http;by=203.0.113.43", "192.0.2.43"),
            ("for=127.0.0.1, for=203.0.113.9;host=\"a,b;c\"", "203.0.113.9"),
            ("for=203.0.113.9, for=10.0.0.9", "203.0.113.9"),
        ] {
            assert_eq!(forwarded("10.0.0.1", &[line]).as_deref(), Some(client), "{line:?}");
        }
    }

    #[test]
    fn pc_63_networks_are_written_exactly() {
        assert!(TrustedProxies::network("10.0.0.0/8").is_ok());
        assert!(TrustedProxies::network("2001:db8::1").is_ok());
        assert_eq!(TrustedProxies::network("0.0.0.0/0"), Err(InvalidNetwork::Everything));
        assert_eq!(TrustedProxies::network("::/0"), Err(InvalidNetwork::Everything));
        assert!(matches!(TrustedProxies::network("10.0.0.5/8"), Err(InvalidNetwork::HostBits(_))));
        for bad in ["", "10.0.0", "proxy.example", "10.0.0.0/33", "10.0.0.0-10.0.0.9"] {
            assert_eq!(TrustedProxies::network(bad), Err(InvalidNetwork::Unreadable), "{bad:?}");
        }
    }
}

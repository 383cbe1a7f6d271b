//! `UpstreamUrl`: where the gateway finds an MCP server. Unlike a [`crate::resource::ResourceUri`] it may be plain http on an
//! internal network and may have a query, which is nobody else's business.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use url::{Host, Url};

/// An absolute http or https URL, as written.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamUrl {
    text: String,
    host: Host<String>,
}

/// Why a text is no address of an upstream. It never repeats the text, which may hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUpstream {
    /// Relative, not a URL, longer than 2,048 bytes, or with spaces.
    #[error("must be an absolute http or https URL of at most 2048 characters")]
    NotAUrl,
    /// Another scheme.
    #[error("must be an http or https URL")]
    NotHttp,
    /// `user:password@`
    #[error("must have no user or password in front of the host")]
    UserInfo,
    /// It would never be sent.
    #[error("must have no fragment (#…)")]
    Fragment,
}

impl UpstreamUrl {
    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether its scheme is https.
    pub fn is_https(&self) -> bool {
        self.text.starts_with("https://")
    }

    /// Whether nobody else can listen on the way there: https, or this very machine.
    pub fn is_confidential(&self) -> bool {
        let is_here = match &self.host {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        };
        self.is_https() || is_here
    }

    /// Its host, where that is an address and no name, however it is written.
    pub fn address(&self) -> Option<IpAddr> {
        match self.host {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
        }
    }
}

/// Without the query.
impl fmt::Debug for UpstreamUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(without_query(&self.text))
    }
}

/// What may be shown of an upstream's address: its query may hold a key.
pub fn without_query(url: &str) -> &str {
    url.split_once('?').map_or(url, |(shown, _)| shown)
}

impl FromStr for UpstreamUrl {
    type Err = InvalidUpstream;

    fn from_str(text: &str) -> Result<Self, InvalidUpstream> {
        if text.len() > 2048 || !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
            return Err(InvalidUpstream::NotAUrl);
        }
        let url = Url::parse(text).map_err(|_| InvalidUpstream::NotAUrl)?;
        let written = ["http://", "https://"].into_iter().find_map(|scheme| text.strip_prefix(scheme));
        let Some(written) = written else { return Err(InvalidUpstream::NotHttp) };
        let authority = written.split(['/', '?', '#']).next().unwrap_or_default();
        let host = url.host().filter(|_| !authority.is_empty()).ok_or(InvalidUpstream::NotAUrl)?.to_owned();
        if authority.contains('@') {
            return Err(InvalidUpstream::UserInfo);
        }
        if url.fragment().is_some() {
            return Err(InvalidUpstream::Fragment);
        }
        Ok(Self { text: text.to_owned(), host })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_upstreams() {
        let read = |text: &str| text.parse::<UpstreamUrl>();
        for good in
            ["http://127.0.0.1:9000/mcp", "https://notes.internal", "http://[::1]:9/a?key=1", "http://n/@x"]
        {
            assert_eq!(read(good).as_ref().map(UpstreamUrl::as_str), Ok(good));
        }
        for (bad, why) in [
            ("", InvalidUpstream::NotAUrl),
            ("/mcp", InvalidUpstream::NotAUrl),
            ("http://", InvalidUpstream::NotAUrl),
            ("http:///mcp", InvalidUpstream::NotAUrl),
            ("http://a b/mcp", InvalidUpstream::NotAUrl),
            ("http://a:99999/mcp", InvalidUpstream::NotAUrl),
            ("http://a\\b/mcp", InvalidUpstream::NotAUrl),
            ("ftp://a/mcp", InvalidUpstream::NotHttp),
            ("file:///etc/passwd", InvalidUpstream::NotHttp),
            ("http://user:open-sesame@a/mcp", InvalidUpstream::UserInfo),
            ("http://@a/mcp", InvalidUpstream::UserInfo),
            ("http://a/mcp#x", InvalidUpstream::Fragment),
        ] {
            assert_eq!(read(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn hosts_are_known_however_they_are_written() {
        let read = |text: &str| text.parse::<UpstreamUrl>().unwrap();
        for here in
            ["http://127.0.0.1:9/", "http://localhost/a", "http://[::1]/", "http://0x7f.1/", "https://a/"]
        {
            assert!(read(here).is_confidential(), "{here}");
        }
        for elsewhere in ["http://10.0.0.1/", "http://localhost.example/", "http://a/127.0.0.1"] {
            assert!(!read(elsewhere).is_confidential(), "{elsewhere}");
        }
        for odd in ["http://2852039166/", "http://0xa9.254.0xa9fe/", "http://169.254.169.254:80/"] {
            assert_eq!(read(odd).address(), Some("169.254.169.254".parse().unwrap()), "{odd}");
        }
        assert_eq!(read("http://a.example/").address(), None);
    }

    #[test]
    fn pc_43_a_query_is_not_shown() {
        let url: UpstreamUrl = "https://a/mcp?key=open-sesame".parse().unwrap();
        assert_eq!(format!("{url:?}"), "https://a/mcp");
    }
}

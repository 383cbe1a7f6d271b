//! Redirect URIs: what may be registered, and the one comparison rule.

use crate::resource::is_loopback;
use crate::serde_as_text;
use std::fmt;
use std::str::FromStr;
use url::Url;

/// A redirect URI fit to be registered: https, http on loopback, or a private-use scheme with a dot
/// (OAuth 2.1 s2.3, s8.4; MCP "Communication Security"). Kept and compared as written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RedirectUri(String);

/// Why a text may not be registered as a redirect URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a redirect URI is https, http on loopback, or a private-use scheme with a dot; no fragment, user info, wildcard, white space or backslash"
)]
pub struct InvalidRedirect;

impl RedirectUri {
    /// As registered.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an authorization request may name `requested`: the same string, except that the port of a loopback
    /// redirect is free (OAuth 2.1 s8.4.2). The host must be spelled as registered.
    pub fn admits(&self, requested: &str) -> bool {
        if self.0 == requested {
            return true;
        }
        match (loopback_parts(&self.0), loopback_parts(requested)) {
            (Some(ours), Some(theirs)) => ours == theirs,
            (None, _) | (_, None) => false,
        }
    }

    /// Whether the redirect stays on the user's machine, where any program may be listening.
    pub fn is_loopback(&self) -> bool {
        loopback_parts(&self.0).is_some()
    }

    /// Host (and port) for a person to read; for private-use schemes the scheme.
    pub fn display_host(&self) -> String {
        let Ok(url) = Url::parse(&self.0) else {
            return self.0.clone();
        };
        match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => format!("{}:", url.scheme()),
        }
    }

    /// `scheme://host[:port]` for a Content-Security-Policy `form-action`; private-use schemes as `scheme:`.
    pub fn csp_source(&self) -> String {
        match Url::parse(&self.0) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => url.origin().ascii_serialization(),
            // Another scheme has no origin that could be written, whether or not a host follows it.
            Ok(url) => format!("{}:", url.scheme()),
            Err(_) => "'none'".to_owned(),
        }
    }
}

/// `(host, path and query)` of a plain-http loopback URI, its port left out; `None` for anything else or anything odd.
fn loopback_parts(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("http://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let (host, port) = match authority.strip_prefix('[') {
        Some(_) => {
            let close = authority.find(']')?;
            (&authority[..=close], &authority[close + 1..])
        }
        None => authority.find(':').map_or((authority, ""), |colon| authority.split_at(colon)),
    };
    let port_is_legal = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|digits| digits.parse::<u16>().is_ok_and(|n| n > 0 && digits == n.to_string()));
    let host_is_loopback = matches!(host, "127.0.0.1" | "localhost" | "[::1]");
    let tail_is_plain = !tail.contains(['#', '\\', '@']) && tail.bytes().all(|b| (0x21..=0x7e).contains(&b));
    (port_is_legal && host_is_loopback && tail_is_plain).then_some((host, tail))
}

impl FromStr for RedirectUri {
    type Err = InvalidRedirect;
    fn from_str(text: &str) -> Result<Self, InvalidRedirect> {
        let printable =
            !text.is_empty() && text.len() <= 2048 && text.bytes().all(|b| (0x21..=0x7e).contains(&b));
        if !printable || text.contains(['#', '\\', '*', '"', '<', '>']) {
            return Err(InvalidRedirect);
        }
        let url = Url::parse(text).map_err(|_| InvalidRedirect)?;
        // A host stands in a Content-Security-Policy later, where `;` would begin another directive.
        let plain_host =
            |host: &str| host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-[]:".contains(&b));
        if !url.host_str().is_none_or(plain_host) {
            return Err(InvalidRedirect);
        }
        let scheme_as_written = text.starts_with(url.scheme());
        let no_userinfo = url.username().is_empty() && url.password().is_none();
        let allowed = match url.scheme() {
            "https" => url.has_host() && text.starts_with("https://"),
            "http" => is_loopback(&url) && loopback_parts(text).is_some(),
            scheme => scheme.contains('.'),
        };
        if allowed && scheme_as_written && no_userinfo {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidRedirect)
        }
    }
}

impl fmt::Display for RedirectUri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

serde_as_text!(RedirectUri);

#[cfg(test)]
mod tests {
    use super::*;

    fn registered(text: &str) -> RedirectUri {
        text.parse().unwrap()
    }

    #[test]
    fn as_authz_03_comparison_is_by_string() {
        let uri = registered("https://client.example/cb");
        assert!(uri.admits("https://client.example/cb"));
        for other in [
            "https://client.example/CB",
            "https://client.example/cb/",
            "https://client.example/cb?x",
            "https://client.example/x/../cb",
            "https://client.example:443/cb",
            "https://client.example:8443/cb",
            "http://client.example/cb",
            "https://user@client.example/cb",
            "https://client.example.evil.test/cb",
            "https://client.example/cb#f",
            "https://client.example//cb",
            "https://client.example/%63b",
            "https://client.example/cb\t",
        ] {
            assert!(!uri.admits(other), "{other}");
        }
    }

    #[test]
    fn as_authz_05_the_port_of_a_loopback_redirect_is_free_and_nothing_else() {
        let uri = registered("http://127.0.0.1/cb");
        assert!(uri.admits("http://127.0.0.1:51004/cb"));
        assert!(registered("http://localhost:3000/cb").admits("http://localhost:9/cb"));
        for other in [
            "http://localhost:51004/cb",
            "http://127.0.0.1:51004/other",
            "http://127.0.0.1:80@evil.test/cb",
            "http://127.0.0.1.evil.test/cb",
            "http://127.0.0.1:0/cb",
            "http://127.0.0.1:99999/cb",
            "http://127.0.0.1:080/cb",
            "https://127.0.0.1/cb",
            "http://127.0.0.1:51004/cb#x",
            "http://127.0.0.1:51004/cb?next=1",
            "http://127.1:51004/cb",
            "http://evil.test\\@127.0.0.1/cb",
        ] {
            assert!(!uri.admits(other), "{other}");
        }
    }

    #[test]
    fn as_authz_06_what_may_be_registered() {
        for good in
            ["https://a.example/cb?x=1", "http://localhost/cb", "http://[::1]:8080/cb", "com.example.app:/cb"]
        {
            assert!(good.parse::<RedirectUri>().is_ok(), "{good}");
        }
        for bad in [
            "http://app.test/cb",
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc",
            "myapp:/cb",
            "https://a.example/#f",
            "https://*.example/cb",
            "https://u:p@a.example/cb",
            "//a.example/cb",
            "",
            " https://a.example/cb",
            "HTTPS://a.example/cb",
            "https:a.example",
            "vbscript:x",
            "https://a;b.example/cb",
            "https://a'b.example/cb",
        ] {
            assert!(bad.parse::<RedirectUri>().is_err(), "{bad}");
        }
    }
    #[test]
    fn a_page_may_lead_to_what_was_registered() {
        for (uri, source) in [
            ("https://a.example/cb?x=1", "https://a.example"),
            ("http://127.0.0.1:8080/cb", "http://127.0.0.1:8080"),
            ("com.example.app:/cb", "com.example.app:"),
            ("com.example.app://oauth/cb", "com.example.app:"),
        ] {
            assert_eq!(registered(uri).csp_source(), source);
        }
    }
}

//! `ResourceUri`: the canonical identifier of a protected resource (RFC 8707 s2, MCP "Canonical Server URI").

use crate::serde_as_text;
use std::fmt;
use std::str::FromStr;
use url::{Host, Url};

/// The canonical URI of a server: absolute, https (or http on loopback), no fragment, query or user info, no
/// trailing slash, in the one spelling that the URL parser prints. It is the `aud` of every token for the server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceUri(String);

/// Why a text is no resource identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidResource {
    /// Relative, not a URL, or longer than 2,048 bytes.
    #[error("must be an absolute URL of at most 2048 characters")]
    NotAbsolute,
    /// Plain http outside loopback, or another scheme.
    #[error("must be https (plain http is for loopback only)")]
    NotHttps,
    /// It has a fragment (RFC 8707 s2), a query, or user info.
    #[error("must have no fragment, query or user info")]
    Surplus,
    /// It has dot segments, percent-encoded slashes, backslashes or empty path segments, which readers resolve differently.
    #[error(
        "must have no dot segments, empty segments, backslashes or encoded slashes in its path"
    )]
    Confusable,
}

impl ResourceUri {
    /// The canonical spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `scheme://host[:port]`.
    pub fn origin(&self) -> &str {
        let after_scheme = self.0.find("://").map_or(0, |at| at + 3);
        self.0[after_scheme..]
            .find('/')
            .map_or(&self.0, |slash| &self.0[..after_scheme + slash])
    }

    /// The path, empty or beginning with `/`.
    pub fn path(&self) -> &str {
        &self.0[self.origin().len()..]
    }

    /// Where the metadata of this resource stands (RFC 9728 s3.1: path insertion).
    pub fn metadata_url(&self) -> String {
        format!(
            "{}/.well-known/oauth-protected-resource{}",
            self.origin(),
            self.path()
        )
    }
}

impl FromStr for ResourceUri {
    type Err = InvalidResource;

    /// Scheme and host may come in any case, a default port or the slash of an empty path may be written out: they
    /// become the canonical form. Everything else must already be canonical; nothing is resolved or decoded.
    fn from_str(text: &str) -> Result<Self, InvalidResource> {
        if text.len() > 2048 || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(InvalidResource::NotAbsolute);
        }
        let url = Url::parse(text).map_err(|_| InvalidResource::NotAbsolute)?;
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            "http" => return Err(InvalidResource::NotHttps),
            _ => return Err(InvalidResource::NotHttps),
        }
        if text.contains(['#', '?', '@']) {
            return Err(InvalidResource::Surplus);
        }
        let path = raw_path(text);
        let lower = path.to_ascii_lowercase();
        let confusable = path.contains("//")
            || path.contains('\\')
            || lower.contains("%2f")
            || lower.contains("%5c")
            || lower
                .replace("%2e", ".")
                .split('/')
                .any(|segment| segment == "." || segment == "..");
        // An encoded or non-ASCII character has a second spelling; the canonical form has none.
        if confusable
            || path.contains('%')
            || url.path() != if path.is_empty() { "/" } else { path }
        {
            return Err(InvalidResource::Confusable);
        }
        if path.len() > 1 && path.ends_with('/') {
            return Err(InvalidResource::Confusable);
        }
        let printed = url.as_str();
        Ok(Self(
            printed.strip_suffix('/').unwrap_or(printed).to_owned(),
        ))
    }
}

/// The path of an absolute URL exactly as written.
fn raw_path(text: &str) -> &str {
    let authority = text.find("://").map_or(0, |at| at + 3);
    text[authority..]
        .find(['/', '\\'])
        .map_or("", |slash| &text[authority + slash..])
}

/// Whether a URL's host is this machine: `localhost`, 127.0.0.0/8 or `[::1]`.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

impl fmt::Display for ResourceUri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

serde_as_text!(ResourceUri);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_res_05_scheme_and_host_fold_and_nothing_else_does() {
        let canonical = "https://mcp1.test/mcp";
        for same in [
            canonical,
            "HTTPS://MCP1.TEST/mcp",
            "https://mcp1.test:443/mcp",
        ] {
            assert_eq!(
                same.parse::<ResourceUri>().unwrap().as_str(),
                canonical,
                "{same}"
            );
        }
        assert_eq!(
            "https://mcp1.test/".parse::<ResourceUri>().unwrap(),
            "https://mcp1.test".parse().unwrap()
        );
        for other in [
            "https://mcp1.test/MCP",
            "https://mcp1.test/mcp2",
            "https://mcp1.test:8443/mcp",
        ] {
            assert_ne!(
                other.parse::<ResourceUri>().unwrap().as_str(),
                canonical,
                "{other}"
            );
        }
    }

    #[test]
    fn pc_30_confusable_forms_are_refused() {
        for bad in [
            "",
            "mcp1.test/mcp",
            "/relative",
            "urn:x",
            "https://mcp1.test/mcp#x",
            "https://mcp1.test/mcp?x",
            "https://u@mcp1.test/mcp",
            "https://mcp1.test/mcp/",
            "https://mcp1.test/a/../mcp",
            "https://mcp1.test/%2e%2e/mcp",
            "https://mcp1.test/a%2fb",
            "https://mcp1.test//mcp",
            "https://mcp1.test/a\\b",
            "https://mcp1.test/%6dcp",
            "http://mcp1.test/mcp",
            " https://mcp1.test/mcp",
            "https://mcp1.test/m\u{e9}",
        ] {
            assert!(bad.parse::<ResourceUri>().is_err(), "{bad}");
        }
    }

    #[test]
    fn as_prm_01_metadata_by_path_insertion() {
        let server: ResourceUri = "http://127.0.0.1:8080/mcp/notes".parse().unwrap();
        assert_eq!(
            server.metadata_url(),
            "http://127.0.0.1:8080/.well-known/oauth-protected-resource/mcp/notes"
        );
    }
}

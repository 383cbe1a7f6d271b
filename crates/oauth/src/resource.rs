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
        "must have no slash at the end, no dot segments, empty segments, backslashes or encoded slashes in its path"
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
        self.0[after_scheme..].find('/').map_or(&self.0, |slash| &self.0[..after_scheme + slash])
    }

    /// The path, empty or beginning with `/`.
    pub fn path(&self) -> &str {
        &self.0[self.origin().len()..]
    }

    /// Where the metadata of this resource stands (RFC 9728 s3.1: path insertion).
    pub fn metadata_url(&self) -> String {
        format!("{}/.well-known/oauth-protected-resource{}", self.origin(), self.path())
    }
}

impl FromStr for ResourceUri {
    type Err = InvalidResource;

    /// Scheme and host may come in any case, a default port or the slash of an empty path may be written out: they
    /// become the canonical form. Everything else must already be canonical; nothing is resolved or decoded.
    fn from_str(text: &str) -> Result<Self, InvalidResource> {
        if text.len() > 2048 || !text.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) {
            return Err(InvalidResource::NotAbsolute);
        }
        let url = Url::parse(text).map_err(|_| InvalidResource::NotAbsolute)?;
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            _ => return Err(InvalidResource::NotHttps),
        }
        if text.contains(['#', '?', '@']) {
            return Err(InvalidResource::Surplus);
        }
        let (authority, path) = split_as_written(text, &url).ok_or(InvalidResource::NotAbsolute)?;
        if !is_plain_path(path) || url.path() != if path.is_empty() { "/" } else { path } {
            return Err(InvalidResource::Confusable);
        }
        // 127.1, 0x7f000001 and the like are other spellings of a host: the parser folds them, we do not.
        if !is_same_authority(authority, &url) {
            return Err(InvalidResource::Confusable);
        }
        let printed = url.as_str();
        Ok(Self(printed.strip_suffix('/').unwrap_or(printed).to_owned()))
    }
}

/// Authority and path exactly as written, after `scheme://`.
fn split_as_written<'a>(text: &'a str, url: &Url) -> Option<(&'a str, &'a str)> {
    let rest = text.get(url.scheme().len()..)?.strip_prefix("://")?;
    Some(rest.split_at(rest.find(['/', '\\']).unwrap_or(rest.len())))
}

/// A path with one reading only: no dot or empty segments, no backslash, nothing encoded, no trailing slash.
fn is_plain_path(path: &str) -> bool {
    let segments = || path.split('/').skip(1);
    let is_odd = |segment: &str| matches!(segment, "" | "." | "..");
    matches!(path, "" | "/") || !(path.contains(['\\', '%']) || segments().any(is_odd))
}

/// Whether the authority was written as the parser prints it, but for case and a default port.
fn is_same_authority(written: &str, url: &Url) -> bool {
    let Some(host) = url.host_str() else {
        return false;
    };
    let default_port = if url.scheme() == "https" { 443 } else { 80 };
    let lower = written.to_ascii_lowercase();
    match url.port() {
        Some(port) => lower == format!("{host}:{port}"),
        None => lower == host || lower == format!("{host}:{default_port}"),
    }
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
        for same in [canonical, "HTTPS://MCP1.TEST/mcp", "https://mcp1.test:443/mcp"] {
            assert_eq!(same.parse::<ResourceUri>().unwrap().as_str(), canonical, "{same}");
        }
        assert_eq!(
            "https://mcp1.test/".parse::<ResourceUri>().unwrap(),
            "https://mcp1.test".parse().unwrap()
        );
        for other in ["https://mcp1.test/MCP", "https://mcp1.test/mcp2", "https://mcp1.test:8443/mcp"] {
            assert_ne!(other.parse::<ResourceUri>().unwrap().as_str(), canonical, "{other}");
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
            "https:mcp1.test/mcp",
            "https:/mcp1.test/mcp",
            "https:///mcp1.test/mcp",
            "http://127.1/mcp",
            "http://0x7f000001/mcp",
            "https://mcp1\u{3002}test/mcp",
            "https://mcp1.test:0443/mcp",
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

//! `Issuer`: who signs tokens (RFC 8414 s2), compared character for character.

use crate::resource::is_loopback;
use crate::serde_as_text;
use std::fmt;
use std::str::FromStr;
use url::Url;

/// An issuer identifier: https (or http on loopback), no query, no fragment, no trailing slash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Issuer(String);

/// Why a text is no issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIssuer {
    /// Not an absolute URL.
    #[error("not an absolute URL")]
    NotAUrl,
    /// Plain http outside loopback.
    #[error("must be https (plain http is for loopback only)")]
    NotHttps,
    /// Query, fragment, user info, dot segments, upper case, a default port or a trailing slash.
    #[error(
        "must be written in canonical form: lower-case host, no default port, no query, fragment, user info or trailing slash"
    )]
    NotCanonical,
}

impl Issuer {
    /// The identifier as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `scheme://host[:port]`, without the path.
    pub fn origin(&self) -> &str {
        let after_scheme = self.0.find("://").map_or(0, |at| at + 3);
        self.0[after_scheme..].find('/').map_or(&self.0, |slash| &self.0[..after_scheme + slash])
    }

    /// The path, empty or beginning with `/`, never ending with one.
    pub fn path(&self) -> &str {
        &self.0[self.origin().len()..]
    }

    /// The address of something below the issuer; `path` begins with `/`.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// The well-known address by path insertion (RFC 8414 s3.1): `/.well-known/NAME` before the issuer's path.
    pub fn well_known(&self, name: &str) -> String {
        format!("{}/.well-known/{name}{}", self.origin(), self.path())
    }

    /// Whether cookies and redirects travel over TLS.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }
}

impl FromStr for Issuer {
    type Err = InvalidIssuer;
    fn from_str(text: &str) -> Result<Self, InvalidIssuer> {
        let url = Url::parse(text).map_err(|_| InvalidIssuer::NotAUrl)?;
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            _ => return Err(InvalidIssuer::NotHttps),
        }
        // The parser's own printing is canonical but for the root's slash.
        let printed = url.as_str().strip_suffix('/').unwrap_or(url.as_str());
        let bare = url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if bare && printed == text && !text.ends_with('/') {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidIssuer::NotCanonical)
        }
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

serde_as_text!(Issuer);

/// An issuer that is not ours, exactly as its tokens name it in `iss`. It is compared and never rewritten, so it may end with
/// a slash, as those of some providers do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExternalIssuer(String);

/// Why a text is no issuer of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an issuer is the https URL (plain http on loopback only) that tokens name in iss, without query, fragment, user or \"|\", of at most 255 characters"
)]
pub struct InvalidExternalIssuer;

impl ExternalIssuer {
    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ExternalIssuer {
    type Err = InvalidExternalIssuer;
    fn from_str(text: &str) -> Result<Self, InvalidExternalIssuer> {
        // `|` stands between an issuer and a subject wherever the two are written as one.
        let plain =
            text.len() <= 255 && text.bytes().all(|b| b.is_ascii_graphic() && !b"|?#\\\"<>".contains(&b));
        let url = Url::parse(text).map_err(|_| InvalidExternalIssuer)?;
        let secure = text.starts_with("https://") || text.starts_with("http://") && is_loopback(&url);
        let bare = url.host().is_some() && url.username().is_empty() && url.password().is_none();
        if plain && secure && bare { Ok(Self(text.to_owned())) } else { Err(InvalidExternalIssuer) }
    }
}

impl fmt::Display for ExternalIssuer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

serde_as_text!(ExternalIssuer);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_meta_01_path_is_inserted_before_and_kept() {
        let issuer: Issuer = "https://as.test/t1".parse().unwrap();
        assert_eq!(issuer.origin(), "https://as.test");
        assert_eq!(issuer.path(), "/t1");
        assert_eq!(
            issuer.well_known("oauth-authorization-server"),
            "https://as.test/.well-known/oauth-authorization-server/t1"
        );
        let root: Issuer = "http://127.0.0.1:8080".parse().unwrap();
        assert_eq!((root.origin(), root.path()), ("http://127.0.0.1:8080", ""));
    }

    #[test]
    fn jwt_12_an_external_issuer_is_kept_as_written() {
        for good in
            ["https://idp.test", "https://idp.test/", "https://idp.test/tenant/v2.0", "http://127.0.0.1:9"]
        {
            assert_eq!(good.parse::<ExternalIssuer>().unwrap().as_str(), good);
        }
        for bad in [
            "http://idp.test",
            "https://u@idp.test",
            "https://idp.test?x",
            "https://idp.test#x",
            "https://idp.test/a|b",
            "https://idp.test/ü",
            "idp.test",
            "https://",
            "",
        ] {
            assert!(bad.parse::<ExternalIssuer>().is_err(), "{bad}");
        }
    }

    #[test]
    fn def_02_only_canonical_https_or_loopback() {
        for bad in [
            "http://as.test",
            "https://as.test/",
            "https://AS.test",
            "https://as.test:443",
            "https://as.test/a/../b",
            "https://u@as.test",
            "https://as.test?x",
            "as.test",
            "ftp://as.test",
        ] {
            assert!(bad.parse::<Issuer>().is_err(), "{bad}");
        }
    }
}

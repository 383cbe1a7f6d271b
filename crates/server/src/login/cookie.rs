//! Cookies: `__Host-`, Secure, HttpOnly, SameSite=Lax (AS-CONS-07). On plain-http loopback neither the prefix nor
//! `Secure`, because clients would not send such a cookie back.

use http::{HeaderMap, HeaderValue, header};
use portcullis_oauth::issuer::Issuer;
use std::time::Duration;

/// The cookies that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cookie {
    /// Binds a sign-in page to the browser that asked for it (UI-13).
    BeforeSignIn,
    /// A signed-in browser.
    Session,
}

impl Cookie {
    fn name(self, issuer: &Issuer) -> &'static str {
        match (self, issuer.is_https()) {
            (Self::BeforeSignIn, true) => "__Host-portcullis-visit",
            (Self::BeforeSignIn, false) => "portcullis-visit",
            (Self::Session, true) => "__Host-portcullis",
            (Self::Session, false) => "portcullis",
        }
    }

    /// Its value in a request. Two of one name are none: one of them was planted.
    pub(crate) fn read<'a>(self, issuer: &Issuer, headers: &'a HeaderMap) -> Option<&'a str> {
        let name = self.name(issuer);
        let lines = headers.get_all(header::COOKIE).into_iter();
        let texts = lines.filter_map(|line| line.to_str().ok());
        let pairs = texts.flat_map(|line| line.split(';'));
        let mut values = pairs
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(found, _)| *found == name)
            .map(|(_, value)| value);
        let first = values.next().filter(|value| !value.is_empty())?;
        values.next().is_none().then_some(first)
    }

    /// The header that sets it, for as long as the browser runs and `life` lasts.
    pub(crate) fn set(self, issuer: &Issuer, value: &str, life: Duration) -> Option<HeaderValue> {
        let secure = if issuer.is_https() { "; Secure" } else { "" };
        let text = format!(
            "{}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={}{secure}",
            self.name(issuer),
            life.as_secs()
        );
        let mut header = HeaderValue::from_str(&text).ok()?;
        header.set_sensitive(true);
        Some(header)
    }

    /// The header that takes it away.
    pub(crate) fn clear(self, issuer: &Issuer) -> Option<HeaderValue> {
        self.set(issuer, "", Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&'static str]) -> HeaderMap {
        let line = |text: &&'static str| (header::COOKIE, HeaderValue::from_static(text));
        lines.iter().map(line).collect()
    }

    #[test]
    fn as_cons_07_attributes() {
        let https = "https://as.test".parse().unwrap();
        let set = Cookie::Session.set(&https, "v", Duration::from_mins(1)).unwrap();
        assert_eq!(
            set.to_str().unwrap(),
            "__Host-portcullis=v; Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure"
        );
        assert!(set.is_sensitive());
        let http = "http://127.0.0.1:8080".parse().unwrap();
        let set = Cookie::Session.set(&http, "v", Duration::from_mins(1)).unwrap();
        assert_eq!(set.to_str().unwrap(), "portcullis=v; Path=/; HttpOnly; SameSite=Lax; Max-Age=60");
        assert_eq!(Cookie::Session.set(&https, "a\r\nb", Duration::ZERO), None);
    }

    #[test]
    fn a_planted_second_cookie_counts_as_none() {
        let issuer = "https://as.test".parse().unwrap();
        let read = |lines: &[&'static str]| {
            let headers = headers(lines);
            Cookie::Session.read(&issuer, &headers).map(str::to_owned)
        };
        assert_eq!(read(&["a=b; __Host-portcullis=x"]).as_deref(), Some("x"));
        assert_eq!(read(&["__Host-portcullis=x; __Host-portcullis=y"]), None);
        assert_eq!(read(&["__Host-portcullis=x", "__Host-portcullis=x"]), None);
        for other in ["portcullis=x", "__Host-portcullis-visit=x", "__Host-portcullis="] {
            assert_eq!(read(&[other]), None, "{other}");
        }
    }
}

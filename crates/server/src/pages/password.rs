//! The page on which a person chooses a password.

use askama::Template;

/// Old password, new password, twice.
#[derive(Template)]
#[template(path = "password.html")]
pub(crate) struct PasswordPage<'a> {
    /// Path of the issuer.
    pub(crate) base: &'a str,
    /// Sealed: whose form it is, and what happens afterwards.
    pub(crate) flow: &'a str,
    /// For password managers.
    pub(crate) username: &'a str,
    /// The one signed in with was a one-time password.
    pub(crate) must_change: bool,
    /// Why the page is shown again.
    pub(crate) problem: Option<Problem>,
}

/// Why a password was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The two new ones differ.
    Differ,
    /// The new one is the old one.
    Same,
    /// Outside of 12 characters to 1,024 bytes.
    Size,
    /// Too many attempts.
    TooMany,
    /// The old one is wrong.
    Wrong,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Differ => "The new password and its repetition differ.",
            Self::Same => "The new password is the old one.",
            Self::Size => "The new password must have at least 12 characters, and not over a thousand.",
            Self::TooMany => "Too many attempts. Please wait a little, then try again.",
            Self::Wrong => "The password until now is wrong.",
        })
    }
}

//! The page on which a person says who they are.

use askama::Template;

/// User name and password.
#[derive(Template)]
#[template(path = "sign_in.html")]
pub(crate) struct SignInPage<'a> {
    /// Path of the issuer.
    pub(crate) base: &'a str,
    /// Sealed: what happens afterwards.
    pub(crate) flow: &'a str,
    /// Why the page is shown again.
    pub(crate) problem: Option<Problem>,
}

/// Why a person was not let in. What they read is the same for a name that is known and one that is not (UI-11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The password was made by somebody else, and its time is over. Only who knows it reads this.
    Over,
    /// The page was open for too long, in another browser, or comes from elsewhere.
    Stale,
    /// Too many attempts.
    TooMany,
    /// Name and password do not belong together.
    Wrong,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Over => "This one-time password is over. Ask whoever gave it to you for another.",
            Self::Stale => "That page was no longer valid. Please sign in here.",
            Self::TooMany => "Too many attempts. Please wait a little, then try again.",
            Self::Wrong => "User name and password do not match.",
        })
    }
}

//! Why a token was not believed.

use crate::bounds::rates::TooOften;
use portcullis_oauth::jwt::TokenRefusal;

/// Why a token was not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disbelief {
    /// Another issuer would have to say something about it, and does not now.
    IssuerAway,
    /// The issuer says that it is not, or no longer, good.
    NotActive,
    Revoked,
    Token(TokenRefusal),
    /// It was never seen, and its signature is not checked now.
    Unchecked(TooOften),
}

//! `Fault`: something of ours failed. Callers learn only that; the chain goes to the log, once, where it is answered.

use crate::passwords::PasswordFault;
use portcullis_domain::seal::Unsealable;
use portcullis_oauth::jwt::SigningFailed;

/// Why we could not do what was asked rightly. Nothing was acknowledged, so nothing counts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// There is no key to derive refresh tokens from.
    #[error("no refresh root key")]
    NoRefreshRoot,
    #[error("a password could not be checked")]
    Password(#[from] PasswordFault),
    #[error("a value could not be sealed")]
    Seal(#[from] Unsealable),
    /// Something we made ourselves does not have the shape we gave it.
    #[error("{0} is not well formed")]
    Shape(&'static str),
    #[error("a token could not be signed")]
    Signing(#[from] SigningFailed),
    #[error("the store failed")]
    Store(#[from] portcullis_store::Error),
}

impl Fault {
    /// Logs the whole chain.
    pub(crate) fn log(&self) {
        let mut chain = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(error) = next {
            chain = format!("{chain}: {error}");
            next = error.source();
        }
        tracing::error!(%chain, "fault");
    }
}

//! The keys of the authority, ready to use.

use portcullis_domain::refresh::RefreshRoots;
use portcullis_domain::seal::SealingKey;
use portcullis_oauth::jwk::{JwkSet, KeySet};
use portcullis_oauth::jwt::SigningKey;

/// The keys of the authority. The private assertion key is not here: only the gateway holds it.
pub struct Keys {
    /// Signs access tokens.
    pub access: SigningKey,
    /// Every published key of access tokens.
    pub public: JwkSet,
    /// The same, ready to verify with.
    pub key_set: KeySet,
    /// Every published key of assertions; none is ever in `public` too.
    pub assertion_public: JwkSet,
    /// Derives refresh tokens.
    pub refresh: RefreshRoots,
    /// Seals what travels through a browser.
    pub browser_seal: SealingKey,
}

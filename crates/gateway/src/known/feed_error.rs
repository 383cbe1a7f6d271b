//! Why an update was not taken.

use portcullis_domain::policy::UnusableSnapshot;
use portcullis_oauth::jwk::InvalidKeySet;

/// Why an update was not taken. The state is what it was.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The public half of this gateway's assertion key stands among the keys of access tokens.
    #[error("the assertion key is among the keys of access tokens")]
    AssertionKeyAmongAccessKeys,
    /// Another issuer's.
    #[error("the snapshot is of another issuer")]
    Issuer,
    /// The keys cannot be used.
    #[error("the snapshot's keys cannot be used")]
    Keys(#[from] InvalidKeySet),
    /// PC-03.
    #[error("the leeway is more than 60 seconds")]
    Leeway,
    /// The bytes are no update.
    #[error("not an update")]
    Malformed(#[source] serde_json::Error),
    /// A change came between that was not heard of: a full update is needed.
    #[error("a change was missed")]
    Missed,
    /// An earlier state than the one that is known.
    #[error("older than what is known")]
    Older,
    /// Two servers share an address, or a name.
    #[error("two servers share an address or a name")]
    SharedAddress,
    /// The policy cannot be used.
    #[error("the snapshot's policy cannot be used")]
    Unusable(#[from] UnusableSnapshot),
}

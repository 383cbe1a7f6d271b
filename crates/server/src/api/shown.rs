//! A secret in an answer: the one time that somebody sees it.

use portcullis_domain::secret::{Kind, Plain};
use serde::{Serialize, Serializer};

/// Written out as it is. Whatever carries it is answered with `Cache-Control: no-store`.
pub(super) struct Shown<K: Kind>(pub(super) Plain<K>);

impl<K: Kind> Serialize for Shown<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.reveal())
    }
}

//! What the specifications say: wire types of OAuth 2.1 and of MCP authorization.
//!
//! Everything here parses or prints. Nothing reads a clock, does I/O or knows Portcullis.
//! A value of a type of this crate is well formed; what it *allows* is decided elsewhere.
#![warn(missing_docs)]

pub mod authorize;
pub mod challenge;
pub mod client;
pub mod error;
pub mod form;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod issuer;
pub mod jwk;
pub mod jwt;
pub mod metadata;
pub mod pkce;
pub mod redirect;
pub mod resource;
pub mod scope;
pub mod strict_json;
pub mod time;
pub mod token;
pub mod upstream;

/// Implements serde as text for a type that has `Display` and `FromStr`.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;

//! Secrets by reference: what is registered says where a secret stands, and never the secret (PC-05, UPS-07).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Where a secret stands on the machine of the gateway: `env:NAME` or `file:PATH`. Never the secret itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretPlace {
    /// A variable of the environment.
    Env(String),
    /// A file.
    File(String),
}

/// The text names no place. It is not repeated: it may be the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a secret is named by its place, \"env:NAME\" or \"file:/absolute/path\"; the secret itself stands nowhere"
)]
pub struct InvalidSecretPlace;

impl FromStr for SecretPlace {
    type Err = InvalidSecretPlace;
    fn from_str(text: &str) -> Result<Self, InvalidSecretPlace> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if let Some(name) = text.strip_prefix("env:") {
            let good = !name.is_empty() && name.bytes().all(legal);
            return if good { Ok(Self::Env(name.to_owned())) } else { Err(InvalidSecretPlace) };
        }
        let path = text.strip_prefix("file:").filter(|path| path.starts_with('/') && !path.contains('\0'));
        path.map(|path| Self::File(path.to_owned())).ok_or(InvalidSecretPlace)
    }
}

impl fmt::Display for SecretPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(formatter, "env:{name}"),
            Self::File(path) => write!(formatter, "file:{path}"),
        }
    }
}

impl Serialize for SecretPlace {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SecretPlace {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

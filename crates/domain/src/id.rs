//! Every kind of thing has its own kind of id: time-ordered, with a prefix in its text form.

use portcullis_oauth::time::Timestamp;
use rand::CryptoRng;
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;
use uuid::fmt::Simple;

/// A text is not an id of the kind asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an identifier of this kind")]
pub struct InvalidId;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id, ordered by `now`.
            pub fn generate(now: Timestamp, rng: &mut impl CryptoRng) -> Self {
                Self(ordered_uuid(now, rng))
            }

            /// The 16 bytes behind the text.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// From the 16 bytes behind the text.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(concat!($prefix, "_"))?;
                formatter.write_str(self.0.simple().encode_lower(&mut [0; Simple::LENGTH]))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, formatter)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let digits = text.strip_prefix(concat!($prefix, "_")).ok_or(InvalidId)?;
                let legal = digits.len() == 32 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                if !legal {
                    return Err(InvalidId);
                }
                Uuid::try_parse(digits).map(Self).map_err(|_| InvalidId)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// A person's sign-in at a third-party server.
    ConnectionId = "con";
    /// A refresh token and all its successors.
    FamilyId = "fam";
    /// A gateway that runs alone; never comes back after its removal.
    GatewayId = "gtw";
    /// What a user agreed to: client × server × scopes.
    GrantId = "grt";
    /// One write, so that a lost answer can be looked up before a retry.
    OperationId = "opn";
    /// An audit record.
    RecordId = "rec";
    /// A registered server; survives renaming, dies with removal, never comes back.
    ServerId = "srv";
    /// One run of an agent, or one sign-in of a person through a client.
    SessionId = "ses";
    /// One access token (`jti`).
    TokenId = "tok";
    /// A person.
    UserId = "usr";
}

/// The text of a new client identifier; clients may also bring identifiers of other shapes (RFC 7591, metadata documents).
pub fn client_id(now: Timestamp, rng: &mut impl CryptoRng) -> String {
    format!("cli_{}", ordered_uuid(now, rng).simple())
}

/// UUID version 7 (RFC 9562 s5.7): 48 bits of time, 74 of chance.
fn ordered_uuid(now: Timestamp, rng: &mut impl CryptoRng) -> Uuid {
    let mut random = [0; 10];
    rng.fill_bytes(&mut random);
    let millis = u64::try_from(now.seconds()).unwrap_or(0).saturating_mul(1000);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[test]
    fn ids_read_back_and_kinds_do_not_mix() {
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        let id = SessionId::generate(Timestamp::from_seconds(1_800_000_000), &mut rng);
        assert_eq!(id.to_string().parse::<SessionId>(), Ok(id));
        assert!(id.to_string().parse::<UserId>().is_err());
        assert!(id.to_string().to_uppercase().parse::<SessionId>().is_err());
        let later = SessionId::generate(Timestamp::from_seconds(1_800_000_001), &mut rng);
        assert!(id < later);
    }
}

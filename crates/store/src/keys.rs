//! Keys, sealed; only their public halves can be read without the key-encryption key.

use crate::connection::values;
use crate::error::Error;
use crate::feed::ChangeKind;
use crate::reader::Reader;
use crate::row::json;
use crate::statements::statements;
use crate::tx::Tx;
use portcullis_oauth::jwk::PublicJwk;
use portcullis_oauth::time::Timestamp;
use std::fmt;

/// What a key is for; no key has two purposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyPurpose {
    /// Signs access tokens.
    AccessToken,
    /// Signs assertions for upstreams.
    Assertion,
    /// Refresh tokens are derived from it.
    RefreshRoot,
}

/// A key as it is kept. Its `Debug` does not show the sealed half.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// What it is for.
    pub purpose: KeyPurpose,
    /// Counted from 1, for each purpose.
    pub version: u16,
    /// Unique.
    pub kid: String,
    /// The private half, sealed.
    pub sealed: Vec<u8>,
    /// The public half, if it has one.
    pub public: Option<PublicJwk>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl fmt::Debug for StoredKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "StoredKey({:?} {}, {})", self.purpose, self.version, self.kid)
    }
}

impl StoredKey {
    /// From the cells of a row of `sealed_key` in a backup.
    pub fn from_cells(cells: &[serde_json::Value]) -> Option<Self> {
        let [purpose, version, kid, sealed, public, created_at] = cells else { return None };
        let purpose = purpose.as_str()?;
        let purposes = [KeyPurpose::AccessToken, KeyPurpose::Assertion, KeyPurpose::RefreshRoot];
        Some(Self {
            purpose: purposes.into_iter().find(|known| known.as_str() == purpose)?,
            version: version.as_u64()?.try_into().ok()?,
            kid: kid.as_str()?.to_owned(),
            sealed: crate::backup::unhex(sealed.as_str()?)?,
            public: match public.as_str() {
                Some(text) => Some(serde_json::from_str(text).ok()?),
                None => None,
            },
            created_at: Timestamp::from_seconds(created_at.as_i64()?),
        })
    }
}

impl KeyPurpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "access_token",
            Self::Assertion => "assertion",
            Self::RefreshRoot => "refresh_root",
        }
    }
}

statements! {
    KEYS =
        "SELECT version, kid, sealed, public, created_at FROM sealed_key WHERE purpose = $1 ORDER BY version";
    // Of two nodes that start at once one makes the key, the other reads it.
    INSERT_KEY =
        "INSERT INTO sealed_key (purpose, version, kid, sealed, public, created_at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (purpose, version) DO NOTHING";
}

impl Reader<'_> {
    /// The keys of a purpose, oldest first.
    pub async fn keys(&mut self, purpose: KeyPurpose) -> Result<Vec<StoredKey>, Error> {
        let rows = self.connection.rows(KEYS, values![purpose.as_str()]).await?;
        rows.into_iter()
            .map(|row| {
                let kid = row.text("kid")?;
                let row = row.named("sealed_key", &kid);
                Ok(StoredKey {
                    purpose,
                    version: row.int("version")?,
                    kid,
                    sealed: row.bytes("sealed")?,
                    public: row.json_or_none("public")?,
                    created_at: row.time("created_at")?,
                })
            })
            .collect()
    }
}

impl Tx {
    /// Adds a key; false when its purpose has that version already.
    pub async fn insert_key(&mut self, key: &StoredKey) -> Result<bool, Error> {
        let values = values![
            key.purpose.as_str(),
            key.version,
            key.kid.as_str(),
            key.sealed.as_slice(),
            key.public.as_ref().map(json).transpose()?,
            key.created_at,
        ];
        let inserted = self.connection.execute(INSERT_KEY, values).await? == 1;
        if inserted {
            self.changed(ChangeKind::Keys);
        }
        Ok(inserted)
    }
}

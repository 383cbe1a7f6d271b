//! The keys of the authority: made once, at the first start on an empty database, sealed, and loaded at every start.

pub mod master;

use crate::entropy::Entropy;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_domain::refresh::RefreshRoots;
use portcullis_domain::seal::{MasterKey, SealingKey, Unsealable};
use portcullis_oauth::jwk::{InvalidKeySet, JwkSet, KeySet};
use portcullis_oauth::jwt::{InvalidSigningKey, SigningKey};
use portcullis_oauth::time::Timestamp;
use portcullis_store::{KeyPurpose, ReadHandle, Store, StoredGateway, StoredKey};
use rand::Rng as _;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// The purposes, in the order in which they are made.
const PURPOSES: [KeyPurpose; 3] = [KeyPurpose::AccessToken, KeyPurpose::Assertion, KeyPurpose::RefreshRoot];

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

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The master key is another one than at the first start.
    #[error(
        "the keys in the database do not open with this master key: it is not the one that they were sealed with (of several nodes, all need the same)"
    )]
    Sealed(#[from] Unsealable),
    /// A purpose has no key, although others have.
    #[error("the database has no {0:?} key: it is incomplete, restore it from your backup")]
    Absent(KeyPurpose),
    /// What was sealed is no key.
    #[error("a signing key in the database is damaged")]
    Signing(#[from] InvalidSigningKey),
    /// What was published is no key set.
    #[error("the public keys in the database are damaged")]
    Published(#[from] InvalidKeySet),
    /// The key-encryption key.
    #[error(transparent)]
    Master(#[from] master::MasterKeyError),
    /// The database.
    #[error("the keys cannot be read")]
    Store(#[from] portcullis_store::Error),
}

/// Whether any key was ever sealed here.
pub async fn database_state(store: &Store) -> Result<master::Database, KeyError> {
    let mut handle = store.read().await?;
    for purpose in PURPOSES {
        if !handle.reader().keys(purpose).await?.is_empty() {
            return Ok(master::Database::Sealed);
        }
    }
    Ok(master::Database::New)
}

/// Makes the first key of each purpose. Of several nodes that try at once, one wins and all load its keys (KEY-09).
pub async fn create(
    store: &Store,
    master: &MasterKey,
    entropy: &Entropy,
    now: Timestamp,
) -> Result<(), KeyError> {
    let keys = PURPOSES
        .into_iter()
        .map(|purpose| first(purpose, master, entropy, now))
        .collect::<Result<Vec<StoredKey>, KeyError>>()?;
    store
        .write(now, keys, |keys, tx| {
            Box::pin(async move {
                let mut made = Vec::new();
                for key in keys {
                    if tx.insert_key(key).await? {
                        made.push(key.kid.as_str());
                    }
                }
                let outcome = match made.len() {
                    0 => Outcome::Refused("made_by_another_node".to_owned()),
                    _ => Outcome::Allowed,
                };
                let event = Event::new(Kind::KeyCreated, outcome, Actor::System);
                tx.record(&event.with("key.ids", made.join(" ")), ()).await
            })
        })
        .await?;
    Ok(())
}

/// Loads the keys of now, and the private assertion key for the gateway.
pub async fn load(handle: &mut ReadHandle, master: &MasterKey) -> Result<(Keys, SigningKey), KeyError> {
    let mut reader = handle.reader();
    let mut stored = BTreeMap::new();
    for purpose in PURPOSES {
        stored.insert(name(purpose), reader.keys(purpose).await?);
    }
    let gateways = reader.gateways().await?;
    let of = |purpose| stored.get(name(purpose)).map(Vec::as_slice).unwrap_or_default();
    let public = published(of(KeyPurpose::AccessToken));
    let mut roots = BTreeMap::new();
    for key in of(KeyPurpose::RefreshRoot) {
        let opened = open(key, master)?;
        let mut root = Zeroizing::new([0; 32]);
        if opened.len() != root.len() {
            return Err(KeyError::Sealed(Unsealable));
        }
        root.copy_from_slice(&opened);
        roots.insert(key.version, root);
    }
    if roots.is_empty() {
        return Err(KeyError::Absent(KeyPurpose::RefreshRoot));
    }
    let keys = Keys {
        access: newest(of(KeyPurpose::AccessToken), KeyPurpose::AccessToken, master)?,
        key_set: KeySet::new(&public)?,
        public,
        assertion_public: with_gateways(published(of(KeyPurpose::Assertion)), gateways),
        refresh: RefreshRoots::new(roots),
        browser_seal: master.sealing_key("browser")?,
    };
    Ok((keys, newest(of(KeyPurpose::Assertion), KeyPurpose::Assertion, master)?))
}

/// Whether this master key opens these keys, and nothing is missing among them: of a backup, before anything is changed.
pub fn check(stored: &[StoredKey], master: &MasterKey) -> Result<(), KeyError> {
    for purpose in PURPOSES {
        if !stored.iter().any(|key| key.purpose == purpose) {
            return Err(KeyError::Absent(purpose));
        }
    }
    stored.iter().try_for_each(|key| Ok(open(key, master).map(drop)?))
}

fn first(
    purpose: KeyPurpose,
    master: &MasterKey,
    entropy: &Entropy,
    now: Timestamp,
) -> Result<StoredKey, KeyError> {
    let mut rng = entropy.rng();
    let mut random = [0; 9];
    rng.fill_bytes(&mut random);
    let kid = format!("{}-1-{}", name(purpose), URL_SAFE_NO_PAD.encode(random));
    let (plain, public) = match purpose {
        KeyPurpose::AccessToken | KeyPurpose::Assertion => {
            let der = Zeroizing::new(SigningKey::generate_pkcs8()?);
            let public = SigningKey::public_jwk(&kid, &der)?;
            (der, Some(public))
        }
        KeyPurpose::RefreshRoot => {
            let mut root = Zeroizing::new(vec![0; 32]);
            rng.fill_bytes(&mut root);
            (root, None)
        }
    };
    let sealed = master.sealing_key("stored keys")?.seal(&context(purpose, 1), &plain, &mut rng)?;
    Ok(StoredKey { purpose, version: 1, kid, sealed, public, created_at: now })
}

fn newest(stored: &[StoredKey], purpose: KeyPurpose, master: &MasterKey) -> Result<SigningKey, KeyError> {
    let key = stored.iter().max_by_key(|key| key.version).ok_or(KeyError::Absent(purpose))?;
    Ok(SigningKey::from_pkcs8(key.kid.clone(), &open(key, master)?)?)
}

fn open(key: &StoredKey, master: &MasterKey) -> Result<Zeroizing<Vec<u8>>, Unsealable> {
    master.sealing_key("stored keys")?.open(&context(key.purpose, key.version), &key.sealed)
}

fn published(stored: &[StoredKey]) -> JwkSet {
    JwkSet { keys: stored.iter().filter_map(|key| key.public.clone()).collect() }
}

/// Gateways that run alone sign with keys of their own, until they are removed (PC-05, PC-45).
fn with_gateways(mut published: JwkSet, gateways: Vec<StoredGateway>) -> JwkSet {
    let keys = gateways.into_iter().filter_map(|gateway| gateway.keys);
    published.keys.extend(keys.map(|keys| keys.assertion));
    published
}

fn context(purpose: KeyPurpose, version: u16) -> String {
    format!("keys/{}/{version}", name(purpose))
}

/// Stands in sealed contexts and key ids: never changes.
fn name(purpose: KeyPurpose) -> &'static str {
    match purpose {
        KeyPurpose::AccessToken => "access",
        KeyPurpose::Assertion => "assertion",
        KeyPurpose::RefreshRoot => "refresh",
    }
}

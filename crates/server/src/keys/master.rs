//! The key-encryption key: from a file that only its owner may read, or from the environment. Made only for a new database.

use crate::config::{MasterKeySource, environment};
use crate::data::create_private_once;
use crate::entropy::Entropy;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_domain::seal::MasterKey;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Why there is no key-encryption key. A new one is never made in silence (KEY-08).
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// Not 32 bytes of base64url.
    #[error("{0} does not hold a master key (32 bytes as base64url): restore it from your backup")]
    Corrupt(String),
    /// The database has keys, so there was one.
    #[error(
        "the database holds keys that are sealed with a master key, but {} is not there: restore it from your backup; a new one could not open them",
        .0.display()
    )]
    Missing(PathBuf),
    /// `env:NAME` names a variable that is not set.
    #[error("master_key.source names the variable {0}, but it is not set")]
    NotSet(String),
    /// Others may read the file.
    #[error("{} can be read by others (mode {mode:04o}): run `chmod 600 {}`; if others may have read it, rotate what it seals", path.display(), path.display())]
    Readable {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file cannot be read or made.
    #[error("cannot read or make the master key {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A key file is 44 bytes; more is not one, and is not read whole.
const LONGEST: usize = 1024;

/// Whether the database has keys already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// No key was ever sealed.
    New,
    /// Keys are sealed with the master key of before.
    Sealed,
}

/// Reads the key; for a new database with a file as its place, makes it.
pub fn open(
    source: &MasterKeySource,
    database: Database,
    entropy: &Entropy,
) -> Result<MasterKey, MasterKeyError> {
    match source {
        MasterKeySource::Env(name) => {
            let text = environment::variable(name).map(Zeroizing::new);
            let text = text.ok_or_else(|| MasterKeyError::NotSet(name.clone()))?;
            decode(&text).ok_or_else(|| MasterKeyError::Corrupt(format!("the variable {name}")))
        }
        MasterKeySource::File(path) => {
            if database == Database::New {
                create(path, entropy)?;
            }
            read(path)
        }
    }
}

fn create(path: &Path, entropy: &Entropy) -> Result<(), MasterKeyError> {
    let key = MasterKey::generate(&mut entropy.rng());
    let text = Zeroizing::new(format!("{}\n", URL_SAFE_NO_PAD.encode(key.reveal())));
    match create_private_once(path, text.as_bytes()) {
        Ok(()) => Ok(()),
        // Of before, when a start was cut short, or put there by hand: it is read and checked like any other.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(MasterKeyError::Io { path: path.to_owned(), source }),
    }
}

fn read(path: &Path) -> Result<MasterKey, MasterKeyError> {
    let failed = |source: io::Error| {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::NotFound {
            MasterKeyError::Missing(path)
        } else {
            MasterKeyError::Io { path, source }
        }
    };
    // Looked at and read through one handle: it is one file.
    let mut file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(MasterKeyError::Readable { path: path.to_owned(), mode });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST));
    file.by_ref().take(LONGEST as u64).read_to_end(&mut bytes).map_err(failed)?;
    let text = std::str::from_utf8(&bytes).ok();
    text.and_then(decode).ok_or_else(|| MasterKeyError::Corrupt(path.display().to_string()))
}

fn decode(text: &str) -> Option<MasterKey> {
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text.trim()).ok()?);
    let mut key = Zeroizing::new([0; 32]);
    if bytes.len() != key.len() {
        return None;
    }
    key.copy_from_slice(&bytes);
    Some(MasterKey::from_bytes(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn at(path: &Path, database: Database) -> Result<MasterKey, MasterKeyError> {
        open(&MasterKeySource::File(path.to_owned()), database, &Entropy::insecure_seeded(1))
    }

    #[test]
    fn key_08_a_key_is_made_once_and_only_for_a_new_database() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        assert!(matches!(at(&path, Database::Sealed), Err(MasterKeyError::Missing(_))));
        assert!(!path.exists(), "no silent new key");
        let made = at(&path, Database::New).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(at(&path, Database::New).unwrap().reveal(), made.reveal(), "not made again");
        assert_eq!(at(&path, Database::Sealed).unwrap().reveal(), made.reveal());
    }

    #[test]
    fn key_08_a_readable_or_corrupt_key_stops_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        at(&path, Database::New).unwrap();
        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(at(&path, Database::Sealed), Err(MasterKeyError::Readable { .. })), "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        for bad in ["", "short", &good[2..], "\u{fffd}"] {
            fs::write(&path, bad).unwrap();
            let error = at(&path, Database::New).unwrap_err();
            assert!(matches!(error, MasterKeyError::Corrupt(_)), "{error}");
            let kept = good.trim().get(2..).unwrap_or_default();
            assert!(!error.to_string().contains(kept), "PC-43: the key is not repeated");
        }
    }
}

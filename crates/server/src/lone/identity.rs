//! Who a gateway is: a name that the control room gave, and two keys that it made itself and shows to nobody.
//!
//! The keys are on the disk before they are sent, so that a lost answer strands nobody: the same keys may come again while the
//! one-time secret is good.

use super::control::{self, ControlError};
use crate::data::write_private;
use crate::gateways::wire::{self, Enrol, EnrolmentFile};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_domain::id::GatewayId;
use portcullis_domain::registry::Name;
use portcullis_oauth::issuer::Issuer;
use portcullis_oauth::jwt::{InvalidSigningKey, SigningKey};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// In the data folder.
const FILE: &str = "identity.json";

/// Two keys and some names.
const LONGEST: u64 = 64 * 1024;

/// What the command line says about who it is.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// `--enrol`
    pub enrol: Option<PathBuf>,
    /// `--control`
    pub control: Option<Issuer>,
}

/// Who it is, or is to be.
pub struct Identity {
    kept: Kept,
    /// Not used yet.
    secret: Option<Zeroizing<String>>,
}

/// As it lies on the disk.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    gateway: GatewayId,
    name: Name,
    issuer: Issuer,
    control: Issuer,
    /// The control room knows its keys.
    enrolled: bool,
    identity: PrivateKey,
    assertion: PrivateKey,
}

/// PKCS#8, base64url.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
struct PrivateKey(String);

/// Why it is not known who this is.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Neither an identity nor a way to one.
    #[error(
        "{} holds no identity of a gateway: on the control room run `portcullis gateway add NAME`, and give its file with --enrol",
        .0.display()
    )]
    Nobody(PathBuf),
    /// The folder has another gateway's.
    #[error(
        "{} is the folder of the gateway {name:?}; {} is for another one: give it a folder of its own with --data",
        folder.display(), enrol.display()
    )]
    AnotherGateway {
        /// The data folder.
        folder: PathBuf,
        /// Whose it is.
        name: Name,
        /// The enrolment file.
        enrol: PathBuf,
    },
    /// There is a database: it is the folder of an authority.
    #[error("{} is the folder of an authority: give the gateway a folder of its own with --data", .0.display())]
    OfAnAuthority(PathBuf),
    /// It was begun and not ended, and the secret is not there any more.
    #[error(
        "the enrolment was begun and not ended: give the same file again with --enrol, or that of another gateway"
    )]
    Unfinished,
    /// The file is none.
    #[error("{} is no enrolment file: it is what `portcullis gateway add NAME` writes", .0.display())]
    NoEnrolment(PathBuf),
    /// What lies in the folder cannot be used.
    #[error("{} is damaged: remove the gateway on the control room, and enrol it anew in a new folder", .0.display())]
    Damaged(PathBuf),
    /// Others may read the keys.
    #[error(
        "{} can be read by others (mode {mode:04o}): run `chmod 600 {}`; if others may have read it, remove the gateway and add it again",
        path.display(), path.display()
    )]
    Readable {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A file cannot be read or written.
    #[error("cannot read or write {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A key cannot be made.
    #[error("no key can be made")]
    Key(#[from] InvalidSigningKey),
    /// The control room gave none.
    #[error("the control room at {at} gives no identity")]
    Control {
        /// Where.
        at: Issuer,
        /// Why.
        source: ControlError,
    },
}

impl Identity {
    /// Reads who it is from the folder, or who it is to be from the enrolment file. Nothing is written and nobody asked.
    pub fn read(folder: &Path, claim: &Claim) -> Result<Self, IdentityError> {
        if folder.join("master.key").exists() || folder.join("portcullis.db").exists() {
            return Err(IdentityError::OfAnAuthority(folder.to_owned()));
        }
        let kept = Kept::read(&folder.join(FILE))?;
        let file = claim.enrol.as_deref().map(|path| Ok::<_, IdentityError>((path, enrolment(path)?)));
        let (mut kept, secret) = match (kept, file.transpose()?) {
            (None, None) => return Err(IdentityError::Nobody(folder.to_owned())),
            (Some(kept), None) if !kept.enrolled => return Err(IdentityError::Unfinished),
            (Some(kept), None) => (kept, None),
            (Some(kept), Some((_, file))) if kept.gateway == file.gateway => {
                let secret = (!kept.enrolled).then(|| Zeroizing::new(file.secret));
                (kept, secret)
            }
            (Some(kept), Some((path, _))) if kept.enrolled => {
                let (folder, enrol) = (folder.to_owned(), path.to_owned());
                return Err(IdentityError::AnotherGateway { folder, name: kept.name, enrol });
            }
            (Some(_) | None, Some((_, file))) => {
                let secret = Zeroizing::new(file.secret.clone());
                (Kept::new(file)?, Some(secret))
            }
        };
        if let Some(control) = &claim.control {
            kept.control = control.clone();
        }
        Ok(Self { kept, secret })
    }

    /// Whose tokens count.
    pub fn issuer(&self) -> &Issuer {
        &self.kept.issuer
    }

    /// Comes for the identity, if it has not.
    pub(super) async fn enrolled(mut self, folder: &Path) -> Result<Self, IdentityError> {
        let path = folder.join(FILE);
        let failed = |source| IdentityError::Io { path: path.clone(), source };
        if let Some(secret) = self.secret.take() {
            self.kept.write(&path).map_err(failed)?;
            let enrol = Enrol {
                gateway: self.id(),
                secret: secret.to_string(),
                identity: self.kept.identity.public(&wire::identity_kid(self.id()))?,
                assertion: self.kept.assertion.public(&wire::assertion_kid(self.id()))?,
            };
            let at = self.control().clone();
            let enrolled = control::enrol(&at, &enrol).await;
            let enrolled = enrolled.map_err(|source| IdentityError::Control { at: at.clone(), source })?;
            if enrolled.gateway != self.id() || enrolled.issuer != *self.issuer() {
                return Err(IdentityError::Control { at, source: ControlError::Garbled });
            }
            self.kept.enrolled = true;
            tracing::info!(name = %self.name(), control = %at, "enrolled; the enrolment file is spent and can be removed");
        }
        self.kept.write(&path).map_err(failed)?;
        Ok(self)
    }

    pub(super) fn id(&self) -> GatewayId {
        self.kept.gateway
    }

    pub(super) fn name(&self) -> &Name {
        &self.kept.name
    }

    /// Where the control room is.
    pub(super) fn control(&self) -> &Issuer {
        &self.kept.control
    }

    /// Shows who it is.
    pub(super) fn identity_key(&self) -> Result<SigningKey, IdentityError> {
        self.kept.identity.signing(wire::identity_kid(self.id()))
    }

    /// Signs assertions.
    pub(super) fn assertion_key(&self) -> Result<SigningKey, IdentityError> {
        self.kept.assertion.signing(wire::assertion_kid(self.id()))
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Identity({})", self.kept.gateway)
    }
}

impl Kept {
    fn new(file: EnrolmentFile) -> Result<Self, InvalidSigningKey> {
        Ok(Self {
            gateway: file.gateway,
            name: file.name,
            control: file.issuer.clone(),
            issuer: file.issuer,
            enrolled: false,
            identity: PrivateKey::generate()?,
            assertion: PrivateKey::generate()?,
        })
    }

    /// KEY-08: nothing that others may read, and no silent new key.
    fn read(path: &Path) -> Result<Option<Self>, IdentityError> {
        let failed = |source| IdentityError::Io { path: path.to_owned(), source };
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(IdentityError::Readable { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(Vec::new());
        file.by_ref().take(LONGEST).read_to_end(&mut text).map_err(failed)?;
        let damaged = || IdentityError::Damaged(path.to_owned());
        let kept: Self = serde_json::from_slice(&text).map_err(|_| damaged())?;
        for key in [&kept.identity, &kept.assertion] {
            key.public("").map_err(|_| damaged())?;
        }
        Ok(Some(kept))
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let text = Zeroizing::new(serde_json::to_vec_pretty(self)?);
        write_private(path, &text)
    }
}

impl PrivateKey {
    fn generate() -> Result<Self, InvalidSigningKey> {
        Ok(Self(URL_SAFE_NO_PAD.encode(Zeroizing::new(SigningKey::generate_pkcs8()?))))
    }

    fn der(&self) -> Result<Zeroizing<Vec<u8>>, InvalidSigningKey> {
        URL_SAFE_NO_PAD.decode(&self.0).map(Zeroizing::new).map_err(|_| InvalidSigningKey)
    }

    fn public(&self, kid: &str) -> Result<portcullis_oauth::jwk::PublicJwk, InvalidSigningKey> {
        SigningKey::public_jwk(kid, &self.der()?)
    }

    fn signing(&self, kid: String) -> Result<SigningKey, IdentityError> {
        Ok(SigningKey::from_pkcs8(kid, &self.der()?)?)
    }
}

fn enrolment(path: &Path) -> Result<EnrolmentFile, IdentityError> {
    let failed = |source| IdentityError::Io { path: path.to_owned(), source };
    let text = Zeroizing::new(fs::read(path).map_err(failed)?);
    serde_json::from_slice(&text).map_err(|_| IdentityError::NoEnrolment(path.to_owned()))
}

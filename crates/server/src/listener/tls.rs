//! TLS of our own listener: 1.2 and 1.3 only (DEF-05, RFC 9325), certificate and key read again when they change. A new pair
//! that cannot be used changes nothing but the log (ADM-13).

use crate::config::TlsFiles;
use arc_swap::ArcSwap;
use portcullis_oauth::time::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, RootCertStore, ServerConfig};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// How soon a changed certificate is served.
const LOOK: Duration = Duration::from_secs(5);

/// More is not a certificate chain, and not a key.
const LONGEST: u64 = 1024 * 1024;

/// Certificate and key of the listener. Cheap to clone; clones are the same.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    files: TlsFiles,
    serving: ArcSwap<ServerConfig>,
    /// What was looked at last, whether it could be used or not: each content is judged once.
    seen: Mutex<Pair>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tls").field("files", &self.0.files).finish_non_exhaustive()
    }
}

/// Why a certificate cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// DEF-04.
    #[error("{} can be read or changed by others (mode {mode:04o}): run `chmod o-rwx,g-w {}`; if others may have read it, get a new key and certificate", path.display(), path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Not PEM, or nothing in it.
    #[error("{} does not hold {what} as PEM", path.display())]
    NotPem {
        /// Which.
        path: PathBuf,
        /// What should be there.
        what: &'static str,
    },
    /// They do not belong together, or are of a kind that is not served.
    #[error("the certificate {} and the key {} cannot be used together: {source}", files.cert.display(), files.key.display())]
    Unusable {
        /// Which.
        files: TlsFiles,
        /// Why.
        source: rustls::Error,
    },
}

/// Both files as they are.
#[derive(PartialEq, Eq)]
struct Pair {
    cert: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

/// Whether a certificate counts at a moment, whoever vouches for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYet,
    /// It does.
    Valid,
}

/// What a look at the files brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The new certificate is served from now on.
    New,
    /// There is something new that cannot be used; what was served is served.
    Refused,
    /// Nothing has changed.
    Same,
}

impl Tls {
    /// Reads both files, and checks them.
    pub fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let pair = Pair::read(&files)?;
        let serving = ArcSwap::from_pointee(pair.config(&files)?);
        Ok(Self(Arc::new(Inner { files, serving, seen: Mutex::new(pair) })))
    }

    /// Whether the certificate in the files can be served, and counts at this moment.
    pub fn validity(files: &TlsFiles, at: Timestamp) -> Result<Validity, TlsError> {
        let pair = Pair::read(files)?;
        pair.config(files)?;
        Ok(validity(&pair.chain(files)?, at))
    }

    /// For one handshake.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.serving.load_full())
    }

    /// Reads both files again. By content: dates say nothing about files that were swapped by a link.
    pub fn look(&self) -> Look {
        let files = &self.0.files;
        let outcome = Pair::read(files).and_then(|pair| {
            let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == pair {
                return Ok(Look::Same);
            }
            let config = pair.config(files);
            *seen = pair;
            self.0.serving.store(Arc::new(config?));
            Ok(Look::New)
        });
        match outcome {
            Ok(Look::New) => tracing::info!(cert = %files.cert.display(), "a new certificate is served"),
            Ok(Look::Same | Look::Refused) => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "the new certificate is NOT served, the one from before still is");
                return Look::Refused;
            }
        }
        outcome.unwrap_or(Look::Refused)
    }

    /// Looks until `stop`. What cannot be read is said again every so often: it must be mended before the old one ends.
    /// SIGHUP makes it look at once.
    pub async fn follow(self, stop: CancellationToken) {
        let mut rest = LOOK;
        // Whoever serves holds this signal already: it ends nobody.
        let mut hangup = signal(SignalKind::hangup()).ok();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(Some(())) = async { Some(hangup.as_mut()?.recv().await) } => {}
                () = tokio::time::sleep(rest) => {}
            }
            let tls = self.clone();
            // Files may lie on a disk that hangs.
            let look = tokio::task::spawn_blocking(move || tls.look()).await;
            rest = match look {
                Ok(Look::Refused) => (rest * 2).min(Duration::from_mins(10)),
                Ok(Look::New | Look::Same) | Err(_) => LOOK,
            };
        }
    }
}

impl Pair {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let cert = read(&files.cert, |_| Ok(()))?.to_vec();
        let key = read(&files.key, |mode| {
            // A group may read it, as it must where another program fetches certificates.
            if mode & 0o027 == 0 { Ok(()) } else { Err(TlsError::Exposed { path: files.key.clone(), mode }) }
        })?;
        Ok(Self { cert, key })
    }

    fn chain(&self, files: &TlsFiles) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let chain = CertificateDer::pem_slice_iter(&self.cert).collect::<Result<Vec<_>, _>>().ok();
        chain.filter(|chain| !chain.is_empty()).ok_or_else(|| not_pem(&files.cert, "a certificate"))
    }

    fn config(&self, files: &TlsFiles) -> Result<ServerConfig, TlsError> {
        let chain = self.chain(files)?;
        let key =
            PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| not_pem(&files.key, "a private key"))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|source| TlsError::Unusable { files: files.clone(), source })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Nothing is taken before the handshake is complete: it could be sent again by somebody else (RFC 8446 s8).
        config.max_early_data_size = 0;
        Ok(config)
    }
}

fn not_pem(path: &Path, what: &'static str) -> TlsError {
    TlsError::NotPem { path: path.to_owned(), what }
}

/// As a client would find it that trusts the last of the chain: times are looked at before anything else, and of what a client
/// says only that is asked here.
fn validity(chain: &[CertificateDer<'static>], at: Timestamp) -> Validity {
    let (Some((first, rest)), Some(last)) = (chain.split_first(), chain.last()) else {
        return Validity::Valid;
    };
    let mut roots = RootCertStore::empty();
    // One that cannot be a root is judged by others.
    if roots.add(last.clone()).is_err() {
        return Validity::Valid;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build() else {
        return Validity::Valid;
    };
    let name = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
    let seconds = Duration::from_secs(at.seconds().try_into().unwrap_or(0));
    let found = verifier.verify_server_cert(first, rest, &name, &[], UnixTime::since_unix_epoch(seconds));
    match found {
        Err(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => Validity::Expired,
        Err(rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        )) => Validity::NotYet,
        Ok(_) | Err(_) => Validity::Valid,
    }
}

/// Looked at and read through one handle: it is one file.
fn read(
    path: &Path,
    check: impl FnOnce(u32) -> Result<(), TlsError>,
) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let unreadable = |source| TlsError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    check(metadata.permissions().mode() & 0o7777)?;
    if metadata.len() > LONGEST {
        return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    // As long as it is from the beginning: growing would leave copies of a key behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1));
    file.take(LONGEST).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

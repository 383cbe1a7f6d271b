//! Whom we believe: the authorities of the machine, and those of a file that the operator names.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsConnector;

/// Why nobody can be believed.
#[derive(Debug, thiserror::Error)]
pub enum NoTrust {
    /// `registration.extra_ca`
    #[error("registration.extra_ca names {}, which holds no certificates as PEM", path.display())]
    File {
        /// As written.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// The library.
    #[error("no TLS client can be built")]
    Tls(#[from] rustls::Error),
}

pub(super) fn connector(extra: Option<&Path>) -> Result<TlsConnector, NoTrust> {
    let extra = extra.map(certificates).transpose()?.unwrap_or_default();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let config = if let Ok(verifier) = Verifier::new_with_extra_roots(extra.iter().cloned(), provider) {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
    } else {
        // A machine without root certificates believes those of the file only.
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(extra);
        builder.with_root_certificates(roots).with_no_client_auth()
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, NoTrust> {
    let failed = |source| NoTrust::File { path: path.to_owned(), source };
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(failed)?.collect();
    let read = read.map_err(failed)?;
    if read.is_empty() {
        return Err(failed(rustls::pki_types::pem::Error::NoItemsFound));
    }
    Ok(read)
}

//! TLS to upstreams: rustls over aws-lc, with the roots of the machine, or with an upstream's own and our certificate for it.

use super::connector::Connector;
use crate::settings::Secrets;
use portcullis_domain::registry::{ClientCertificate, SecretPlace, UpstreamTls};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;
use std::sync::Arc;
use std::time::Duration;

/// For connections that are nobody's in particular.
const PATIENCE: Duration = Duration::from_secs(5);

/// No TLS client can be built.
#[derive(Debug, thiserror::Error)]
#[error("no TLS client can be built")]
pub struct NoTls(#[source] rustls::Error);

/// Why the files of an upstream's TLS cannot be used. Nothing that stands in them is in it.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Nothing can be read there.
    #[error("nothing can be read at {0}")]
    Unreadable(SecretPlace),
    /// What is there is something else.
    #[error("{0} is not PEM with {1} in it")]
    NotPem(SecretPlace, &'static str),
    /// rustls takes it not.
    #[error("the certificate and its key cannot be used together")]
    Refused(#[source] rustls::Error),
}

/// Dials http and https; nothing else, through no proxy.
pub fn connector() -> Result<Connector, NoTls> {
    Ok(Connector::new(usual()?, PATIENCE))
}

/// Whether an upstream's certificate authority, and our certificate for it, can be used as they stand on this machine.
pub fn check(tls: &UpstreamTls, secrets: &Secrets) -> Result<(), Unusable> {
    own(&Material::read(tls, secrets)?).map(drop)
}

/// Whom the machine trusts, and no certificate of ours.
pub(crate) fn usual() -> Result<Arc<ClientConfig>, NoTls> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(NoTls)?;
    let config = match Verifier::new(provider) {
        Ok(verifier) => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
        }
        // A machine without root certificates can still serve upstreams on its own network; https ones are refused.
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "this machine has no root certificates: no https upstream can be reached"
            );
            builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
        }
    };
    Ok(negotiating(config))
}

/// What stands at the places of an upstream's TLS.
#[derive(PartialEq, Eq)]
pub(super) struct Material {
    ca: Option<(SecretPlace, String)>,
    shown: Option<(ClientCertificate, String, String)>,
}

impl Material {
    pub(super) fn read(tls: &UpstreamTls, secrets: &Secrets) -> Result<Self, Unusable> {
        let read = |place: &SecretPlace| secrets(place).ok_or_else(|| Unusable::Unreadable(place.clone()));
        let ca = tls.ca.as_ref().map(|place| Ok((place.clone(), read(place)?))).transpose()?;
        let shown = tls.certificate.as_ref();
        let shown =
            shown.map(|shown| Ok((shown.clone(), read(&shown.cert)?, read(&shown.key)?))).transpose()?;
        Ok(Self { ca, shown })
    }
}

/// An upstream's own.
pub(super) fn own(material: &Material) -> Result<Arc<ClientConfig>, Unusable> {
    let provider = provider();
    let verifier: Arc<dyn ServerCertVerifier> = match &material.ca {
        None => Arc::new(Verifier::new(Arc::clone(&provider)).map_err(Unusable::Refused)?),
        Some((place, pem)) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(place, pem)? {
                roots.add(certificate).map_err(Unusable::Refused)?;
            }
            let built =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
            built.map_err(|_| Unusable::NotPem(place.clone(), "a certificate"))?
        }
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Unusable::Refused)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match &material.shown {
        None => builder.with_no_client_auth(),
        Some((places, cert, key)) => {
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
                .map_err(|_| Unusable::NotPem(places.key.clone(), "a private key"))?;
            builder
                .with_client_auth_cert(certificates(&places.cert, cert)?, key)
                .map_err(Unusable::Refused)?
        }
    };
    Ok(negotiating(config))
}

fn certificates(place: &SecretPlace, pem: &str) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let read = read.ok().filter(|read| !read.is_empty());
    read.ok_or_else(|| Unusable::NotPem(place.clone(), "a certificate"))
}

/// HTTP/2 where the upstream offers it in the handshake, and nowhere else.
fn negotiating(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

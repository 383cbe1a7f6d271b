//! How upstreams are dialled: rustls over aws-lc, with the roots of the machine.

use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;
use std::sync::Arc;
use std::time::Duration;

/// No TLS client can be built.
#[derive(Debug, thiserror::Error)]
#[error("no TLS client can be built")]
pub struct NoTls(#[source] rustls::Error);

/// To http and https.
pub type Connector = HttpsConnector<HttpConnector>;

/// Dials http and https; nothing else, through no proxy.
pub fn connector() -> Result<Connector, NoTls> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = client_config(provider).map_err(NoTls)?;
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(Duration::from_secs(5)));
    Ok(hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(http))
}

fn client_config(provider: Arc<CryptoProvider>) -> Result<ClientConfig, rustls::Error> {
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    Ok(match Verifier::new(provider) {
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
    })
}

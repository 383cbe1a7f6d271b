//! Asking an issuer: its keys, or about a token. No redirects, no proxies, nothing large, nothing slow.

use crate::reach::connector::Connector;
use crate::reach::tls::{NoTls, connector};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::time::Duration;

/// Key sets and answers about a token are a few KiB.
const LARGEST_ANSWER: usize = 256 * 1024;

/// An idle connection is given up then.
const POOL_IDLE: Duration = Duration::from_secs(3);

/// Asks issuers.
pub(crate) struct Fetcher {
    client: Client<Connector, Full<Bytes>>,
}

/// Why an issuer said nothing that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unheard {
    #[error("the address cannot be used")]
    Address,
    #[error("no answer in time")]
    Late,
    #[error("it is not JSON of at most 256 KiB")]
    Garbled,
    #[error("the secret for it cannot be read on this machine")]
    Secret,
    #[error("it answered with status {0}")]
    Status(u16),
    #[error("it cannot be reached")]
    Unreachable,
}

impl Fetcher {
    pub(crate) fn new() -> Result<Self, NoTls> {
        #[expect(
            clippy::disallowed_methods,
            reason = "dials only the addresses of issuers that an operator wrote; https, or loopback"
        )]
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .build(connector()?);
        Ok(Self { client })
    }

    /// What stands at `address`.
    pub(crate) async fn get(&self, address: &str, patience: Duration) -> Result<Bytes, Unheard> {
        let request = Request::builder().method(Method::GET).uri(address);
        let request = request.header(header::ACCEPT, "application/jwk-set+json, application/json");
        let request = request.body(Full::default()).map_err(|_| Unheard::Address)?;
        self.ask(request, patience).await
    }

    /// What `address` answers to a form.
    pub(crate) async fn post(
        &self,
        address: &str,
        authorization: Option<HeaderValue>,
        form: String,
        patience: Duration,
    ) -> Result<Bytes, Unheard> {
        let request = Request::builder().method(Method::POST).uri(address);
        let request = request
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let mut request = request.body(Full::from(form)).map_err(|_| Unheard::Address)?;
        if let Some(mut authorization) = authorization {
            authorization.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, authorization);
        }
        self.ask(request, patience).await
    }

    async fn ask(&self, request: Request<Full<Bytes>>, patience: Duration) -> Result<Bytes, Unheard> {
        let asking = async {
            let response = self.client.request(request).await.map_err(|_| Unheard::Unreachable)?;
            if response.status() != StatusCode::OK {
                return Err(Unheard::Status(response.status().as_u16()));
            }
            let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
            body.map(http_body_util::Collected::to_bytes).map_err(|_| Unheard::Garbled)
        };
        tokio::time::timeout(patience, asking).await.unwrap_or(Err(Unheard::Late))
    }
}

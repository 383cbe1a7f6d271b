//! The HTTP client of the exporters: our own TLS, our own headers, and one word when it fails.

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_http::{HttpClient, HttpError};
use portcullis_gateway::{Connector, NoTls, connector};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;

/// One attempt.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer of a collector that is read.
const MAX_ANSWER: usize = 64 * 1024;

/// Where telemetry is delivered.
pub(super) struct Collector {
    what: &'static str,
    headers: HeaderMap,
    client: Client<Connector, Full<Bytes>>,
    /// The exporters have threads of their own, where no socket can be waited for.
    runtime: Handle,
    failing: Arc<AtomicBool>,
}

impl fmt::Debug for Collector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Collector").field("what", &self.what).finish_non_exhaustive()
    }
}

impl Collector {
    pub(super) fn new(what: &'static str, headers: HeaderMap) -> Result<Self, NoTls> {
        #[expect(
            clippy::disallowed_methods,
            reason = "it dials only the collector that the operator configured, and follows no redirect"
        )]
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(3))
            .build(connector()?);
        Ok(Self { what, headers, client, runtime: Handle::current(), failing: Arc::default() })
    }

    /// Said once, and once more when it goes again.
    fn say(&self, failure: Option<&str>) {
        let failing = failure.is_some();
        if self.failing.swap(failing, Ordering::Relaxed) == failing {
            return;
        }
        if let Some(why) = failure {
            tracing::warn!(why, "{} cannot be delivered to the collector", self.what);
        } else {
            tracing::info!("{} are delivered to the collector again", self.what);
        }
    }
}

#[async_trait::async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut request = request.map(Full::new);
        request.headers_mut().extend(self.headers.clone());
        let client = self.client.clone();
        let exchange = async move {
            let (head, body) = client.request(request).await.map_err(said)?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await?;
            Ok::<_, HttpError>(Response::from_parts(head, body.to_bytes()))
        };
        // Timers, too, are made within the runtime only.
        let exchange = self.runtime.spawn(async move { tokio::time::timeout(PATIENCE, exchange).await });
        let answer = match exchange.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err("it did not answer in time".into()),
            Err(_) => Err("this server is ending".into()),
        };
        match &answer {
            Ok(answer) if answer.status().is_success() => self.say(None),
            Ok(answer) => self.say(Some(&format!("it answered {}", answer.status()))),
            Err(error) => self.say(Some(&error.to_string())),
        }
        answer
    }
}

/// With the reason, which the client's own words leave out.
fn said(error: hyper_util::client::legacy::Error) -> HttpError {
    let mut says = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(deeper) = cause {
        says = format!("{says}: {deeper}");
        cause = deeper.source();
    }
    says.into()
}

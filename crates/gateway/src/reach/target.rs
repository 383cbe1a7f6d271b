//! One upstream over HTTP: connections of its own, so that none that was made for another server ever carries its calls, and
//! what is known of its health.

mod headers;

use super::breaker::{Breaker, Resting, Try};
use super::connector::Connector;
use super::tls::{self, Material, Unusable};
use crate::bounds::room::Share;
use crate::decide::permitted::Current;
use crate::message::answer::UpstreamFailure;
use crate::message::headers::Era;
use crate::reach::credential::Source;
use crate::reach::means::Means;
use crate::settings::Secrets;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use portcullis_domain::id::ServerId;
use portcullis_domain::registry::{Placement, Server, Upstream, UpstreamTls};
use portcullis_oauth::time::Timestamp;
use rustls::ClientConfig;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// An idle connection is given up before common upstreams close theirs (5 s), so that no call meets a closing one.
const POOL_IDLE: Duration = Duration::from_secs(3);

/// A connection of HTTP/2 that nobody answers on is given up: without this, calls would go on joining it.
const PING: Duration = Duration::from_secs(30);
const PING_PATIENCE: Duration = Duration::from_secs(10);

/// Files of certificates are looked at again this often.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
const LOOK_AGAIN_FOR_THE_FIRST: Duration = Duration::from_secs(1);

type HttpClient = Client<Connector, Full<Bytes>>;

/// Of a snapshot, by server. What is reached in the same way and gets the same is kept from one snapshot to the next.
#[derive(Default)]
pub(crate) struct Targets(HashMap<ServerId, (Placement, Arc<Target>)>);

/// One upstream.
pub(crate) struct Target {
    to: Uri,
    pub(crate) credential: Source,
    breaker: Arc<Breaker>,
    connections: Connections,
    means: Means,
}

/// Where its connections come from.
enum Connections {
    Usual(Box<HttpClient>),
    Own(Box<(UpstreamTls, Mutex<Own>)>),
}

/// Of an upstream with a certificate authority of its own, or one that wants to see a certificate.
#[derive(Default)]
struct Own {
    looked_at: Option<Timestamp>,
    made: Option<(Material, HttpClient)>,
}

/// One message for an HTTP upstream.
pub(crate) struct Forwarded<'a> {
    pub(crate) method: Method,
    /// As the caller sent them.
    pub(crate) headers: &'a HeaderMap,
    pub(crate) era: Era,
    /// Known to belong to the caller.
    pub(crate) session: Option<&'a str>,
    pub(crate) id: Option<&'a RawValue>,
    /// Whether its answer may be silent for as long as it likes.
    pub(crate) is_endless: bool,
    /// Our own span's, instead of the caller's.
    pub(crate) trace: Option<HeaderMap>,
    /// Until the first byte of the answer.
    pub(crate) timeout: Duration,
    /// For a long answer.
    pub(crate) share: Share,
    pub(crate) body: Bytes,
}

impl Targets {
    pub(crate) fn of(servers: &[Server], before: Option<&Self>, means: &Means) -> Self {
        let target = |server: &Server| {
            let known = before.and_then(|before| before.0.get(&server.id));
            let known = known.filter(|(placement, _)| *placement == server.placement);
            let target = match known {
                Some((_, target)) => Arc::clone(target),
                None => Arc::new(Target::of(server, means)?),
            };
            Some((server.id, (server.placement.clone(), target)))
        };
        Self(servers.iter().filter_map(target).collect())
    }

    pub(crate) fn at(&self, server: ServerId) -> Option<&Arc<Target>> {
        self.0.get(&server).map(|(_, target)| target)
    }
}

impl Target {
    /// `None` for what is not reached over HTTP, or has an address that nobody can dial.
    fn of(server: &Server, means: &Means) -> Option<Self> {
        let Placement::Gateway { upstream: Upstream::Url(address), credential, tls } = &server.placement
        else {
            return None;
        };
        let to: Uri = address.parse().ok()?;
        let is_http = matches!(to.scheme_str(), Some("http" | "https")) && to.authority().is_some();
        let breaker = Arc::new(Breaker::default());
        let connections = if tls.is_usual() {
            Connections::Usual(Box::new(client(Arc::clone(&means.tls), &breaker, means)))
        } else {
            Connections::Own(Box::new((tls.clone(), Mutex::default())))
        };
        let credential = Source::of(credential, (server.name.as_str(), address), means);
        is_http.then(|| Self { to, credential, breaker, connections, means: means.clone() })
    }

    /// Whether callers are turned away because it cannot be reached.
    pub(crate) fn rests(&self) -> bool {
        self.breaker.rests()
    }

    /// What a permitted message is answered, up to the end of the headers.
    pub(crate) async fn ask(
        &self,
        _current: Current<'_>,
        forwarded: &Forwarded<'_>,
        shown: Option<&HeaderValue>,
    ) -> Result<Response<Incoming>, UpstreamFailure> {
        let now = (self.means.clock)();
        let request = self.request(forwarded, shown)?;
        let admitted = self.breaker.admit(now);
        let trying: Try = admitted.map_err(|Resting(seconds)| UpstreamFailure::Resting { seconds })?;
        let asking = self.client(now)?.request(request);
        let answered = tokio::time::timeout(forwarded.timeout, asking).await;
        drop(trying);
        let response = answered.map_err(|_| UpstreamFailure::Late)?.map_err(|error| {
            let failure = failure(&error);
            let address = self.to.authority().map(ToString::to_string);
            tracing::warn!(address, error = &error as &dyn Error, "{failure}");
            failure
        })?;
        self.breaker.connected();
        Ok(response)
    }

    fn request(
        &self,
        forwarded: &Forwarded<'_>,
        shown: Option<&HeaderValue>,
    ) -> Result<Request<Full<Bytes>>, UpstreamFailure> {
        let headers = headers::for_upstream(forwarded, shown).ok_or(UpstreamFailure::Garbled)?;
        let mut request = Request::new(Full::new(forwarded.body.clone()));
        *request.method_mut() = forwarded.method.clone();
        *request.uri_mut() = self.to.clone();
        *request.headers_mut() = headers;
        Ok(request)
    }

    fn client(&self, now: Timestamp) -> Result<Cow<'_, HttpClient>, UpstreamFailure> {
        match &self.connections {
            Connections::Usual(client) => Ok(Cow::Borrowed(client)),
            Connections::Own(of_its_own) => {
                let (places, own) = &**of_its_own;
                let mut own = own.lock().unwrap_or_else(PoisonError::into_inner);
                let made = own.client((places, &self.means.secrets), now, |config| {
                    client(config, &self.breaker, &self.means)
                });
                made.map(Cow::Owned).ok_or(UpstreamFailure::Secret)
            }
        }
    }
}

impl Own {
    /// Made anew when the files are others. While they cannot be used, as between the change of a certificate and of its key,
    /// what was made before goes on.
    fn client(
        &mut self,
        (places, secrets): (&UpstreamTls, &Secrets),
        now: Timestamp,
        make: impl FnOnce(Arc<ClientConfig>) -> HttpClient,
    ) -> Option<HttpClient> {
        let pause = if self.made.is_some() { LOOK_AGAIN } else { LOOK_AGAIN_FOR_THE_FIRST };
        let is_due = self.looked_at.is_none_or(|at| at > now || now.since(at) >= pause);
        if is_due {
            self.looked_at = Some(now);
            match self.look(places, secrets) {
                Ok(None) => {}
                Ok(Some((material, config))) => self.made = Some((material, make(config))),
                Err(error) => {
                    let error = &error as &dyn Error;
                    tracing::warn!(error, "the certificates for an upstream cannot be used");
                }
            }
        }
        self.made.as_ref().map(|(_, client)| client.clone())
    }

    /// `None`: everything is as it was.
    fn look(
        &self,
        places: &UpstreamTls,
        secrets: &Secrets,
    ) -> Result<Option<(Material, Arc<ClientConfig>)>, Unusable> {
        let material = Material::read(places, secrets)?;
        if self.made.as_ref().is_some_and(|(known, _)| *known == material) {
            return Ok(None);
        }
        let config = tls::own(&material)?;
        Ok(Some((material, config)))
    }
}

/// The header fields that an upstream gets besides our credential.
#[cfg(test)]
pub(crate) fn sent_headers(forwarded: &Forwarded<'_>) -> Option<HeaderMap> {
    headers::for_upstream(forwarded, None)
}

fn failure(error: &hyper_util::client::legacy::Error) -> UpstreamFailure {
    if error.is_connect() {
        return UpstreamFailure::Unreachable;
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        let ended = |error: &hyper::Error| error.is_incomplete_message() || error.is_closed();
        if error.downcast_ref::<hyper::Error>().is_some_and(ended) || error.is::<std::io::Error>() {
            return UpstreamFailure::BrokeOff;
        }
        cause = error.source();
    }
    UpstreamFailure::Garbled
}

fn client(tls: Arc<ClientConfig>, breaker: &Arc<Breaker>, means: &Means) -> HttpClient {
    let connector = Connector::new(tls, means.limits.connect_timeout);
    let connector = connector.reporting(Arc::clone(breaker), Arc::clone(&means.clock));
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that calls upstreams; it dials only what an operator registered"
    )]
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(PING_PATIENCE)
        .build(connector)
}

/// Without what it is reached with.
impl fmt::Debug for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Target").finish_non_exhaustive()
    }
}

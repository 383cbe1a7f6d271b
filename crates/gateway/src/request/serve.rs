//! The way of a request through the gateway, up to the caller: address, host, origin, freshness, token. In this order.

use crate::Inner;
use crate::decide::circumstances::ClientAddress;
use crate::decide::refusal::{Context, Refusal};
use crate::decide::refused::Refused;
use crate::known::caller::Caller;
use crate::known::door::Door;
use crate::known::snapshot::{Known, Place};
use crate::request::authenticate::authenticate;
use crate::request::{cors, metadata};
use axum::body::Body;
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Response, header};
use portcullis_domain::registry::OtherTransport;
use std::net::IpAddr;
use std::sync::Arc;

/// How a server is spoken to.
#[derive(Clone, Copy)]
enum Way {
    Streamable,
    Other(OtherTransport),
}

impl Way {
    fn allows(self, method: &Method) -> Result<(), Refusal> {
        let (allowed, all): (&[Method], _) = match self {
            Self::Streamable => (&[Method::POST, Method::GET, Method::DELETE], "POST, GET, DELETE, OPTIONS"),
            Self::Other(OtherTransport::HttpSse) => (&[Method::GET, Method::POST], "GET, POST, OPTIONS"),
            Self::Other(OtherTransport::Websocket) => (&[Method::GET], "GET, OPTIONS"),
        };
        if allowed.contains(method) { Ok(()) } else { Err(Refusal::MethodNotAllowed(all)) }
    }
}

impl Inner {
    /// Answers a request, whatever it is.
    pub(crate) async fn serve(
        self: Arc<Self>,
        request: Request<Body>,
        from: Option<ClientAddress>,
    ) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let from = from.map(|ClientAddress(address)| address);
        let Some(known) = self.knowledge.known() else {
            return self.refuse_stranger(&Refusal::Stale, None);
        };
        match find(&known, &parts) {
            Ok(Place::Metadata(door)) => self.describe(&door, &parts),
            Ok(Place::Endpoint(door)) => {
                self.at_door((&known, &door), (Way::Streamable, from), parts, body).await
            }
            Ok(Place::Line(door, transport)) => {
                self.at_door((&known, &door), (Way::Other(transport), from), parts, body).await
            }
            Err(refusal) => self.refuse_stranger(&refusal, None),
        }
    }

    /// Whether something is served at this path, under some host.
    pub(crate) fn owns(&self, path: &str) -> bool {
        self.knowledge.known().is_some_and(|known| !known.places_at(path).is_empty())
    }

    fn describe(&self, door: &Door, parts: &Parts) -> Response<Body> {
        match parts.method {
            Method::GET | Method::HEAD => metadata::document(door, &self.settings.issuer),
            Method::OPTIONS => cors::public_preflight(),
            _ => self.refuse_stranger(&Refusal::MethodNotAllowed("GET, HEAD, OPTIONS"), Some(door)),
        }
    }

    async fn at_door(
        self: &Arc<Self>,
        (known, door): (&Arc<Known>, &Arc<Door>),
        (way, from): (Way, Option<IpAddr>),
        parts: Parts,
        body: Body,
    ) -> Response<Body> {
        let origin = match self.allowed_origin(door, &parts) {
            Ok(origin) => origin,
            Err(refusal) => return self.refuse_stranger(&refusal, Some(door)),
        };
        let response = if parts.method == Method::OPTIONS {
            cors::preflight(&parts.headers)
        } else {
            match self.admit((known, door), (way, from), &parts).await {
                Ok(caller) => self.for_caller(&caller, way, &parts, body).await,
                Err(refusal) => self.refuse_stranger(&refusal, Some(door)),
            }
        };
        match origin {
            Some(origin) => cors::readable_by(origin, response),
            None => response,
        }
    }

    /// HTTP-01, HTTP-15: no `Origin`, or that of a page that may call.
    fn allowed_origin(&self, door: &Door, parts: &Parts) -> Result<Option<HeaderValue>, Refusal> {
        let mut values = parts.headers.get_all(header::ORIGIN).iter();
        let Some(origin) = values.next() else {
            return Ok(None);
        };
        let stated = origin.to_str().unwrap_or_default();
        let is_allowed = stated == door.origin()
            || stated == self.settings.issuer.origin()
            || self.settings.allowed_origins.iter().any(|allowed| allowed == stated);
        if is_allowed && values.next().is_none() {
            Ok(Some(origin.clone()))
        } else {
            Err(Refusal::ForeignOrigin)
        }
    }

    async fn admit(
        &self,
        (known, door): (&Arc<Known>, &Arc<Door>),
        (way, from): (Way, Option<IpAddr>),
        parts: &Parts,
    ) -> Result<Caller, Refusal> {
        way.allows(&parts.method)?;
        let now = (self.settings.clock)();
        if !self.knowledge.is_fresh(now) {
            return Err(Refusal::Stale);
        }
        let place = (Arc::clone(known), Arc::clone(door));
        authenticate((&self.knowledge, &self.rates), place, parts, (now, from)).await
    }

    async fn for_caller(
        self: &Arc<Self>,
        caller: &Caller,
        way: Way,
        parts: &Parts,
        body: Body,
    ) -> Response<Body> {
        if let Err(too_often) = self.rates.messages(caller.counted_as(), 1, caller.now) {
            return self.refuse_caller(caller, &Refusal::TooOften(too_often).into());
        }
        let served = match way {
            Way::Streamable => self.streamable(caller, parts, body).await,
            Way::Other(OtherTransport::HttpSse) => Box::pin(self.http_sse(caller, parts, body)).await,
            Way::Other(OtherTransport::Websocket) => self.websocket(caller, parts).await,
        };
        match served {
            Ok(response) => response,
            Err(refused) => self.refuse_caller(caller, &refused),
        }
    }

    async fn streamable(
        &self,
        caller: &Caller,
        parts: &Parts,
        body: Body,
    ) -> Result<Response<Body>, Refused> {
        let at = caller.door.server.name.as_str();
        match parts.method {
            // Who calls is looked at again there, and of what has a body when that is there.
            Method::GET => {
                let span = self.span_of_verb(&parts.headers, "GET", at);
                let done = span.around(self.listen(caller, parts, &span)).await;
                span.served(done)
            }
            Method::DELETE => {
                let span = self.span_of_verb(&parts.headers, "DELETE", at);
                let done = span.around(self.end_session(caller, parts, &span)).await;
                span.served(done)
            }
            _ => self.post(caller, parts, body).await,
        }
    }

    /// PC-51: refusals of strangers are counted, not recorded one by one; nor do they fill the log.
    fn refuse_stranger(&self, refusal: &Refusal, door: Option<&Door>) -> Response<Body> {
        let server = door.map(|door| door.server.name.as_str());
        tracing::debug!(reason = refusal.reason(), server, "refused a stranger");
        self.strangers.count(refusal.reason(), server);
        refusal.answer(&Context { door, ..Context::default() })
    }

    pub(crate) fn refuse_caller(&self, caller: &Caller, refused: &Refused) -> Response<Body> {
        self.record_refusal(caller, refused);
        refused.refusal.answer(&Context {
            door: Some(&caller.door),
            id: refused.id.as_deref(),
            in_session: refused.in_session,
        })
    }
}

/// By the exact path, undecoded and un-normalised (HTTP-06), under the host that it belongs to (HTTP-14).
fn find(known: &Known, parts: &Parts) -> Result<Place, Refusal> {
    let places = known.places_at(parts.uri.path());
    if places.is_empty() {
        return Err(Refusal::UnknownServer);
    }
    let stated = stated_hosts(parts)?;
    let is_here = |place: &&Place| stated.clone().all(|host| place.door().is_addressed_by(host));
    places.iter().find(is_here).cloned().ok_or(Refusal::ForeignHost)
}

/// Every host that the request names: in its target (absolute form, HTTP/2) and in `Host`. At least one.
fn stated_hosts(parts: &Parts) -> Result<impl Iterator<Item = &str> + Clone, Refusal> {
    let target = parts.uri.authority().map(Authority::as_str);
    let mut values = parts.headers.get_all(header::HOST).iter();
    let host = values.next().map(|value| value.to_str().map_err(|_| Refusal::HostUnclear)).transpose()?;
    if target.or(host).is_none() || values.next().is_some() {
        return Err(Refusal::HostUnclear);
    }
    Ok(target.into_iter().chain(host))
}

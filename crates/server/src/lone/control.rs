//! The control room, as a gateway speaks to it: who it is, is shown anew with each request, by a JWT of a minute for one address.

use super::identity::{Identity, IdentityError};
use crate::clock::Clock;
use crate::gateways::wire::{
    self, Copied, Enrol, Enrolled, IDENTITY_LIFE, IDENTITY_TYPE, IdentityClaims, Kept, UNKNOWN_GATEWAY,
};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use portcullis_domain::id::GatewayId;
use portcullis_domain::pins::Sighting;
use portcullis_domain::snapshot::FORMAT;
use portcullis_gateway::{Connector, NoCopy, NoTls, TokenCopy, Wanted, connector};
use portcullis_oauth::issuer::Issuer;
use portcullis_oauth::jwt::{SigningFailed, SigningKey};
use serde::Deserialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// To the head of an answer, and to its end where it has one.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same, where the control room asks a third party first.
const RENEWING: Duration = Duration::from_secs(24);

/// The longest answer that has an end.
const MAX_ANSWER: usize = 64 * 1024;

/// The door to the control room.
pub(super) struct Control {
    at: Issuer,
    issuer: Issuer,
    gateway: GatewayId,
    key: SigningKey,
    clock: Clock,
    client: Client<Connector, Full<Bytes>>,
    asked: AtomicU64,
}

/// Why the control room gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Its answer is none that a control room gives.
    #[error(
        "its answer cannot be read: is this the address of a Portcullis control room, of the same version?"
    )]
    Garbled,
    /// It took too long.
    #[error("it does not answer in time")]
    Late,
    /// It refused.
    #[error("it refuses ({status}): {title}: {detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// In its words.
        title: String,
        /// And what to do.
        detail: String,
    },
    /// We could not show who we are.
    #[error("the identity cannot be shown")]
    Signing(#[from] SigningFailed),
    /// No TLS client can be built.
    #[error(transparent)]
    Tls(#[from] NoTls),
    /// It says that there is no such gateway.
    #[error("it knows no such gateway: this one was removed")]
    Unknown,
    /// No connection, or it broke.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
}

/// What became of a piece of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brought {
    /// It is kept.
    Kept,
    /// So much of its segment is there; it goes on from there.
    GoOnAt(u64),
}

/// problem+json, as far as it is looked at.
#[derive(Deserialize)]
struct Problem {
    r#type: String,
    title: String,
    detail: String,
    #[serde(default)]
    bytes: Option<u64>,
}

impl Control {
    pub(super) fn new(identity: &Identity, clock: Clock) -> Result<Self, super::LoneError> {
        let key: Result<SigningKey, IdentityError> = identity.identity_key();
        Ok(Self {
            at: identity.control().clone(),
            issuer: identity.issuer().clone(),
            gateway: identity.id(),
            key: key?,
            clock,
            client: client().map_err(ControlError::from)?,
            asked: AtomicU64::new(0),
        })
    }

    /// Where it is.
    pub(super) fn at(&self) -> &Issuer {
        &self.at
    }

    /// The stream of updates, from a position on, or from the beginning.
    pub(super) async fn listen(&self, after: Option<u64>) -> Result<Incoming, ControlError> {
        let after = after.map(|after| format!("&after={after}")).unwrap_or_default();
        let query = format!("?format={FORMAT}{after}");
        let request = self.request(Method::GET, wire::SNAPSHOT, &query, None)?;
        let response = send(&self.client, request).await?;
        if response.status() == StatusCode::OK {
            Ok(response.into_body())
        } else {
            Err(refused(response).await)
        }
    }

    /// Brings a piece of a segment.
    pub(super) async fn bring(
        &self,
        segment: u64,
        offset: u64,
        piece: Bytes,
    ) -> Result<Brought, ControlError> {
        let sha256 = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, &piece));
        let query = format!("?segment={segment}&offset={offset}&sha256={sha256}");
        let end = offset + piece.len() as u64;
        let request =
            self.request(Method::POST, wire::RECORDS, &query, Some(("application/x-ndjson", piece)))?;
        let response = send(&self.client, request).await?;
        if response.status() == StatusCode::CONFLICT {
            let problem = problem(response).await?;
            return match problem.bytes {
                Some(bytes) => Ok(Brought::GoOnAt(bytes)),
                None => Err(problem.into_error(StatusCode::CONFLICT)),
            };
        }
        if response.status() != StatusCode::OK {
            return Err(refused(response).await);
        }
        let kept: Kept =
            serde_json::from_slice(&whole(response).await?).map_err(|_| ControlError::Garbled)?;
        // What was acknowledged is cut: only the very piece counts.
        if kept.segment == segment && kept.bytes >= end {
            Ok(Brought::Kept)
        } else {
            Err(ControlError::Garbled)
        }
    }

    /// Tells what was seen of tools.
    pub(super) async fn tell(&self, sighting: &Sighting) -> Result<(), ControlError> {
        let body = serde_json::to_vec(sighting).map_err(|_| ControlError::Garbled)?;
        let request =
            self.request(Method::POST, wire::SIGHTINGS, "", Some(("application/json", body.into())))?;
        let response = send(&self.client, request).await?;
        if response.status() == StatusCode::NO_CONTENT { Ok(()) } else { Err(refused(response).await) }
    }

    /// A copy of a person's token for a server.
    pub(super) async fn copy(&self, wanted: &Wanted) -> Result<Result<TokenCopy, NoCopy>, ControlError> {
        let body = serde_json::to_vec(wanted).map_err(|_| ControlError::Garbled)?;
        let request =
            self.request(Method::POST, wire::CONNECTIONS, "", Some(("application/json", body.into())))?;
        // It may have to renew first.
        let response = send_within(RENEWING, &self.client, request).await?;
        if response.status() != StatusCode::OK {
            return Err(refused(response).await);
        }
        match serde_json::from_slice(&whole(response).await?).map_err(|_| ControlError::Garbled)? {
            Copied::Copy(copy) => Ok(Ok(copy)),
            Copied::None(none) => Ok(Err(none)),
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        query: &str,
        content: Option<(&'static str, Bytes)>,
    ) -> Result<Request<Full<Bytes>>, ControlError> {
        let now = self.clock.now();
        let claims = IdentityClaims {
            iss: self.gateway,
            aud: self.issuer.join(path),
            iat: now,
            exp: now + IDENTITY_LIFE,
            jti: self.asked.fetch_add(1, Ordering::Relaxed).to_string(),
        };
        let token = self.key.sign(IDENTITY_TYPE, &claims)?;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{query}", self.at.join(path)))
            .header(header::AUTHORIZATION, format!("Bearer {token}"));
        let (media_type, body) = content.unzip();
        if let Some(media_type) = media_type {
            request = request.header(header::CONTENT_TYPE, media_type);
        }
        request.body(Full::new(body.unwrap_or_default())).map_err(|_| ControlError::Garbled)
    }
}

/// Comes for an identity.
pub(super) async fn enrol(at: &Issuer, enrol: &Enrol) -> Result<Enrolled, ControlError> {
    let body = serde_json::to_vec(enrol).map_err(|_| ControlError::Garbled)?;
    let request = Request::post(at.join(wire::ENROL)).header(header::CONTENT_TYPE, "application/json");
    let request = request.body(Full::new(body.into())).map_err(|_| ControlError::Garbled)?;
    let response = send(&client()?, request).await?;
    if response.status() != StatusCode::OK {
        return Err(refused(response).await);
    }
    serde_json::from_slice(&whole(response).await?).map_err(|_| ControlError::Garbled)
}

fn client() -> Result<Client<Connector, Full<Bytes>>, NoTls> {
    #[expect(
        clippy::disallowed_methods,
        reason = "it dials only the control room that the operator named, https or loopback, and follows no redirect"
    )]
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(10))
        .build(connector()?);
    Ok(client)
}

async fn send(
    client: &Client<Connector, Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, ControlError> {
    send_within(PATIENCE, client, request).await
}

async fn send_within(
    patience: Duration,
    client: &Client<Connector, Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, ControlError> {
    let answered = tokio::time::timeout(patience, client.request(request)).await;
    answered.map_err(|_| ControlError::Late)?.map_err(|error| ControlError::Unreachable(innermost(&error)))
}

/// It says most.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, ControlError> {
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect();
    let body = tokio::time::timeout(PATIENCE, body).await.map_err(|_| ControlError::Late)?;
    Ok(body.map_err(|_| ControlError::Garbled)?.to_bytes())
}

async fn problem(response: Response<Incoming>) -> Result<Problem, ControlError> {
    serde_json::from_slice(&whole(response).await?).map_err(|_| ControlError::Garbled)
}

async fn refused(response: Response<Incoming>) -> ControlError {
    let status = response.status();
    match problem(response).await {
        Ok(problem) => problem.into_error(status),
        Err(error) => error,
    }
}

impl Problem {
    fn into_error(self, status: StatusCode) -> ControlError {
        if self.r#type == UNKNOWN_GATEWAY {
            return ControlError::Unknown;
        }
        ControlError::Refused { status: status.as_u16(), title: self.title, detail: self.detail }
    }
}

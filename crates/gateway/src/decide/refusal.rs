//! From a refusal to what the caller reads: one exhaustive match chooses status, challenge and sentence.
//!
//! Sentences are fixed but for names of scopes and of the server; nothing of a request but its `id` is repeated.

mod ask;
mod sentence;

pub(crate) use ask::Ask;

use crate::bounds::rates::TooOften;
use crate::bounds::slots::Full;
use crate::decide::denial::Denial;
use crate::known::disbelief::Disbelief;
use crate::known::door::Door;
use crate::message::answer::UpstreamFailure;
use crate::message::call::ParseRefusal;
use crate::message::headers::{HeaderRefusal, WITH_SESSIONS};
use crate::message::rpc::{code, rpc_error};
use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use portcullis_domain::policy::Never;
use portcullis_guard::bearer::BearerRefusal;
use portcullis_guard::challenge::Challenge;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Why a request is not served.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Nothing is wrong with it, but with another message of its batch.
    BesideRefused,
    BodyBroken,
    BodyLate,
    BodyTooLarge,
    ContentEncoding,
    ContentType,
    Denied(Denial),
    Disbelieved(Disbelief),
    DuplicateInFlight,
    ForeignHost,
    ForeignOrigin,
    Headers(HeaderRefusal),
    HostUnclear,
    MethodNotAllowed(&'static str),
    NoRoom,
    /// A third party wants each person to connect, and an agent, or somebody of another issuer, is none.
    NotAPerson,
    /// The person has to connect an account at the third party first.
    NotConnected {
        /// The page for that.
        place: String,
        ask: Ask,
    },
    NoToken,
    Presented(BearerRefusal),
    ResponseOutsideSession,
    /// While something was waited for, and now the record would have to be another.
    RulesChanged,
    /// A line has one session.
    SecondSession,
    SessionNeeded,
    Spool,
    Stale,
    TokenInHeader,
    TokenInUrl,
    TooManyAtOnce(Full),
    TooOften(TooOften),
    UnknownServer,
    UnknownSession,
    /// None, or somebody else's.
    UnknownTask,
    Unreadable(ParseRefusal),
    /// WebSocket begins with an upgrade of HTTP/1.1.
    UpgradeNeeded,
    Upstream(UpstreamFailure),
}

/// What the answer to a refusal needs besides the refusal.
#[derive(Default)]
pub(crate) struct Context<'a> {
    pub(crate) door: Option<&'a Door>,
    pub(crate) id: Option<&'a RawValue>,
    /// Whether the request belongs to a session, where 404 would mean that the session ended.
    pub(crate) in_session: bool,
}

/// How a refusal is answered.
struct Shown {
    status: StatusCode,
    code: i64,
    sentence: String,
    challenge: Option<Challenge>,
    data: Option<Value>,
    extra: Option<(header::HeaderName, HeaderValue)>,
}

impl Shown {
    fn new(status: StatusCode, code: i64, sentence: impl Into<String>) -> Self {
        Self { status, code, sentence: sentence.into(), challenge: None, data: None, extra: None }
    }

    fn challenged(code: i64, sentence: impl Into<String>, challenge: Option<Challenge>) -> Self {
        let status = challenge
            .as_ref()
            .and_then(|challenge| StatusCode::from_u16(challenge.status).ok())
            .unwrap_or(StatusCode::UNAUTHORIZED);
        Self { challenge, ..Self::new(status, code, sentence) }
    }

    fn retry_later(mut self) -> Self {
        self.extra = Some((header::RETRY_AFTER, HeaderValue::from_static("1")));
        self
    }

    fn too_often(too_often: TooOften, sentence: String) -> Self {
        let seconds = too_often.wait.seconds;
        Self {
            data: Some(json!({ "limit": too_often.bound.word(), "retryAfterSeconds": seconds })),
            extra: Some((header::RETRY_AFTER, HeaderValue::from(seconds))),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, code::TOO_MANY, sentence)
        }
    }
}

impl Refusal {
    /// The status of the answer, as far as it does not depend on who asked.
    pub(crate) fn status(&self) -> StatusCode {
        self.shown(&Context::default()).status
    }

    /// The answer.
    pub(crate) fn answer(&self, context: &Context<'_>) -> Response<Body> {
        let shown = self.shown(context);
        let body = match (self, context.id) {
            (Self::NotConnected { place, ask: Ask::Input }, Some(id)) => {
                input_required(place, &shown.sentence, id)
            }
            _ => rpc_error(shown.code, &shown.sentence, context.id, shown.data),
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = shown.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let challenge =
            shown.challenge.and_then(|challenge| HeaderValue::try_from(challenge.www_authenticate).ok());
        if let Some(challenge) = challenge {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some((name, value)) = shown.extra {
            headers.insert(name, value);
        }
        response
    }

    fn shown(&self, context: &Context<'_>) -> Shown {
        let challenges = context.door.map(|door| &door.challenges);
        let bad = |code, sentence: String| Shown::new(StatusCode::BAD_REQUEST, code, sentence);
        let invalid_request = |sentence: &str| {
            Shown::challenged(
                code::INVALID_REQUEST,
                sentence,
                challenges.map(|challenges| challenges.invalid_request(sentence)),
            )
        };
        let invalid_token = || {
            Shown::challenged(
                code::UNAUTHENTICATED,
                "the access token does not count here",
                challenges.map(portcullis_guard::challenge::Challenges::invalid_token),
            )
        };
        let sentence = self.sentence();
        match self {
            Self::BodyLate => Shown::new(StatusCode::REQUEST_TIMEOUT, code::INVALID_REQUEST, sentence),
            Self::BodyTooLarge => Shown::new(StatusCode::PAYLOAD_TOO_LARGE, code::INVALID_REQUEST, sentence),
            Self::ContentEncoding | Self::ContentType => {
                Shown::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code::INVALID_REQUEST, sentence)
            }
            Self::Denied(denial) => denied(denial, sentence, context),
            Self::Disbelieved(Disbelief::Unchecked(too_often)) | Self::TooOften(too_often) => {
                Shown::too_often(*too_often, sentence)
            }
            Self::Disbelieved(Disbelief::NotActive | Disbelief::Revoked | Disbelief::Token(_))
            | Self::Presented(BearerRefusal::OtherScheme) => invalid_token(),
            Self::BesideRefused
            | Self::BodyBroken
            | Self::DuplicateInFlight
            | Self::HostUnclear
            | Self::ResponseOutsideSession
            | Self::SecondSession
            | Self::SessionNeeded => bad(code::INVALID_REQUEST, sentence),
            Self::ForeignHost => Shown::new(StatusCode::MISDIRECTED_REQUEST, code::INVALID_REQUEST, sentence),
            Self::ForeignOrigin => Shown::new(StatusCode::FORBIDDEN, code::INVALID_REQUEST, sentence),
            Self::Headers(refusal) => header_refused(refusal, sentence),
            Self::MethodNotAllowed(allow) => Shown {
                extra: Some((header::ALLOW, HeaderValue::from_static(allow))),
                ..Shown::new(StatusCode::METHOD_NOT_ALLOWED, code::INVALID_REQUEST, sentence)
            },
            Self::NotAPerson => Shown::new(StatusCode::FORBIDDEN, code::REFUSED, sentence),
            Self::NotConnected { place, ask } => not_connected(place, ask, sentence, context),
            Self::NoToken => Shown::challenged(
                code::UNAUTHENTICATED,
                sentence,
                challenges.map(portcullis_guard::challenge::Challenges::missing),
            ),
            Self::Presented(BearerRefusal::Malformed | BearerRefusal::Several)
            | Self::TokenInHeader
            | Self::TokenInUrl
            | Self::Unreadable(ParseRefusal::TokenInside) => invalid_request(&sentence),
            Self::Disbelieved(Disbelief::IssuerAway)
            | Self::NoRoom
            | Self::RulesChanged
            | Self::Spool
            | Self::Stale => {
                Shown::new(StatusCode::SERVICE_UNAVAILABLE, code::UNAVAILABLE, sentence).retry_later()
            }
            Self::TooManyAtOnce(full) => too_many_at_once(*full, sentence),
            Self::UnknownServer | Self::UnknownSession => {
                Shown::new(StatusCode::NOT_FOUND, code::NO_SESSION, sentence)
            }
            // 2025-11-25 "Tasks", and the extension: invalid params.
            Self::UnknownTask => bad(code::INVALID_PARAMS, sentence),
            Self::UpgradeNeeded => Shown {
                extra: Some((header::UPGRADE, HeaderValue::from_static("websocket"))),
                ..Shown::new(StatusCode::UPGRADE_REQUIRED, code::INVALID_REQUEST, sentence)
            },
            Self::Unreadable(refusal) => bad(unreadable_code(*refusal), sentence),
            Self::Upstream(failure) => upstream_failed(*failure, sentence, context),
        }
    }
}

/// What all callers of a server share is no fault of this one.
fn too_many_at_once(full: Full, sentence: String) -> Shown {
    let (status, code) = match full {
        Full::Server => (StatusCode::SERVICE_UNAVAILABLE, code::UNAVAILABLE),
        Full::Address | Full::Client | Full::Line | Full::Principal | Full::Streams => {
            (StatusCode::TOO_MANY_REQUESTS, code::TOO_MANY)
        }
    };
    let data = Some(json!({ "limit": full.word(), "retryAfterSeconds": 1 }));
    Shown { data, ..Shown::new(status, code, sentence).retry_later() }
}

/// An answer to a request, whatever it says, so that programs show it; where there is none to answer, a refusal.
fn not_connected(place: &str, ask: &Ask, sentence: String, context: &Context<'_>) -> Shown {
    let status = if context.id.is_some() { StatusCode::OK } else { StatusCode::FORBIDDEN };
    let (code, data) = match ask {
        Ask::Elicitation(id) => {
            let asked = json!({ "mode": "url", "elicitationId": id, "url": place, "message": sentence });
            (code::ELICITATION, json!({ "elicitations": [asked] }))
        }
        Ask::Input | Ask::Words => (code::NOT_CONNECTED, json!({ "connect": place })),
    };
    Shown { data: Some(data), ..Shown::new(status, code, sentence) }
}

/// 2026-07-28, "Multi Round-Trip Requests": the client opens the address and asks again. It is given no state, because we
/// need none.
fn input_required(place: &str, sentence: &str, id: &RawValue) -> Vec<u8> {
    let params = json!({ "mode": "url", "url": place, "message": sentence });
    let asked = json!({ "method": "elicitation/create", "params": params });
    let result = json!({ "resultType": "input_required", "inputRequests": { "portcullis/connect": asked } });
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#).into_bytes()
}

fn denied(denial: &Denial, sentence: String, context: &Context<'_>) -> Shown {
    let challenges = context.door.map(|door| &door.challenges);
    let insufficient = |needs: Option<&portcullis_oauth::scope::ScopeSet>| {
        let challenge = challenges.map(|challenges| match needs {
            Some(needs) => challenges.insufficient_scope(needs, &sentence),
            None => challenges.insufficient_for_anything(&sentence),
        });
        Shown {
            status: StatusCode::FORBIDDEN,
            ..Shown::challenged(code::REFUSED, sentence.clone(), challenge)
        }
    };
    match denial {
        Denial::StepUp(shortfall)
        | Denial::Never(
            Never::BeyondAgent(shortfall) | Never::BeyondIssuer(shortfall) | Never::BeyondUser(shortfall),
        ) => insufficient(Some(&shortfall.needs)),
        Denial::Never(Never::NothingLeft) => insufficient(None),
        Denial::Unpinned(..) | Denial::Never(Never::Forbidden(_) | Never::NoRule | Never::Unclear(_)) => {
            Shown::new(StatusCode::FORBIDDEN, code::REFUSED, sentence)
        }
        // 2026-07-28 wants 404; in a session 404 would say that the session ended.
        Denial::UnknownMethod if context.in_session => {
            Shown::new(StatusCode::BAD_REQUEST, code::METHOD_NOT_FOUND, sentence)
        }
        Denial::UnknownMethod => Shown::new(StatusCode::NOT_FOUND, code::METHOD_NOT_FOUND, sentence),
    }
}

fn header_refused(refusal: &HeaderRefusal, sentence: String) -> Shown {
    let bad = |code| Shown::new(StatusCode::BAD_REQUEST, code, sentence);
    match refusal {
        HeaderRefusal::Mismatch(_) | HeaderRefusal::Missing(_) | HeaderRefusal::Repeated(_) => {
            bad(code::HEADER_MISMATCH)
        }
        HeaderRefusal::MissingMeta => bad(code::INVALID_PARAMS),
        HeaderRefusal::NeedsSession(requested) => Shown {
            data: Some(json!({ "supported": WITH_SESSIONS, "requested": requested })),
            ..bad(code::UNSUPPORTED_VERSION)
        },
        HeaderRefusal::Unsupported { requested, instead } => Shown {
            data: Some(json!({
                "supported": instead,
                "requested": requested.as_deref().unwrap_or("unknown"),
            })),
            ..bad(code::UNSUPPORTED_VERSION)
        },
    }
}

fn unreadable_code(refusal: ParseRefusal) -> i64 {
    match refusal {
        ParseRefusal::Malformed => code::PARSE,
        ParseRefusal::Params => code::INVALID_PARAMS,
        ParseRefusal::Batch
        | ParseRefusal::BatchForm
        | ParseRefusal::Duplicate
        | ParseRefusal::Envelope
        | ParseRefusal::Id
        | ParseRefusal::Lookalike
        | ParseRefusal::TokenInside
        | ParseRefusal::TooDeep => code::INVALID_REQUEST,
    }
}

fn upstream_failed(failure: UpstreamFailure, sentence: String, context: &Context<'_>) -> Shown {
    let sentence = match context.door {
        Some(door) => format!("server {}: {sentence}", door.server.name),
        None => sentence,
    };
    match failure {
        UpstreamFailure::Late => Shown::new(StatusCode::GATEWAY_TIMEOUT, code::UPSTREAM_LATE, sentence),
        UpstreamFailure::Connection
        | UpstreamFailure::NoToken
        | UpstreamFailure::Secret
        | UpstreamFailure::Signing
        | UpstreamFailure::TooManyPrograms => {
            Shown::new(StatusCode::SERVICE_UNAVAILABLE, code::UNAVAILABLE, sentence).retry_later()
        }
        UpstreamFailure::Resting { seconds } => Shown {
            data: Some(json!({ "retryAfterSeconds": seconds })),
            extra: Some((header::RETRY_AFTER, HeaderValue::from(seconds))),
            ..Shown::new(StatusCode::SERVICE_UNAVAILABLE, code::UNAVAILABLE, sentence)
        },
        // Nobody is told to try again: the call may have been carried out.
        UpstreamFailure::NoRoom => Shown::new(StatusCode::SERVICE_UNAVAILABLE, code::UNAVAILABLE, sentence),
        UpstreamFailure::BrokeOff
        | UpstreamFailure::Credential
        | UpstreamFailure::Garbled
        | UpstreamFailure::NoAddress
        | UpstreamFailure::NoProgram
        | UpstreamFailure::Redirect
        | UpstreamFailure::Session
        | UpstreamFailure::Status
        | UpstreamFailure::TooLarge
        | UpstreamFailure::TooManyItems
        | UpstreamFailure::Unreachable => {
            Shown::new(StatusCode::BAD_GATEWAY, code::UPSTREAM_FAILED, sentence)
        }
    }
}

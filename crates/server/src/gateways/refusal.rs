//! What gateways, and those who would be one, are answered when they are refused: problem+json (RFC 9457).

use super::wire::Kept;
use crate::fault::Fault;
use crate::throttle::Wait;
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

/// Why a gateway was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The body is not what belongs there.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// The one-time secret is too old.
    #[error("the enrolment has expired")]
    Expired,
    #[error("fault")]
    Fault(#[from] Fault),
    /// A piece of a record that does not begin where the last one ended.
    #[error("a piece of a record does not follow the last one")]
    Gap(Kept),
    /// Keys that may not be a gateway's.
    #[error("keys that cannot be a gateway's")]
    Keys,
    /// It would understand something else than what is said.
    #[error("a gateway of another version")]
    OtherFormat,
    /// A piece of a record that is not the one of before.
    #[error("a piece of a record is another than before")]
    OtherRecord,
    /// There is no room for more of this gateway's record.
    #[error("the record of this gateway is full")]
    RecordFull,
    /// The one-time secret was used with other keys.
    #[error("the enrolment is spent")]
    Spent,
    /// Not a server of this gateway.
    #[error("not a server of this gateway")]
    OtherServer,
    #[error("too often")]
    Throttled(Wait),
    /// No identity, or one that does not count here and now.
    #[error("no identity that counts: {0}")]
    Unidentified(&'static str),
    /// There is no such gateway, or no more.
    #[error("an unknown gateway")]
    Unknown,
    /// No such enrolment: wrong secret, or a gateway that is gone.
    #[error("an unknown enrolment")]
    UnknownEnrolment,
}

#[derive(Serialize)]
struct Body {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'static str,
    /// How far the record is kept.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    kept: Option<Kept>,
}

impl Refusal {
    /// Status, kind, title, what to do.
    const fn public(&self) -> (StatusCode, &'static str, &'static str, &'static str) {
        match self {
            Self::Malformed(says) => (StatusCode::BAD_REQUEST, "malformed", "Not understood", *says),
            Self::Expired => (
                StatusCode::FORBIDDEN,
                "enrolment_expired",
                "The enrolment has expired",
                "remove the gateway and add it again: portcullis gateway remove NAME, then gateway add NAME",
            ),
            Self::Fault(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "Not now",
                "nothing was changed; the control room's log says why",
            ),
            Self::Gap(_) => (
                StatusCode::CONFLICT,
                "gap",
                "A part is missing",
                "go on where `bytes` says, in this segment",
            ),
            Self::Keys => (
                StatusCode::BAD_REQUEST,
                "keys",
                "Not keys of a gateway",
                "a gateway makes two keys of its own (P-256) and sends their public halves, under its own key ids",
            ),
            Self::OtherFormat => (
                StatusCode::CONFLICT,
                "other_format",
                "The gateway is of another version",
                "it does not understand all that the control room says: run the same version on both",
            ),
            Self::OtherRecord => (
                StatusCode::CONFLICT,
                "other_record",
                "Another record is kept under this number",
                "the gateway lost its record and began anew: remove it and add it again, with a new data folder",
            ),
            Self::RecordFull => (
                StatusCode::INSUFFICIENT_STORAGE,
                "record_full",
                "There is no room for the record",
                "on the control room, move older segments of this gateway away, or raise audit.spool_bytes",
            ),
            Self::Spent => (
                StatusCode::FORBIDDEN,
                "enrolment_spent",
                "The enrolment was used",
                "it was used with other keys. If that was not you: portcullis gateway remove NAME, at once",
            ),
            Self::OtherServer => (
                StatusCode::FORBIDDEN,
                "other_server",
                "Not a server of this gateway",
                "a gateway speaks for the servers that it serves",
            ),
            Self::Throttled(_) => {
                (StatusCode::TOO_MANY_REQUESTS, "throttled", "Too often", "wait as long as Retry-After says")
            }
            Self::Unidentified(says) => (StatusCode::UNAUTHORIZED, "unidentified", "Not a gateway", *says),
            Self::Unknown => (
                StatusCode::UNAUTHORIZED,
                "unknown_gateway",
                "There is no such gateway",
                "it was removed, or never was; it may serve nobody",
            ),
            Self::UnknownEnrolment => (
                StatusCode::FORBIDDEN,
                "unknown_enrolment",
                "There is no such enrolment",
                "the file is of another deployment, or its gateway was removed: add it again",
            ),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, kind, title, detail) = self.public();
        if let Self::Fault(fault) = &self {
            fault.log();
        } else {
            tracing::info!(reason = %self, status = status.as_u16(), "a gateway was refused");
        }
        let kept = if let Self::Gap(kept) = self { Some(kept) } else { None };
        let r#type = format!("urn:portcullis:problem:{kind}");
        let body = Body { r#type, title, status: status.as_u16(), detail, kept };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Self::Throttled(wait) = &self {
            headers.insert(header::RETRY_AFTER, wait.seconds.into());
        }
        response
    }
}

impl From<portcullis_store::Error> for Refusal {
    fn from(error: portcullis_store::Error) -> Self {
        Self::Fault(error.into())
    }
}

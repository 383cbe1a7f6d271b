//! What the admin API answers when it refuses: problem+json (RFC 9457), one exhaustive match.

use super::input::{BadInput, Missing};
use super::operator::RightName;
use crate::fault::Fault;
use crate::fleet::DeliverError;
use crate::once::OnceError;
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use portcullis_domain::fleet::Problem;
use portcullis_guard::challenge::Challenge;
use serde::Serialize;

/// Why an operator's request was refused. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// It is none of the versions that `If-Match` names.
    #[error("it has changed")]
    Changed,
    /// What is asked for clashes with what there is. Says with what.
    #[error("{0}")]
    Conflict(String),
    /// A secret cannot be delivered where the fleet file says.
    #[error("{0}")]
    Deliver(#[from] DeliverError),
    #[error("fault")]
    Fault(#[from] Fault),
    /// Mistakes in a fleet file.
    #[error("the fleet file has mistakes")]
    Fleet(Vec<Problem>),
    #[error("{0}")]
    Input(#[from] BadInput),
    /// An `Idempotency-Key` that was used for something else.
    #[error("a key of another request")]
    KeyOfAnother,
    #[error("no such method here")]
    Method,
    #[error("{0}")]
    Missing(#[from] Missing),
    /// A token that is not where it belongs. Says what is wrong.
    #[error("{1}")]
    Misplaced(Challenge, &'static str),
    /// The registry is not the one that `If-Match` names.
    #[error("the registry has changed")]
    Moved,
    /// Not through the socket.
    #[error("no operator")]
    NoOperator,
    /// An operator, but not for this.
    #[error("no right")]
    NoRight(RightName),
    /// A tool is not as the operator looked at it.
    #[error("the tools have changed")]
    ToolMoved,
    /// A token that lacks a scope; another one may have it.
    #[error("insufficient scope")]
    Scope(RightName, Challenge),
    /// No token, or none that counts here and now.
    #[error("no token that counts")]
    NoToken(Challenge),
    /// Only an owner of the deployment may do this. Says what.
    #[error("for owners only: {0}")]
    OwnersOnly(String),
    /// About something that belongs to no server, or to all.
    #[error("own servers only")]
    OwnServersOnly,
    /// Names files of this machine, from elsewhere. Says for whom.
    #[error("new files on this machine: {0}")]
    Places(String),
}

/// The kind of a refusal, left in the answer for whoever records it.
#[derive(Clone, Copy)]
pub(super) struct RefusedAs(pub(super) &'static str);

/// Every kind that [`Refusal::public`] says.
pub(super) const KINDS: [&str; 20] = [
    "changed",
    "conflict",
    "credentials_misplaced",
    "files_named",
    "fleet_mistakes",
    "insufficient_scope",
    "key_of_another",
    "malformed",
    "media_type",
    "method",
    "missing",
    "moved",
    "no_operator",
    "own_servers_only",
    "owners_only",
    "too_large",
    "tool_moved",
    "unauthenticated",
    "unavailable",
    "undeliverable",
];

/// RFC 9457 s3.
#[derive(Serialize)]
struct Body {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
    /// Of a fleet file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<Mistake>,
}

#[derive(Serialize)]
struct Mistake {
    line: usize,
    says: String,
}

impl Refusal {
    /// Status, kind (the end of `type`), title.
    const fn public(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Changed => (StatusCode::PRECONDITION_FAILED, "changed", "It has changed"),
            Self::Conflict(_) => (StatusCode::CONFLICT, "conflict", "Clashes with what there is"),
            Self::Deliver(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "undeliverable", "A secret cannot be delivered")
            }
            Self::Fault(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not possible right now"),
            Self::Fleet(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "fleet_mistakes", "The fleet file has mistakes")
            }
            Self::Input(input) => {
                let title = "The request cannot be read";
                match input {
                    BadInput::Broken | BadInput::Malformed(_) => {
                        (StatusCode::BAD_REQUEST, "malformed", title)
                    }
                    BadInput::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", title),
                    BadInput::Type(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", title),
                }
            }
            Self::KeyOfAnother => {
                (StatusCode::UNPROCESSABLE_ENTITY, "key_of_another", "The key belongs to another request")
            }
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "method", "No such method here"),
            Self::Missing(_) => (StatusCode::NOT_FOUND, "missing", "Not found"),
            Self::Misplaced(..) => {
                (StatusCode::BAD_REQUEST, "credentials_misplaced", "The token is not where it belongs")
            }
            Self::Moved => (StatusCode::PRECONDITION_FAILED, "moved", "The registry has changed"),
            Self::ToolMoved => (StatusCode::PRECONDITION_FAILED, "tool_moved", "The tools have changed"),
            Self::NoOperator => (StatusCode::UNAUTHORIZED, "no_operator", "Not an operator of this machine"),
            Self::NoRight(RightName::Owns) | Self::OwnersOnly(_) => {
                (StatusCode::FORBIDDEN, "owners_only", "Only owners may do this")
            }
            Self::NoRight(RightName::Audits | RightName::Reads | RightName::Writes) | Self::Scope(..) => {
                (StatusCode::FORBIDDEN, "insufficient_scope", "The token does not suffice")
            }
            Self::NoToken(_) => (StatusCode::UNAUTHORIZED, "unauthenticated", "No token that counts"),
            Self::Places(_) => (StatusCode::FORBIDDEN, "files_named", "Only on the machine itself"),
            Self::OwnServersOnly => {
                (StatusCode::FORBIDDEN, "own_servers_only", "Not only about your own servers")
            }
        }
    }

    /// The value of `WWW-Authenticate`, where a token could help.
    fn challenge(&self) -> Option<&str> {
        match self {
            Self::Misplaced(challenge, _) | Self::NoToken(challenge) | Self::Scope(_, challenge) => {
                Some(&challenge.www_authenticate)
            }
            Self::Changed
            | Self::Conflict(_)
            | Self::Deliver(_)
            | Self::Fault(_)
            | Self::Fleet(_)
            | Self::Input(_)
            | Self::KeyOfAnother
            | Self::Method
            | Self::Missing(_)
            | Self::Moved
            | Self::ToolMoved
            | Self::NoOperator
            | Self::NoRight(_)
            | Self::OwnersOnly(_)
            | Self::OwnServersOnly
            | Self::Places(_) => None,
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Changed => "it is not as it was when you looked: look again; nothing was changed".to_owned(),
            Self::Conflict(says) => says.clone(),
            Self::Deliver(error) => error.to_string(),
            Self::Fault(_) => "nothing was changed; the server's log says why".to_owned(),
            Self::Fleet(problems) => format!("{} to correct; nothing was changed", problems.len()),
            Self::Input(input) => input.to_string(),
            Self::KeyOfAnother => {
                "this Idempotency-Key was used for another request: make a new one for each; nothing was changed"
                    .to_owned()
            }
            Self::Method => "this address is for another method".to_owned(),
            Self::Missing(missing) => missing.to_string(),
            Self::Misplaced(_, says) => (*says).to_owned(),
            Self::Moved => "somebody else changed it since this was planned: plan again".to_owned(),
            Self::ToolMoved => {
                "a definition is not the one that was looked at: look again; nothing was approved".to_owned()
            }
            Self::NoOperator => "the admin API is served on the socket in the data folder only".to_owned(),
            Self::NoRight(right) | Self::Scope(right, _) => right.wanted().to_owned(),
            Self::NoToken(_) => {
                "get a token for this address, as its WWW-Authenticate header says".to_owned()
            }
            Self::OwnersOnly(what) => {
                format!("an administrator has to do this, or somebody on the machine itself: {what}")
            }
            Self::Places(whose) => format!(
                "credential = {{ secret = {{ deliver }} }} names files of the machine, and new ones are named there only \
                 ({whose}); leave it out and use rotate, which shows the secret once"
            ),
            Self::OwnServersOnly => {
                "you administer the servers that name you as an owner, and nothing else".to_owned()
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, kind, title) = self.public();
        if let Self::Fault(fault) = &self {
            fault.log();
        } else {
            tracing::info!(reason = %self, status = status.as_u16(), "admin request refused");
        }
        debug_assert!(KINDS.contains(&kind), "{kind} is not in the OpenAPI document");
        let detail = self.detail();
        let challenge = self.challenge().and_then(|text| HeaderValue::from_str(text).ok());
        let problems = if let Self::Fleet(problems) = self { problems } else { Vec::new() };
        let body = Body {
            r#type: format!("urn:portcullis:problem:{kind}"),
            title,
            status: status.as_u16(),
            detail,
            problems: problems.into_iter().map(|p| Mistake { line: p.line, says: p.says }).collect(),
        };
        let mut response = (status, Json(body)).into_response();
        response.extensions_mut().insert(RefusedAs(kind));
        let headers = response.headers_mut();
        if let Some(challenge) = challenge {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

impl From<OnceError> for Refusal {
    fn from(error: OnceError) -> Self {
        match error {
            OnceError::OtherRequest => Self::KeyOfAnother,
            OnceError::Sealed(error) => Self::Fault(error.into()),
            OnceError::Store(error) => error.into(),
        }
    }
}

impl From<portcullis_store::Error> for Refusal {
    fn from(error: portcullis_store::Error) -> Self {
        Self::Fault(error.into())
    }
}

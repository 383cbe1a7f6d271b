//! Bodies of admin requests: JSON of a known shape, or a text; and the words for what is not there.

use super::door::AskedAgain;
use super::error::Refusal;
use crate::app::App;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequest, Request};
use http::header;
use portcullis_oauth::strict_json;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// A fleet file of thousands of servers and agents fits.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// Our inputs are flat.
const MAX_DEPTH: usize = 8;

/// A JSON body. Members that the type does not know should be errors: put `deny_unknown_fields` on it (ADM-04).
pub(crate) struct Input<T>(pub(crate) T);

/// A fleet file.
pub(crate) struct FleetText(pub(crate) String);

/// Why a body was not understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadInput {
    #[error("the body was cut off")]
    Broken,
    #[error("{0}")]
    Malformed(String),
    #[error("the body is too long")]
    TooLarge,
    #[error("the body must be {0}")]
    Type(&'static str),
}

/// What is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Missing {
    #[error("there is nothing at this address")]
    Address,
    #[error("there is no agent {0:?}")]
    Agent(String),
    #[error("the server follows no fleet file: it was started without --fleet")]
    FleetFile,
    /// By a name, or an id, which may be nearly that of another.
    #[error("there is no {what} {name:?}{}", near.as_ref().map(|near| format!("; did you mean {near:?}?")).unwrap_or_default())]
    Named { what: &'static str, name: String, near: Option<String> },
    #[error("there is no server {0:?}")]
    Server(String),
    #[error("there is no live session {0:?}")]
    Session(String),
    #[error("there is no user {0:?}")]
    User(String),
}

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Input<T> {
    type Rejection = Refusal;
    async fn from_request(request: Request, _: &Arc<App>) -> Result<Self, Refusal> {
        let body = still_sent(request, "application/json").await?;
        strict_json::check(&body, MAX_DEPTH).map_err(|error| BadInput::Malformed(error.to_string()))?;
        // Serde's words name members and types, and quote what was written: the operator's own.
        let value = serde_json::from_slice(&body).map_err(|error| BadInput::Malformed(error.to_string()))?;
        Ok(Self(value))
    }
}

impl FromRequest<Arc<App>> for FleetText {
    type Rejection = Refusal;
    async fn from_request(request: Request, _: &Arc<App>) -> Result<Self, Refusal> {
        let body = still_sent(request, "application/toml").await?;
        let text = String::from_utf8(body).map_err(|_| BadInput::Malformed("not UTF-8".to_owned()))?;
        Ok(Self(text))
    }
}

/// The body, of somebody who may still send it when it has come.
async fn still_sent(request: Request, media_type: &'static str) -> Result<Vec<u8>, Refusal> {
    let again = request.extensions().get::<AskedAgain>().cloned();
    let body = read(request, media_type).await?;
    if let Some(again) = again {
        again.check().await?;
    }
    Ok(body)
}

async fn read(request: Request, media_type: &'static str) -> Result<Vec<u8>, BadInput> {
    let stated = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = stated.and_then(|value| value.split(';').next());
    if !essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(media_type)) {
        return Err(BadInput::Type(media_type));
    }
    Ok(whole(request.into_body()).await?.into())
}

/// A body as it comes, if it is not too long.
pub(super) async fn whole(body: Body) -> Result<Bytes, BadInput> {
    to_bytes(body, MAX_BODY).await.map_err(|error| {
        let cause = std::error::Error::source(&error);
        if cause.is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>) {
            BadInput::TooLarge
        } else {
            BadInput::Broken
        }
    })
}

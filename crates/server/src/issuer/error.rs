//! What the endpoints for programs answer when they refuse: RFC 6749 s5.2, one exhaustive match, fixed sentences.

mod grant;
mod registration;

use crate::extract::BodyRefusal;
use crate::fault::Fault;
use crate::throttle::Wait;
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use portcullis_oauth::client::{AuthMethod, InvalidPresentation};
use portcullis_oauth::error::ErrorCode;
use portcullis_oauth::token::InvalidTokenRequest;
use serde::Serialize;

pub(crate) use grant::GrantRefusal;
pub(crate) use registration::RegistrationRefusal;

/// Why a request of a program was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    Body(BodyRefusal),
    /// Unknown client, wrong secret, no secret, another method: one answer for all (CLI-04).
    #[error("client authentication failed")]
    Client(AuthMethod),
    #[error("fault")]
    Fault(#[from] Fault),
    #[error("{0}")]
    Grant(#[from] GrantRefusal),
    /// The client did not register for this grant, or is of a kind that cannot have it.
    #[error("grant type not allowed for this client")]
    GrantNotAllowed,
    #[error("{0}")]
    Malformed(#[from] InvalidTokenRequest),
    #[error("{0}")]
    Presentation(#[from] InvalidPresentation),
    #[error("{0}")]
    Registration(#[from] RegistrationRefusal),
    /// Not on: the same answer as for an address that is not there (DCR-15).
    #[error("registration is off")]
    RegistrationOff,
    #[error("too many attempts")]
    Throttled(Wait),
    #[error("token is missing")]
    TokenMissing,
    /// RFC 7009 s2.1: it was issued to another client.
    #[error("token of another client")]
    TokenOfAnother,
}

#[derive(Serialize)]
struct ErrorBody {
    error: ErrorCode,
    error_description: String,
}

impl Refusal {
    /// For the figures: one of a few words, nothing that was sent.
    pub(crate) fn word(&self) -> String {
        let word = match self {
            Self::Grant(refusal) => return refusal.to_string(),
            Self::Body(_) => "body",
            Self::Client(_) | Self::Presentation(_) => "client_authentication",
            Self::Fault(_) => "fault",
            Self::GrantNotAllowed => "grant_not_allowed",
            Self::Malformed(_) => "malformed",
            Self::Registration(_) | Self::RegistrationOff => "registration",
            Self::Throttled(_) => "throttled",
            Self::TokenMissing => "token_missing",
            Self::TokenOfAnother => "token_of_another_client",
        };
        word.to_owned()
    }

    /// Status, code and sentence.
    fn public(&self) -> (StatusCode, ErrorCode, String) {
        let bad = |code: ErrorCode, text: &dyn ToString| (StatusCode::BAD_REQUEST, code, text.to_string());
        let unauthenticated =
            |text: &dyn ToString| (StatusCode::UNAUTHORIZED, ErrorCode::InvalidClient, text.to_string());
        match self {
            Self::Body(BodyRefusal::TooLarge) => {
                (StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::InvalidRequest, "the body is too long".to_owned())
            }
            Self::Body(BodyRefusal::Type) => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                ErrorCode::InvalidRequest,
                "the body must be a form, application/x-www-form-urlencoded".to_owned(),
            ),
            Self::Body(refusal @ (BodyRefusal::Broken | BodyRefusal::Form(_))) => {
                bad(ErrorCode::InvalidRequest, refusal)
            }
            Self::Client(_) => unauthenticated(&"client authentication failed"),
            Self::Presentation(InvalidPresentation::SeveralMethods) => {
                bad(ErrorCode::InvalidRequest, &InvalidPresentation::SeveralMethods)
            }
            Self::Presentation(
                refusal @ (InvalidPresentation::Absent
                | InvalidPresentation::MalformedBasic
                | InvalidPresentation::MalformedClientId),
            ) => unauthenticated(refusal),
            Self::Fault(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorCode::TemporarilyUnavailable,
                "not possible right now; nothing was issued or changed".to_owned(),
            ),
            Self::Grant(refusal) => {
                let (code, sentence) = refusal.public();
                bad(code, &sentence)
            }
            Self::GrantNotAllowed => {
                bad(ErrorCode::UnauthorizedClient, &"this client may not use this grant_type")
            }
            Self::Malformed(refusal) => bad(refusal.code(), refusal),
            Self::Registration(refusal) => bad(refusal.code(), refusal),
            Self::RegistrationOff => {
                (StatusCode::NOT_FOUND, ErrorCode::InvalidRequest, "not found".to_owned())
            }
            Self::Throttled(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                ErrorCode::TemporarilyUnavailable,
                "too many attempts; wait as Retry-After says".to_owned(),
            ),
            Self::TokenMissing => bad(ErrorCode::InvalidRequest, &"token is required"),
            Self::TokenOfAnother => bad(ErrorCode::InvalidGrant, &"the token was issued to another client"),
        }
    }

    /// RFC 6749 s5.2: who tried the header is told so.
    const fn tried_basic(&self) -> bool {
        match self {
            Self::Client(AuthMethod::ClientSecretBasic)
            | Self::Presentation(InvalidPresentation::MalformedBasic | InvalidPresentation::Absent) => true,
            Self::Client(AuthMethod::None | AuthMethod::ClientSecretPost)
            | Self::Presentation(
                InvalidPresentation::MalformedClientId | InvalidPresentation::SeveralMethods,
            )
            | Self::Body(_)
            | Self::Fault(_)
            | Self::Grant(_)
            | Self::GrantNotAllowed
            | Self::Malformed(_)
            | Self::Registration(_)
            | Self::RegistrationOff
            | Self::Throttled(_)
            | Self::TokenMissing
            | Self::TokenOfAnother => false,
        }
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Throttled(wait) => Some(wait.seconds),
            Self::Fault(_) => Some(2),
            Self::Body(_)
            | Self::Client(_)
            | Self::Grant(_)
            | Self::GrantNotAllowed
            | Self::Malformed(_)
            | Self::Presentation(_)
            | Self::Registration(_)
            | Self::RegistrationOff
            | Self::TokenMissing
            | Self::TokenOfAnother => None,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, error, error_description) = self.public();
        if let Self::Fault(fault) = &self {
            fault.log();
        } else {
            tracing::info!(reason = %self, status = status.as_u16(), "request refused");
        }
        let body = Json(ErrorBody { error, error_description });
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.tried_basic() {
            let challenge = HeaderValue::from_static("Basic realm=\"portcullis\", charset=\"UTF-8\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tok_11_descriptions_stay_inside_the_permitted_characters() {
        let grants = [
            GrantRefusal::CodeUnknown,
            GrantRefusal::RefreshReused,
            GrantRefusal::ConsentWithdrawn,
            GrantRefusal::NothingLeft,
            GrantRefusal::SessionUnknown,
            GrantRefusal::OtherIssuers,
            GrantRefusal::Scope,
            GrantRefusal::Target,
        ];
        let registrations = [
            RegistrationRefusal::AuthMethod,
            RegistrationRefusal::Body,
            RegistrationRefusal::GrantTypes,
            RegistrationRefusal::Keys,
            RegistrationRefusal::Name,
            RegistrationRefusal::RedirectUri,
            RegistrationRefusal::ResponseTypes,
            RegistrationRefusal::Scope,
            RegistrationRefusal::SoftwareStatement,
            RegistrationRefusal::Uri,
        ];
        let all = grants.map(Refusal::Grant).into_iter();
        let all = all.chain(registrations.map(Refusal::Registration));
        let all = all.chain([
            Refusal::Client(AuthMethod::None),
            Refusal::GrantNotAllowed,
            Refusal::Throttled(Wait { seconds: 1 }),
            Refusal::Body(BodyRefusal::Form(portcullis_oauth::form::InvalidForm::Encoding)),
            Refusal::Presentation(InvalidPresentation::Absent),
            Refusal::Malformed(InvalidTokenRequest::Verifier),
        ]);
        for refusal in all {
            let (_, _, text) = refusal.public();
            // RFC 6749 s5.2
            let legal = |b: u8| matches!(b, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
            assert!(text.bytes().all(legal), "{text}");
        }
    }
}

//! What the endpoints for programs answer when they refuse: RFC 6749 s5.2, one exhaustive match, fixed sentences.

use crate::extract::BodyRefusal;
use crate::fault::Fault;
use crate::throttle::Wait;
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use portcullis_domain::grant::RedeemRefusal;
use portcullis_domain::policy::IssueRefusal;
use portcullis_domain::refresh::{RefreshRefusal, Reuse};
use portcullis_oauth::client::{AuthMethod, InvalidPresentation};
use portcullis_oauth::error::ErrorCode;
use portcullis_oauth::token::InvalidTokenRequest;
use serde::Serialize;

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

/// Why an identified caller gets no token. Recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GrantRefusal {
    #[error("client_disabled")]
    ClientDisabled,
    #[error("code_expired")]
    CodeExpired,
    #[error("code_of_another_client")]
    CodeOfAnotherClient,
    #[error("code_replayed")]
    CodeReplayed,
    #[error("code_unknown")]
    CodeUnknown,
    #[error("consent_withdrawn")]
    ConsentWithdrawn,
    /// Policy leaves none of the scopes of a session.
    #[error("nothing_left")]
    NothingLeft,
    #[error("redirect_mismatch")]
    Redirect,
    #[error("refresh_ahead_of_row")]
    RefreshAheadOfRow,
    #[error("refresh_expired")]
    RefreshExpired,
    #[error("refresh_of_another_client")]
    RefreshOfAnotherClient,
    #[error("refresh_reused")]
    RefreshReused,
    #[error("refresh_revoked")]
    RefreshRevoked,
    #[error("refresh_unknown")]
    RefreshUnknown,
    /// Asked for scopes that are not to be had.
    #[error("scope_refused")]
    Scope,
    #[error("session_ended")]
    SessionEnded,
    #[error("session_unknown")]
    SessionUnknown,
    /// Another server than authorized, none of ours, or one that the client may not use.
    #[error("target_refused")]
    Target,
    #[error("user_disabled")]
    UserDisabled,
    #[error("wrong_verifier")]
    Verifier,
}

impl From<RedeemRefusal> for GrantRefusal {
    fn from(refusal: RedeemRefusal) -> Self {
        match refusal {
            RedeemRefusal::Expired => Self::CodeExpired,
            RedeemRefusal::Verifier => Self::Verifier,
            RedeemRefusal::WrongClient => Self::CodeOfAnotherClient,
            RedeemRefusal::WrongRedirect => Self::Redirect,
            RedeemRefusal::WrongResource => Self::Target,
        }
    }
}

impl From<RefreshRefusal> for GrantRefusal {
    fn from(refusal: RefreshRefusal) -> Self {
        match refusal {
            RefreshRefusal::Expired => Self::RefreshExpired,
            RefreshRefusal::Revoked => Self::RefreshRevoked,
            RefreshRefusal::WrongClient => Self::RefreshOfAnotherClient,
        }
    }
}

impl From<Reuse> for GrantRefusal {
    fn from(reuse: Reuse) -> Self {
        match reuse {
            Reuse::AheadOfRow => Self::RefreshAheadOfRow,
            Reuse::Retired => Self::RefreshReused,
        }
    }
}

impl From<IssueRefusal> for GrantRefusal {
    fn from(refusal: IssueRefusal) -> Self {
        match refusal {
            IssueRefusal::NothingLeft | IssueRefusal::Undeclared => Self::Scope,
        }
    }
}

impl GrantRefusal {
    /// Sentences that belong to a kind of grant, not to a reason: unknown, expired and revoked look alike.
    const fn public(self) -> (ErrorCode, &'static str) {
        match self {
            Self::CodeExpired
            | Self::CodeOfAnotherClient
            | Self::CodeReplayed
            | Self::CodeUnknown
            | Self::Redirect
            | Self::Verifier => (
                ErrorCode::InvalidGrant,
                "the code is unknown, expired or used, or belongs to another client, redirect_uri or code_verifier",
            ),
            Self::RefreshAheadOfRow
            | Self::RefreshExpired
            | Self::RefreshOfAnotherClient
            | Self::RefreshReused
            | Self::RefreshRevoked
            | Self::RefreshUnknown => (
                ErrorCode::InvalidGrant,
                "the refresh token is unknown, expired, used or revoked, or belongs to another client",
            ),
            Self::ClientDisabled | Self::ConsentWithdrawn | Self::UserDisabled => {
                (ErrorCode::InvalidGrant, "what was granted is no longer valid")
            }
            Self::NothingLeft => (ErrorCode::InvalidGrant, "policy leaves nothing of what was granted"),
            Self::SessionEnded | Self::SessionUnknown => {
                (ErrorCode::InvalidGrant, "session_id names no running session of this client on this server")
            }
            Self::Scope => (
                ErrorCode::InvalidScope,
                "a scope is unknown on this server, beyond what was granted, or none of them may be had",
            ),
            Self::Target => (
                ErrorCode::InvalidTarget,
                "resource must be the canonical URI of a server that was granted to this client",
            ),
        }
    }
}

/// Why a registration was refused (RFC 7591 s3.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RegistrationRefusal {
    #[error("token_endpoint_auth_method must be none, client_secret_basic or client_secret_post")]
    AuthMethod,
    #[error("not a JSON object of client metadata")]
    Body,
    #[error("grant_types must hold authorization_code, and may hold refresh_token")]
    GrantTypes,
    #[error("jwks must hold public asymmetric keys, and not stand beside jwks_uri")]
    Keys,
    #[error("client_name must have at most 128 characters, and no control or direction characters")]
    Name,
    #[error(
        "redirect_uris must hold 1 to 16 URIs: https, http on loopback, or a private-use scheme with a dot"
    )]
    RedirectUri,
    #[error("response_types must be code")]
    ResponseTypes,
    #[error("malformed scope")]
    Scope,
    #[error("software statements are not supported")]
    SoftwareStatement,
    #[error("addresses of pages must be http or https URLs")]
    Uri,
}

impl RegistrationRefusal {
    const fn code(self) -> ErrorCode {
        match self {
            Self::AuthMethod
            | Self::Body
            | Self::GrantTypes
            | Self::Keys
            | Self::Name
            | Self::ResponseTypes
            | Self::Scope
            | Self::Uri => ErrorCode::InvalidClientMetadata,
            Self::RedirectUri => ErrorCode::InvalidRedirectUri,
            Self::SoftwareStatement => ErrorCode::InvalidSoftwareStatement,
        }
    }
}

#[derive(Serialize)]
struct ErrorBody {
    error: ErrorCode,
    error_description: String,
}

impl Refusal {
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

//! Why somebody who asks rightly for a token gets none, and what they are told.

use portcullis_domain::grant::RedeemRefusal;
use portcullis_domain::policy::IssueRefusal;
use portcullis_domain::refresh::{RefreshRefusal, Reuse};
use portcullis_oauth::error::ErrorCode;
use std::borrow::Cow;

/// Why an identified caller gets no token. Recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
    /// The fleet says that the client is disabled.
    #[error("disabled")]
    Disabled,
    /// The fleet says when the agent ends, and that was before.
    #[error("expired")]
    Expired,
    /// A `[[forbid]]` of this name takes everything that was asked out of use at the moment (PC-24).
    #[error("forbidden")]
    Forbidden(String),
    /// Policy leaves none of the scopes of a session.
    #[error("nothing_left")]
    NothingLeft,
    /// The server takes tokens of other issuers only (PC-06).
    #[error("other_issuers")]
    OtherIssuers,
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
            IssueRefusal::NotOurs => Self::OtherIssuers,
            IssueRefusal::NothingLeft | IssueRefusal::Undeclared => Self::Scope,
        }
    }
}

impl GrantRefusal {
    /// Sentences that belong to a kind of grant, not to a reason: unknown, expired and revoked look alike.
    pub(super) fn public(&self) -> (ErrorCode, Cow<'static, str>) {
        let (code, sentence) = match self {
            // Not invalid_grant: what was granted is as good as before, and a client would throw it away.
            Self::Forbidden(by) => {
                return (
                    ErrorCode::InvalidScope,
                    format!("none of these scopes may be used now: {by}").into(),
                );
            }
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
            Self::Disabled => {
                (ErrorCode::UnauthorizedClient, "this client is disabled by the operator; ask its owner")
            }
            Self::Expired => (
                ErrorCode::UnauthorizedClient,
                "this client's time is over (expires in the fleet file); ask its owner",
            ),
            Self::NothingLeft => (ErrorCode::InvalidGrant, "policy leaves nothing of what was granted"),
            Self::SessionEnded | Self::SessionUnknown => {
                (ErrorCode::InvalidGrant, "session_id names no running session of this client on this server")
            }
            Self::Scope => (
                ErrorCode::InvalidScope,
                "a scope is unknown on this server, beyond what was granted, or none of them may be had",
            ),
            Self::OtherIssuers => (
                ErrorCode::InvalidTarget,
                "this server takes no tokens of this issuer: ask one of the authorization_servers in its metadata",
            ),
            Self::Target => (
                ErrorCode::InvalidTarget,
                "resource must be the canonical URI of a server that was granted to this client",
            ),
        };
        (code, sentence.into())
    }
}

//! The registered error codes, and nothing else.

use serde::Serialize;

/// Error codes of the token, revocation, introspection and registration endpoints and of authorization responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// RFC 6749 s4.1.2.1
    AccessDenied,
    /// RFC 6749 s5.2
    InvalidClient,
    /// RFC 7591 s3.2.2
    InvalidClientMetadata,
    /// RFC 6749 s5.2
    InvalidGrant,
    /// RFC 7591 s3.2.2
    InvalidRedirectUri,
    /// RFC 6749 s5.2
    InvalidRequest,
    /// RFC 6749 s5.2
    InvalidScope,
    /// RFC 7591 s3.2.2
    InvalidSoftwareStatement,
    /// RFC 8707 s2
    InvalidTarget,
    /// OpenID Connect Core s3.1.2.6
    LoginRequired,
    /// OpenID Connect Core s3.1.2.6
    ConsentRequired,
    /// OpenID Connect Core s6.1 (RFC 9101 s7)
    RequestNotSupported,
    /// OpenID Connect Core s6.2 (RFC 9101 s7)
    RequestUriNotSupported,
    /// RFC 6749 s4.1.2.1
    ServerError,
    /// RFC 6749 s4.1.2.1
    TemporarilyUnavailable,
    /// RFC 6749 s5.2
    UnauthorizedClient,
    /// RFC 6749 s5.2
    UnsupportedGrantType,
    /// RFC 6749 s4.1.2.1
    UnsupportedResponseType,
    /// RFC 7009 s2.2.1
    UnsupportedTokenType,
}

impl ErrorCode {
    /// The code as it stands on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessDenied => "access_denied",
            Self::InvalidClient => "invalid_client",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidSoftwareStatement => "invalid_software_statement",
            Self::InvalidTarget => "invalid_target",
            Self::LoginRequired => "login_required",
            Self::ConsentRequired => "consent_required",
            Self::RequestNotSupported => "request_not_supported",
            Self::RequestUriNotSupported => "request_uri_not_supported",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::UnsupportedTokenType => "unsupported_token_type",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_a_code_agree() {
        for code in
            [ErrorCode::InvalidGrant, ErrorCode::RequestUriNotSupported, ErrorCode::UnsupportedTokenType]
        {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}

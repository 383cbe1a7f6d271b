//! The token request: one variant per grant type, nothing optional that a grant needs (OAuth 2.1 s3.2).

use crate::error::ErrorCode;
use crate::form::Form;
use crate::pkce::Verifier;
use crate::resource::ResourceUri;
use crate::scope::ScopeSet;
use serde::Serialize;
use std::fmt;

/// A secret exactly as a caller sent it: compared by hash or MAC, never printed.
#[derive(Clone)]
pub struct Presented(String);

impl Presented {
    /// Wraps what was sent.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// What was sent, for hashing or parsing.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Presented(…)")
    }
}

/// A well-formed token request.
#[derive(Debug)]
pub enum TokenRequest {
    /// OAuth 2.1 s4.1.3
    AuthorizationCode {
        /// The code.
        code: Presented,
        /// RFC 7636 s4.5
        verifier: Verifier,
        /// If sent it must be the one of the authorization request (OAuth 2.1 s10.2).
        redirect_uri: Option<String>,
        /// If sent it must be what was authorized.
        resource: Option<ResourceUri>,
    },
    /// OAuth 2.1 s4.2
    ClientCredentials {
        /// The one server the token is for.
        resource: ResourceUri,
        /// Absent means the default scopes.
        scope: Option<ScopeSet>,
        /// PC-17: go on in this session.
        session_id: Option<String>,
    },
    /// OAuth 2.1 s4.3
    RefreshToken {
        /// The refresh token.
        token: Presented,
        /// If sent it must be what was granted.
        resource: Option<ResourceUri>,
        /// A subset for this one access token.
        scope: Option<ScopeSet>,
    },
}

/// Why a token request could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTokenRequest {
    /// The code is missing.
    #[error("code is required")]
    Code,
    /// `grant_type` is missing.
    #[error("grant_type is required")]
    GrantTypeMissing,
    /// Not one of ours.
    #[error("this grant_type is not supported")]
    GrantTypeUnsupported,
    /// The refresh token is missing.
    #[error("refresh_token is required")]
    RefreshToken,
    /// RFC 8707: missing where it is needed, more than one, or no canonical URI.
    #[error("exactly one resource is required: the canonical URI of a registered server")]
    Resource,
    /// Not a list of scopes.
    #[error("malformed scope")]
    Scope,
    /// RFC 7636 s4.1: absent or not 43 to 128 unreserved characters.
    #[error("code_verifier must be 43 to 128 unreserved characters")]
    Verifier,
}

impl InvalidTokenRequest {
    /// The registered code.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Code | Self::GrantTypeMissing | Self::RefreshToken => ErrorCode::InvalidRequest,
            Self::GrantTypeUnsupported => ErrorCode::UnsupportedGrantType,
            Self::Resource => ErrorCode::InvalidTarget,
            Self::Scope => ErrorCode::InvalidScope,
            Self::Verifier => ErrorCode::InvalidGrant,
        }
    }
}

impl TokenRequest {
    /// Reads the grant from the form body.
    pub fn read(form: &Form) -> Result<Self, InvalidTokenRequest> {
        use InvalidTokenRequest as Invalid;
        let scope = || form.get("scope").map(str::parse::<ScopeSet>).transpose().map_err(|_| Invalid::Scope);
        match form.get("grant_type") {
            None => Err(Invalid::GrantTypeMissing),
            Some("authorization_code") => Ok(Self::AuthorizationCode {
                code: form.get("code").map(Presented::new).ok_or(Invalid::Code)?,
                verifier: form
                    .get("code_verifier")
                    .and_then(|text| text.parse().ok())
                    .ok_or(Invalid::Verifier)?,
                redirect_uri: form.get("redirect_uri").map(str::to_owned),
                resource: read_resource(form)?,
            }),
            Some("client_credentials") => Ok(Self::ClientCredentials {
                resource: read_resource(form)?.ok_or(Invalid::Resource)?,
                scope: scope()?,
                session_id: form.get("session_id").map(str::to_owned),
            }),
            Some("refresh_token") => Ok(Self::RefreshToken {
                token: form.get("refresh_token").map(Presented::new).ok_or(Invalid::RefreshToken)?,
                resource: read_resource(form)?,
                scope: scope()?,
            }),
            Some(_) => Err(Invalid::GrantTypeUnsupported),
        }
    }
}

fn read_resource(form: &Form) -> Result<Option<ResourceUri>, InvalidTokenRequest> {
    let mut all = form.all("resource");
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(one), None) => one.parse().map(Some).map_err(|_| InvalidTokenRequest::Resource),
        (Some(_), Some(_)) => Err(InvalidTokenRequest::Resource),
    }
}

/// A successful token response (OAuth 2.1 s3.2.3). Holds secrets: no `Debug`.
#[derive(Serialize)]
pub struct TokenResponse {
    /// The access token.
    pub access_token: String,
    /// Always `Bearer` until DPoP.
    pub token_type: &'static str,
    /// Seconds until it expires.
    pub expires_in: u64,
    /// The scopes granted.
    pub scope: ScopeSet,
    /// A successor for the next renewal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// PC-17: the session this token belongs to.
    pub session_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TokenRequest, InvalidTokenRequest> {
        TokenRequest::read(&Form::parse(text, &["resource"]).unwrap())
    }

    #[test]
    fn as_tok_03_wrong_grants_are_named() {
        assert_eq!(read("scope=a").unwrap_err().code(), ErrorCode::InvalidRequest);
        for grant in ["password", "foo", "implicit"] {
            assert_eq!(
                read(&format!("grant_type={grant}")).unwrap_err().code(),
                ErrorCode::UnsupportedGrantType
            );
        }
    }

    #[test]
    fn aud_04_client_credentials_need_exactly_one_resource() {
        for text in [
            "",
            "&resource=https://a.test/m&resource=https://b.test/m",
            "&resource=/rel",
            "&resource=https://a.test/m%23f",
        ] {
            assert_eq!(
                read(&format!("grant_type=client_credentials{text}")).unwrap_err(),
                InvalidTokenRequest::Resource,
                "{text}"
            );
        }
    }

    #[test]
    fn secrets_do_not_show_in_debug() {
        let request = read("grant_type=refresh_token&refresh_token=pcr_secret").unwrap();
        assert!(!format!("{request:?}").contains("pcr_secret"));
    }
}

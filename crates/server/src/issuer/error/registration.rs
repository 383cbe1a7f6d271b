//! Why a registration is refused.

use portcullis_oauth::error::ErrorCode;

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
    pub(super) const fn code(self) -> ErrorCode {
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

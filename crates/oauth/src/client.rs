//! OAuth clients on the wire: identifiers, authentication, and registration metadata (RFC 7591).

use crate::form::Form;
use crate::redirect::RedirectUri;
use crate::serde_as_text;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A client identifier (RFC 6749 s2.2): printable ASCII, at most 512 bytes; unique within the issuer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(Arc<str>);

/// The text is no client identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a client identifier is 1 to 512 printable ASCII characters")]
pub struct InvalidClientId;

impl ClientId {
    /// As it stands on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientId {
    type Err = InvalidClientId;
    fn from_str(text: &str) -> Result<Self, InvalidClientId> {
        if (1..=512).contains(&text.len()) && text.bytes().all(|b| (0x21..=0x7e).contains(&b)) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidClientId)
        }
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

serde_as_text!(ClientId);

/// How a client authenticates at the token endpoint (RFC 7591 s2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// A public client; PKCE is all it has.
    None,
    /// HTTP Basic, both parts form-encoded first.
    ClientSecretBasic,
    /// The secret in the form body.
    ClientSecretPost,
}

/// Grant types this product knows (RFC 6749 s4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    /// RFC 6749 s4.1
    AuthorizationCode,
    /// RFC 6749 s6
    RefreshToken,
    /// RFC 6749 s4.4
    ClientCredentials,
}

/// What a request presented to identify its client; not verified yet.
pub enum PresentedClient {
    /// `client_id` alone: a public client, or nobody.
    Named {
        /// Who the caller says it is.
        client_id: ClientId,
    },
    /// An identifier with a secret.
    Secret {
        /// Who the caller says it is.
        client_id: ClientId,
        /// The secret as sent. Never shown.
        unverified_secret: String,
        /// Where it was sent.
        method: AuthMethod,
    },
}

/// Why a request's client authentication could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPresentation {
    /// Nothing names a client.
    #[error("no client authentication: send client_id, or HTTP Basic")]
    Absent,
    /// The Authorization header is no well-formed Basic credential with form-encoded parts.
    #[error("malformed HTTP Basic credentials")]
    MalformedBasic,
    /// The `client_id` is no identifier.
    #[error("malformed client_id")]
    MalformedClientId,
    /// More than one authentication method (OAuth 2.1 s2.4).
    #[error("use one client authentication method only")]
    SeveralMethods,
}

impl PresentedClient {
    /// Reads the client from the `Authorization` header value, if any, and the form (OAuth 2.1 s2.4.1). Credentials in
    /// the URL never count: only the body's form belongs here.
    pub fn read(authorization: Option<&str>, form: &Form) -> Result<Self, InvalidPresentation> {
        let named = form
            .get("client_id")
            .map(|id| id.parse().map_err(|_| InvalidPresentation::MalformedClientId))
            .transpose()?;
        let secret = form.get("client_secret");
        let assertion = form.has("client_assertion") || form.has("client_assertion_type");
        match (authorization, secret) {
            _ if assertion && (authorization.is_some() || secret.is_some()) => {
                Err(InvalidPresentation::SeveralMethods)
            }
            (Some(_), Some(_)) => Err(InvalidPresentation::SeveralMethods),
            (Some(header), None) => {
                let (client_id, unverified_secret) = read_basic(header)?;
                if named.is_some_and(|named| named != client_id) {
                    return Err(InvalidPresentation::SeveralMethods);
                }
                Ok(Self::Secret { client_id, unverified_secret, method: AuthMethod::ClientSecretBasic })
            }
            (None, Some(secret)) => {
                let client_id = named.ok_or(InvalidPresentation::Absent)?;
                Ok(Self::Secret {
                    client_id,
                    unverified_secret: secret.to_owned(),
                    method: AuthMethod::ClientSecretPost,
                })
            }
            (None, None) => {
                named.map(|client_id| Self::Named { client_id }).ok_or(InvalidPresentation::Absent)
            }
        }
    }

    /// Who the caller says it is.
    pub fn client_id(&self) -> &ClientId {
        match self {
            Self::Named { client_id } | Self::Secret { client_id, .. } => client_id,
        }
    }
}

impl fmt::Debug for PresentedClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PresentedClient({})", self.client_id())
    }
}

/// RFC 6749 s2.3.1: both parts are form-encoded, joined by a colon, then Base64.
fn read_basic(header: &str) -> Result<(ClientId, String), InvalidPresentation> {
    let malformed = InvalidPresentation::MalformedBasic;
    let (scheme, encoded) = header.split_once(' ').ok_or(malformed)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(malformed);
    }
    let bytes = STANDARD.decode(encoded.trim()).map_err(|_| malformed)?;
    let text = String::from_utf8(bytes).map_err(|_| malformed)?;
    let (id, secret) = text.split_once(':').ok_or(malformed)?;
    let (id, secret) = (decode_part(id).ok_or(malformed)?, decode_part(secret).ok_or(malformed)?);
    Ok((id.parse().map_err(|_| malformed)?, secret))
}

fn decode_part(part: &str) -> Option<String> {
    let form = Form::parse(&format!("v={}", part.replace('&', "%26").replace('=', "%3D")), &[]).ok()?;
    Some(form.get("v").unwrap_or_default().to_owned())
}

/// Registration metadata as a client sends it (RFC 7591 s2). Unknown members are ignored (AS-DCR-03).
#[derive(Clone, Debug, Default, Deserialize)]
pub struct RegistrationRequest {
    /// Where responses may go.
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    /// Absent means `client_secret_basic`.
    pub token_endpoint_auth_method: Option<String>,
    /// Absent means `authorization_code`.
    pub grant_types: Option<Vec<String>>,
    /// Absent means `code`.
    pub response_types: Option<Vec<String>>,
    /// For people to read; not trusted.
    pub client_name: Option<String>,
    /// A page about the client.
    pub client_uri: Option<String>,
    /// A picture; never loaded by our pages.
    pub logo_uri: Option<String>,
    /// Terms of service.
    pub tos_uri: Option<String>,
    /// Privacy policy.
    pub policy_uri: Option<String>,
    /// Scopes the client may ask for.
    pub scope: Option<String>,
    /// Contact addresses.
    pub contacts: Option<Vec<String>>,
    /// Keys by value.
    pub jwks: Option<serde_json::Value>,
    /// Keys by reference.
    pub jwks_uri: Option<String>,
    /// A signed statement; not supported.
    pub software_statement: Option<String>,
    /// `native` or `web`.
    pub application_type: Option<String>,
    /// Name of the software.
    pub software_id: Option<String>,
    /// Its version.
    pub software_version: Option<String>,
}

/// Everything that was registered, as the answer echoes it (RFC 7591 s3.2.1).
#[derive(Clone, Debug, Serialize)]
pub struct RegistrationResponse {
    /// The new identifier.
    pub client_id: ClientId,
    /// Seconds since the epoch.
    pub client_id_issued_at: i64,
    /// Present for confidential clients only; shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    /// Goes with a secret; 0 means it does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret_expires_at: Option<i64>,
    /// As registered.
    pub redirect_uris: Vec<RedirectUri>,
    /// As registered.
    pub token_endpoint_auth_method: AuthMethod,
    /// As registered.
    pub grant_types: Vec<GrantType>,
    /// Always `code`.
    pub response_types: Vec<&'static str>,
    /// As registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// As registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_uri: Option<String>,
    /// As registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// As registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_type: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Form {
        Form::parse(text, &[]).unwrap()
    }

    #[test]
    fn as_cli_02_basic_parts_are_form_encoded() {
        let header = format!("basic {}", STANDARD.encode("cli_1:%3A+%25+%C3%A9"));
        match PresentedClient::read(Some(&header), &form("a=b")).unwrap() {
            PresentedClient::Secret { client_id, unverified_secret, method } => {
                assert_eq!(
                    (client_id.as_str(), unverified_secret.as_str(), method),
                    ("cli_1", ": % é", AuthMethod::ClientSecretBasic)
                );
            }
            PresentedClient::Named { .. } => panic!("a secret was presented"),
        }
    }

    #[test]
    fn cli_03_one_method_only() {
        let header = format!("Basic {}", STANDARD.encode("a:b"));
        for (header, body) in [
            (Some(header.as_str()), "client_secret=x&client_id=a"),
            (Some(header.as_str()), "client_assertion=x"),
            (Some(header.as_str()), "client_id=other"),
            (None, "client_id=a&client_secret=x&client_assertion_type=y"),
        ] {
            assert_eq!(
                PresentedClient::read(header, &form(body)).unwrap_err(),
                InvalidPresentation::SeveralMethods,
                "{body}"
            );
        }
    }

    #[test]
    fn cli_11_broken_basic_is_an_error_not_a_public_client() {
        for bad in
            ["Basic", "Basic !!!", "Bearer abc", "Basic YQ==", &format!("Basic {}", STANDARD.encode("a:%zz"))]
        {
            assert!(PresentedClient::read(Some(bad), &form("client_id=a")).is_err(), "{bad}");
        }
        assert_eq!(PresentedClient::read(None, &form("x=y")).unwrap_err(), InvalidPresentation::Absent);
    }
}

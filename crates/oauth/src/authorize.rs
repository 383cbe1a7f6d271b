//! The authorization request and response (OAuth 2.1 s4.1.1, RFC 9207).

use crate::client::ClientId;
use crate::error::ErrorCode;
use crate::form::Form;
use crate::issuer::Issuer;
use crate::pkce::Challenge;
use crate::resource::ResourceUri;
use crate::scope::ScopeSet;
use serde::{Deserialize, Serialize};

/// The part that decides whether it is safe to redirect at all: read before anything else is believed.
#[derive(Clone, Debug)]
pub struct Addressed {
    /// Who asks; unproven.
    pub client_id: ClientId,
    /// Where the answer is to go; must be compared with the registered ones before any redirect.
    pub unverified_redirect_uri: Option<String>,
    /// Comes back unchanged.
    pub state: Option<String>,
}

/// A well-formed authorization request. Only S256, only `code`, exactly one resource.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuthorizeRequest {
    /// RFC 7636
    pub challenge: Challenge,
    /// Interaction wishes of the client.
    pub prompt: Prompt,
    /// RFC 8707: the one server the token is for.
    pub resource: ResourceUri,
    /// What is asked for; `None` means the default scopes (PC-1A).
    pub scope: Option<ScopeSet>,
}

/// OpenID Connect Core s3.1.2.1 `prompt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    /// Whatever is needed.
    Usual,
    /// No page may be shown.
    None,
    /// Ask for consent even if remembered.
    Consent,
    /// Sign in again.
    Login,
}

/// A request that names its client but asks for something that is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAuthorizeRequest {
    /// RFC 7636 s4.4.1
    #[error("code_challenge with code_challenge_method=S256 is required")]
    Pkce,
    /// More than one of `prompt`'s words, or an unknown one.
    #[error("unsupported prompt")]
    Prompt,
    /// RFC 9101
    #[error("request objects are not supported")]
    RequestObject,
    /// RFC 9101, RFC 9126
    #[error("request_uri is not supported")]
    RequestUri,
    /// RFC 8707 s2
    #[error("exactly one resource is required: the canonical URI of a registered server")]
    Resource,
    /// OAuth 2.0 Multiple Response Types s2.1
    #[error("response_mode must be query")]
    ResponseMode,
    /// OAuth 2.1 s4.1.1
    #[error("response_type is required")]
    ResponseTypeMissing,
    /// OAuth 2.1 s4.1.1
    #[error("response_type must be code")]
    ResponseTypeUnsupported,
    /// OAuth 2.1 s1.4.1
    #[error("malformed scope")]
    Scope,
}

impl InvalidAuthorizeRequest {
    /// The registered code for the redirect.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Pkce | Self::Prompt | Self::ResponseMode | Self::ResponseTypeMissing => {
                ErrorCode::InvalidRequest
            }
            Self::RequestObject => ErrorCode::RequestNotSupported,
            Self::RequestUri => ErrorCode::RequestUriNotSupported,
            Self::Resource => ErrorCode::InvalidTarget,
            Self::ResponseTypeUnsupported => ErrorCode::UnsupportedResponseType,
            Self::Scope => ErrorCode::InvalidScope,
        }
    }
}

impl Addressed {
    /// Reads who asks; `None` when there is no usable `client_id`, so that nothing may be redirected anywhere.
    pub fn read(form: &Form) -> Option<Self> {
        Some(Self {
            client_id: form.get("client_id")?.parse().ok()?,
            unverified_redirect_uri: form.get("redirect_uri").map(str::to_owned),
            state: form.get("state").map(str::to_owned),
        })
    }
}

impl AuthorizeRequest {
    /// Reads the rest, in the order in which errors are to be reported.
    pub fn read(form: &Form) -> Result<Self, InvalidAuthorizeRequest> {
        use InvalidAuthorizeRequest as Invalid;
        if form.has("request") {
            return Err(Invalid::RequestObject);
        }
        if form.has("request_uri") {
            return Err(Invalid::RequestUri);
        }
        match form.get("response_type") {
            None => return Err(Invalid::ResponseTypeMissing),
            Some("code") => {}
            Some(_) => return Err(Invalid::ResponseTypeUnsupported),
        }
        if form.get("response_mode").is_some_and(|mode| mode != "query") {
            return Err(Invalid::ResponseMode);
        }
        // RFC 7636 s4.3: a missing method means `plain`, which does not exist here.
        if form.get("code_challenge_method") != Some("S256") {
            return Err(Invalid::Pkce);
        }
        let challenge = form.get("code_challenge").and_then(|text| text.parse().ok()).ok_or(Invalid::Pkce)?;
        let mut resources = form.all("resource");
        let resource = match (resources.next(), resources.next()) {
            (Some(one), None) => one.parse().map_err(|_| Invalid::Resource)?,
            (Some(_), Some(_)) | (None, _) => return Err(Invalid::Resource),
        };
        let scope = form.get("scope").map(str::parse).transpose().map_err(|_| Invalid::Scope)?;
        Ok(Self { challenge, prompt: read_prompt(form.get("prompt"))?, resource, scope })
    }
}

fn read_prompt(text: Option<&str>) -> Result<Prompt, InvalidAuthorizeRequest> {
    match text {
        None => Ok(Prompt::Usual),
        Some("none") => Ok(Prompt::None),
        Some("consent" | "login consent" | "consent login" | "select_account") => Ok(Prompt::Consent),
        Some("login") => Ok(Prompt::Login),
        Some(_) => Err(InvalidAuthorizeRequest::Prompt),
    }
}

/// The authorization response: always `iss` (RFC 9207), and `state` exactly when one was sent.
#[derive(Debug)]
pub struct AuthorizeResponse<'a> {
    /// A redirect URI that was compared with the registered ones.
    pub redirect_uri: &'a str,
    /// As sent.
    pub state: Option<&'a str>,
    /// Ours.
    pub issuer: &'a Issuer,
    /// A code, or an error with a sentence.
    pub outcome: Result<&'a str, (ErrorCode, &'a str)>,
}

impl AuthorizeResponse<'_> {
    /// The address to redirect to.
    pub fn location(&self) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        match self.outcome {
            Ok(code) => {
                query.append_pair("code", code);
            }
            Err((code, description)) => {
                query.append_pair("error", code.as_str()).append_pair("error_description", description);
            }
        }
        if let Some(state) = self.state {
            query.append_pair("state", state);
        }
        query.append_pair("iss", self.issuer.as_str());
        let joint = if self.redirect_uri.contains('?') { '&' } else { '?' };
        format!("{}{joint}{}", self.redirect_uri, query.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "response_type=code&client_id=c&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256&resource=https://a.test/mcp";

    fn read(text: &str) -> Result<AuthorizeRequest, InvalidAuthorizeRequest> {
        AuthorizeRequest::read(&Form::parse(text, &["resource"]).unwrap())
    }

    #[test]
    fn as_authz_07_pkce_s256_is_demanded() {
        assert!(read(GOOD).is_ok());
        for method in ["plain", "s256", "S512", "none", ""] {
            let text = GOOD.replace("code_challenge_method=S256", &format!("code_challenge_method={method}"));
            assert_eq!(read(&text).unwrap_err(), InvalidAuthorizeRequest::Pkce, "{method}");
        }
        assert_eq!(
            read(&GOOD.replace("&code_challenge_method=S256", "")).unwrap_err(),
            InvalidAuthorizeRequest::Pkce
        );
        assert_eq!(read(&GOOD.replace("-cM", "")).unwrap_err(), InvalidAuthorizeRequest::Pkce);
    }

    #[test]
    fn pc_11_exactly_one_resource() {
        assert_eq!(
            read(&GOOD.replace("&resource=https://a.test/mcp", "")).unwrap_err(),
            InvalidAuthorizeRequest::Resource
        );
        assert_eq!(
            read(&format!("{GOOD}&resource=https://b.test/mcp")).unwrap_err(),
            InvalidAuthorizeRequest::Resource
        );
    }

    #[test]
    fn as_authz_01_only_code() {
        for kind in ["token", "id_token", "code token", "none"] {
            let text =
                GOOD.replace("response_type=code", &format!("response_type={}", kind.replace(' ', "+")));
            assert_eq!(read(&text).unwrap_err().code(), ErrorCode::UnsupportedResponseType, "{kind}");
        }
    }

    #[test]
    fn as_authz_08_09_state_comes_back_and_iss_is_always_there() {
        let issuer = "https://as.test".parse().unwrap();
        let state = "a&b=#\r\n\"%+é";
        let response = AuthorizeResponse {
            redirect_uri: "https://c.test/cb?x=1",
            state: Some(state),
            issuer: &issuer,
            outcome: Err((ErrorCode::AccessDenied, "no")),
        };
        let url = url::Url::parse(&response.location()).unwrap();
        let pairs: Vec<_> = url.query_pairs().into_owned().collect();
        assert_eq!(pairs[0], ("x".into(), "1".into()));
        assert!(pairs.contains(&("state".into(), state.into())));
        assert_eq!(pairs.iter().filter(|(name, _)| name == "iss").count(), 1);
        assert!(!response.location().contains(['\r', '\n']));
    }
}

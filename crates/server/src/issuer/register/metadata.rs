//! What a self-registered client may say about itself. Privileged members do not exist here, so none can be set (AS-DCR-04).

use crate::issuer::error::RegistrationRefusal as Refusal;
use portcullis_oauth::client::{AuthMethod, GrantType, RegistrationRequest};
use portcullis_oauth::redirect::RedirectUri;
use portcullis_oauth::scope::ScopeSet;
use url::Url;

/// Registration metadata that was checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    pub(super) name: Option<String>,
    pub(super) client_uri: Option<String>,
    pub(super) redirect_uris: Vec<RedirectUri>,
    pub(super) auth_method: AuthMethod,
    pub(super) grant_types: Vec<GrantType>,
    pub(super) scope: Option<String>,
    pub(super) application_type: Option<String>,
}

/// Most redirect URIs of one client.
const MAX_REDIRECTS: usize = 16;

/// Most keys in `jwks`.
const MAX_KEYS: usize = 20;

impl Metadata {
    pub(super) fn check(request: RegistrationRequest) -> Result<Self, Refusal> {
        if request.software_statement.is_some() {
            return Err(Refusal::SoftwareStatement);
        }
        check_keys(&request)?;
        check_pages(&request)?;
        check_response_types(request.response_types.as_deref())?;
        let redirect_uris = redirect_uris(&request.redirect_uris)?;
        if request.scope.as_deref().is_some_and(|scope| scope.parse::<ScopeSet>().is_err()) {
            return Err(Refusal::Scope);
        }
        let known_type = |kind: &String| matches!(kind.as_str(), "native" | "web");
        Ok(Self {
            name: name(request.client_name)?,
            client_uri: request.client_uri,
            redirect_uris,
            auth_method: auth_method(request.token_endpoint_auth_method.as_deref())?,
            grant_types: grant_types(request.grant_types.as_deref())?,
            scope: request.scope,
            application_type: request.application_type.filter(known_type),
        })
    }
}

/// RFC 7591 s2: omitted means `client_secret_basic`.
fn auth_method(text: Option<&str>) -> Result<AuthMethod, Refusal> {
    match text {
        None | Some("client_secret_basic") => Ok(AuthMethod::ClientSecretBasic),
        Some("client_secret_post") => Ok(AuthMethod::ClientSecretPost),
        Some("none") => Ok(AuthMethod::None),
        Some(_) => Err(Refusal::AuthMethod),
    }
}

/// What strangers cannot have is dropped; if nothing is left for which a person is asked, there is nothing to register.
fn grant_types(asked: Option<&[String]>) -> Result<Vec<GrantType>, Refusal> {
    let Some(asked) = asked else {
        return Ok(vec![GrantType::AuthorizationCode]);
    };
    let asks = |name: &str| asked.iter().any(|grant| grant == name);
    if !asks("authorization_code") {
        return Err(Refusal::GrantTypes);
    }
    let mut grants = vec![GrantType::AuthorizationCode];
    if asks("refresh_token") {
        grants.push(GrantType::RefreshToken);
    }
    Ok(grants)
}

fn check_response_types(asked: Option<&[String]>) -> Result<(), Refusal> {
    match asked {
        None => Ok(()),
        Some([one]) if one == "code" => Ok(()),
        Some(_) => Err(Refusal::ResponseTypes),
    }
}

fn redirect_uris(asked: &[String]) -> Result<Vec<RedirectUri>, Refusal> {
    if asked.is_empty() || asked.len() > MAX_REDIRECTS {
        return Err(Refusal::RedirectUri);
    }
    let parsed = asked.iter().map(|uri| uri.parse::<RedirectUri>());
    parsed.collect::<Result<_, _>>().map_err(|_| Refusal::RedirectUri)
}

/// DCR-07: nothing that makes a name look like another one, or the page look broken.
fn name(text: Option<String>) -> Result<Option<String>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let text = text.trim();
    if text.chars().count() > 128 || text.chars().any(is_treacherous) {
        return Err(Refusal::Name);
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// Controls, direction marks, and what shows as nothing.
pub(crate) fn is_treacherous(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Our pages link to none of these and nothing is fetched; still no `javascript:` gets in (DCR-08).
fn check_pages(request: &RegistrationRequest) -> Result<(), Refusal> {
    let pages =
        [&request.client_uri, &request.logo_uri, &request.tos_uri, &request.policy_uri, &request.jwks_uri];
    for page in pages.into_iter().flatten() {
        let url = Url::parse(page).map_err(|_| Refusal::Uri)?;
        if page.len() > 2048 || !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(Refusal::Uri);
        }
    }
    Ok(())
}

/// DCR-13, DCR-14. The keys are not kept: a client that authenticates by key cannot register yet.
fn check_keys(request: &RegistrationRequest) -> Result<(), Refusal> {
    let Some(jwks) = &request.jwks else {
        return Ok(());
    };
    let keys = jwks.get("keys").and_then(serde_json::Value::as_array);
    let keys = keys.filter(|keys| keys.len() <= MAX_KEYS).ok_or(Refusal::Keys)?;
    let is_public = |key: &serde_json::Value| {
        let kind = key.get("kty").and_then(serde_json::Value::as_str);
        let secrets = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
        matches!(kind, Some("EC" | "RSA" | "OKP")) && secrets.iter().all(|name| key.get(name).is_none())
    };
    if request.jwks_uri.is_some() || !keys.iter().all(is_public) {
        return Err(Refusal::Keys);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn good() -> Value {
        json!({
            "client_name": "Inspector",
            "redirect_uris": ["http://127.0.0.1:3000/cb"],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        })
    }

    fn check(member: &str, value: Value) -> Result<Metadata, Refusal> {
        let mut metadata = good();
        metadata[member] = value;
        Metadata::check(serde_json::from_value(metadata).unwrap())
    }

    #[test]
    fn as_dcr_02_one_bad_redirect_spoils_all() {
        assert!(check("redirect_uris", json!(["https://a.example/cb"])).is_ok());
        for bad in [
            json!([]),
            json!(["https://a.example/cb", "http://a.example/cb"]),
            json!(["javascript:alert(1)"]),
            json!(["data:text/html,x"]),
            json!(["file:///etc/passwd"]),
            json!(["myapp:/cb"]),
            json!(["https://*.example.com/cb"]),
            json!(["https://a.example/cb#f"]),
            json!(["https://u@a.example/cb"]),
            json!(["//a.example/cb"]),
            json!([" https://a.example/cb"]),
            json!(vec!["https://a.example/cb"; MAX_REDIRECTS + 1]),
        ] {
            assert_eq!(check("redirect_uris", bad.clone()), Err(Refusal::RedirectUri), "{bad}");
        }
    }

    #[test]
    fn as_dcr_04_what_strangers_cannot_have_is_dropped_or_refused() {
        let grants = |asked: Value| check("grant_types", asked).map(|metadata| metadata.grant_types);
        assert_eq!(
            grants(json!(["authorization_code", "client_credentials", "urn:x"])),
            Ok(vec![GrantType::AuthorizationCode])
        );
        for bad in [json!([]), json!(["client_credentials"]), json!(["refresh_token"]), json!(["implicit"])] {
            assert_eq!(grants(bad), Err(Refusal::GrantTypes));
        }
    }

    #[test]
    fn as_dcr_05_method_left_out_means_a_secret() {
        let method = |asked: Value| check("token_endpoint_auth_method", asked).map(|m| m.auth_method);
        assert_eq!(method(Value::Null), Ok(AuthMethod::ClientSecretBasic));
        assert_eq!(method(json!("none")), Ok(AuthMethod::None));
        for bad in ["private_key_jwt", "tls_client_auth", "", "NONE"] {
            assert_eq!(method(json!(bad)), Err(Refusal::AuthMethod), "{bad}");
        }
    }

    #[test]
    fn dcr_07_names_that_deceive_are_refused() {
        assert_eq!(
            check("client_name", json!("<b>Bold</b> Ünïcode 日本")).unwrap().name.as_deref(),
            Some("<b>Bold</b> Ünïcode 日本"),
            "escaped on the page, not here"
        );
        for bad in [
            "a\u{202e}b",
            "a\u{200b}b",
            "a\nb",
            "a\u{0}b",
            "a\u{2066}b",
            "\u{feff}a b\u{feff}c",
            "a\u{1b}[31m",
            "a\u{e0041}",
        ] {
            assert_eq!(check("client_name", json!(bad)), Err(Refusal::Name), "{bad:?}");
        }
        assert_eq!(check("client_name", json!("x".repeat(129))), Err(Refusal::Name));
        assert!(check("client_name", json!("é".repeat(128))).is_ok());
    }

    #[test]
    fn dcr_08_12_13_14_addresses_statements_and_keys() {
        for member in ["client_uri", "logo_uri", "tos_uri", "policy_uri", "jwks_uri"] {
            assert!(check(member, json!("https://a.example/x")).is_ok(), "{member}");
            for bad in ["javascript:alert(1)", "data:text/html,x", "x", "JaVaScRiPt:1", "file:///x"] {
                assert_eq!(check(member, json!(bad)), Err(Refusal::Uri), "{member} {bad}");
            }
        }
        assert_eq!(check("software_statement", json!("e30.e30.")), Err(Refusal::SoftwareStatement));
        let public = json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"});
        assert!(check("jwks", json!({ "keys": [public] })).is_ok());
        for bad in [
            json!({"keys": [{"kty": "oct", "k": "AA"}]}),
            json!({"keys": [{"kty": "EC", "d": "AA"}]}),
            json!({ "keys": vec![public.clone(); MAX_KEYS + 1] }),
            json!({"keys": {}}),
            json!([]),
        ] {
            assert_eq!(check("jwks", bad.clone()), Err(Refusal::Keys), "{bad}");
        }
        let mut both = good();
        both["jwks"] = json!({ "keys": [public] });
        both["jwks_uri"] = json!("https://a.example/jwks");
        assert_eq!(Metadata::check(serde_json::from_value(both).unwrap()), Err(Refusal::Keys));
    }

    #[test]
    fn as_dcr_02_03_types_and_unknown_members() {
        assert!(check("skip_consent", json!(true)).is_ok());
        assert!(check("client_id", json!("mine")).is_ok());
        for bad in [json!(["token"]), json!(["code", "token"]), json!([])] {
            assert_eq!(check("response_types", bad), Err(Refusal::ResponseTypes));
        }
        assert_eq!(check("scope", json!("a\"b")), Err(Refusal::Scope));
        assert_eq!(check("application_type", json!("web")).unwrap().application_type.as_deref(), Some("web"));
    }
}

//! Metadata and key sets.

use super::actors::ISSUER;
use crate::app::{FLEET, TestApp};
use http::StatusCode;
use serde_json::{Value, json};

#[tokio::test]
async fn as_meta_03_to_09_the_document_says_what_is_there() {
    let test = TestApp::start().await;
    let answer = test.get("/.well-known/oauth-authorization-server").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let document: Value = answer.json();
    assert_eq!(
        document,
        json!({
            "issuer": ISSUER,
            "authorization_endpoint": format!("{ISSUER}/oauth/authorize"),
            "token_endpoint": format!("{ISSUER}/oauth/token"),
            "jwks_uri": format!("{ISSUER}/oauth/jwks"),
            "registration_endpoint": format!("{ISSUER}/oauth/register"),
            "introspection_endpoint": format!("{ISSUER}/oauth/introspect"),
            "revocation_endpoint": format!("{ISSUER}/oauth/revoke"),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
            "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "revocation_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
            "scopes_supported": ["notes:read", "ops:read"],
        })
    );
    let openid: Value = test.get("/.well-known/openid-configuration").await.json();
    assert_eq!(openid, document, "AS-META-04");
}

#[tokio::test]
async fn dcr_15_registration_that_is_off_is_not_there() {
    let test = TestApp::start_with("", FLEET).await;
    let document: Value = test.get("/.well-known/oauth-authorization-server").await.json();
    assert!(document.get("registration_endpoint").is_none());
    let answer = super::actors::register(&test, &super::actors::native("x")).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn as_meta_11_key_01_keys_are_public_and_in_one_set_only() {
    let test = TestApp::start().await;
    let mut kids = Vec::new();
    for path in ["/oauth/jwks", "/oauth/assertion-jwks"] {
        let document: Value = test.get(path).await.json();
        let keys = document["keys"].as_array().unwrap();
        assert!(!keys.is_empty(), "{path}");
        for key in keys {
            for member in ["d", "p", "q", "dp", "dq", "qi", "k"] {
                assert!(key.get(member).is_none(), "{path}: {member}");
            }
            assert_eq!((&key["alg"], &key["use"]), (&json!("ES256"), &json!("sig")));
            kids.push(key["kid"].as_str().unwrap().to_owned());
        }
    }
    let all = kids.len();
    kids.sort();
    kids.dedup();
    assert_eq!(kids.len(), all, "no key is in both");
}

#[tokio::test]
async fn as_http_09_no_cors_where_people_are() {
    let test = TestApp::start().await;
    for path in ["/oauth/authorize", "/login", "/consent", "/oauth/introspect"] {
        let answer = test.get(path).await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
    }
    let answer = test.post("/oauth/token", &[("a", "b")]).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
}

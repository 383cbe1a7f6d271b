//! Client credentials from the caller's side.

use crate::fake::Fake;
use portcullis_client::{Client, Error, MachineCredentials, TokenWish};
use serde_json::{Value, json};

fn credentials() -> MachineCredentials {
    MachineCredentials::new("agent 1", "s:%é")
}

async fn ask(fake: &Fake) -> Result<portcullis_client::Token, Error> {
    let client = Client::new().unwrap();
    client.machine_token(&fake.server(), &credentials(), &TokenWish::default()).await
}

#[tokio::test]
async fn pc_14_the_token_is_asked_for_one_server() {
    let fake = Fake::good().await;
    let token = ask(&fake).await.unwrap();
    assert_eq!(token.access_token.reveal(), "abc");
    assert_eq!(token.session_id.as_deref(), Some("ses_1"));
    assert!(!format!("{token:?} {:?}", credentials()).contains("abc"));

    let seen = &fake.seen("/token")[0];
    let resource = fake.server().to_string().replace(':', "%3A").replace('/', "%2F");
    assert_eq!(seen.body, format!("grant_type=client_credentials&resource={resource}"));
    // RFC 6749 s2.3.1: `agent+1:s%3A%25%C3%A9`
    let basic = seen.authorization.as_deref().unwrap();
    assert_eq!(basic, "Basic YWdlbnQrMTpzJTNBJTI1JUMzJUE5");
}

#[tokio::test]
async fn pc_17_scopes_and_session_go_along() {
    let fake = Fake::good().await;
    let wish = TokenWish { scopes: "b a".parse().unwrap(), session_id: Some("ses_1".to_owned()) };
    let client = Client::new().unwrap();
    client.machine_token(&fake.server(), &credentials(), &wish).await.unwrap();
    assert!(fake.seen("/token")[0].body.ends_with("&scope=a+b&session_id=ses_1"));
}

#[tokio::test]
async fn credentials_go_to_their_own_authority_only() {
    let (fake, other) = (Fake::good().await, Fake::good().await);
    fake.json(
        "/.well-known/oauth-protected-resource/mcp/a",
        200,
        &json!({"resource": fake.server(), "authorization_servers": [other.origin]}),
    );
    let client = Client::new().unwrap();
    let (server, wish) = (fake.server(), TokenWish::default());
    // Another origin than the server's, and nobody said that it is right.
    let refused = client.machine_token(&server, &credentials(), &wish).await;
    assert!(matches!(refused, Err(Error::ForeignIssuer { .. })));
    // Bound to a third one.
    let bound = credentials().for_issuer("https://as.test".parse().unwrap());
    let refused = client.machine_token(&server, &bound, &wish).await;
    assert!(matches!(refused, Err(Error::ForeignIssuer { .. })));
    assert!(other.seen("/token").is_empty() && fake.seen("/token").is_empty());
    // Bound to this one.
    let bound = credentials().for_issuer(other.origin.parse().unwrap());
    assert!(client.machine_token(&server, &bound, &wish).await.is_ok());
}

#[tokio::test]
async fn a_redirect_of_the_token_endpoint_is_not_followed() {
    let (fake, thief) = (Fake::good().await, Fake::good().await);
    for status in [301, 302, 307, 308] {
        let to = format!("{}/token", thief.origin);
        fake.set("/token", status, vec![("location", to)], String::new());
        assert!(matches!(ask(&fake).await, Err(Error::Unusable { .. })), "{status}");
    }
    assert!(thief.seen("/token").is_empty());
}

#[tokio::test]
async fn a_token_endpoint_in_the_clear_gets_no_secret() {
    let fake = Fake::good().await;
    let mut authority = fake.authority();
    authority["token_endpoint"] = "http://as.test/token".into();
    fake.json("/.well-known/oauth-authorization-server", 200, &authority);
    let error = ask(&fake).await.unwrap_err();
    assert!(error.to_string().contains("must be https"), "{error}");
}

#[tokio::test]
async fn a_refusal_keeps_the_words_of_the_authority_and_hints() {
    let fake = Fake::good().await;
    let said = json!({"error": "invalid_scope", "error_description": "beyond\u{1b}[2J this agent's ceiling"});
    fake.json("/token", 400, &said);
    match ask(&fake).await {
        Err(Error::TokenRefused(refusal)) => {
            assert_eq!(refusal.to_string(), "invalid_scope: beyond [2J this agent's ceiling");
            assert!(refusal.hint().is_some());
        }
        other => panic!("{other:?}"),
    }
    fake.set("/token", 503, vec![("retry-after", "4".to_owned())], String::new());
    let busy = ask(&fake).await.unwrap_err();
    assert!(matches!(busy, Error::Unavailable { status: 503, retry_after: Some(4), .. }));
}

#[tokio::test]
async fn answers_that_are_no_token_are_refused() {
    let fake = Fake::good().await;
    for answer in [
        json!({}),
        json!({"access_token": "abc"}),
        json!({"access_token": "abc", "token_type": "DPoP"}),
        json!({"access_token": "abc", "token_type": "Bearer", "scope": "a\"b"}),
        Value::Null,
    ] {
        fake.json("/token", 200, &answer);
        assert!(matches!(ask(&fake).await, Err(Error::Unusable { .. })), "{answer}");
    }
}

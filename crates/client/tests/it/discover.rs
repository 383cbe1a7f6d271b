//! RFC 9728 and RFC 8414 from the caller's side.

use crate::fake::Fake;
use portcullis_client::{Client, Error};
use serde_json::json;

const RESOURCE: &str = "/.well-known/oauth-protected-resource/mcp/a";
const AUTHORITY: &str = "/.well-known/oauth-authorization-server";

async fn refused(fake: &Fake) -> String {
    match Client::new().unwrap().discover(&fake.server()).await {
        Err(Error::Unusable { address, problem }) => format!("{address}: {problem}"),
        other => panic!("expected an unusable answer, got {other:?}"),
    }
}

#[tokio::test]
async fn a_good_server_leads_to_its_authority() {
    let fake = Fake::good().await;
    let found = Client::new().unwrap().discover(&fake.server()).await.unwrap();
    assert_eq!(found.authority.issuer, fake.origin);
    assert_eq!(found.scopes, ["a:read"]);
    assert_eq!(fake.seen(RESOURCE).len(), 1);
}

#[tokio::test]
async fn without_a_challenge_the_well_known_address_is_used() {
    let fake = Fake::good().await;
    fake.set("/mcp/a", 405, vec![], String::new());
    assert!(Client::new().unwrap().discover(&fake.server()).await.is_ok());
}

#[tokio::test]
async fn all_forms_of_authority_metadata_are_tried() {
    let fake = Fake::good().await;
    fake.set(AUTHORITY, 404, vec![], String::new());
    fake.json("/.well-known/openid-configuration", 200, &fake.authority());
    assert!(Client::new().unwrap().discover(&fake.server()).await.is_ok());
}

#[tokio::test]
async fn metadata_of_another_resource_is_refused() {
    let fake = Fake::good().await;
    for resource in ["http://127.0.0.1:1/mcp/a", "/mcp/a/", "/mcp/b", ""] {
        let resource = if resource.starts_with('/') {
            format!("{}{resource}", fake.origin)
        } else {
            resource.to_owned()
        };
        fake.json(RESOURCE, 200, &json!({"resource": resource, "authorization_servers": [fake.origin]}));
        assert!(refused(&fake).await.ends_with("speaks for another server"), "{resource}");
    }
    assert!(fake.seen(AUTHORITY).is_empty());
}

#[tokio::test]
async fn metadata_of_another_issuer_is_refused() {
    let fake = Fake::good().await;
    for issuer in [format!("{}/", fake.origin), "https://as.test".to_owned()] {
        let mut authority = fake.authority();
        authority["issuer"] = issuer.into();
        fake.json(AUTHORITY, 200, &authority);
        assert!(refused(&fake).await.ends_with("speaks for another issuer"));
    }
}

#[tokio::test]
async fn addresses_outside_https_and_loopback_are_not_visited() {
    let fake = Fake::good().await;
    for issuer in ["http://as.test", "ftp://127.0.0.1", "https://user@as.test", "as.test"] {
        fake.json(RESOURCE, 200, &json!({"resource": fake.server(), "authorization_servers": [issuer]}));
        assert!(refused(&fake).await.contains("must be https"), "{issuer}");
    }
    let challenge = "Bearer resource_metadata=\"http://metadata.test/x\"".to_owned();
    fake.set("/mcp/a", 401, vec![("www-authenticate", challenge)], String::new());
    assert!(refused(&fake).await.contains("must be https"));
}

#[tokio::test]
async fn redirects_endless_answers_and_nonsense_are_refused() {
    let fake = Fake::good().await;
    fake.set(AUTHORITY, 302, vec![("location", "/elsewhere".to_owned())], String::new());
    fake.json("/elsewhere", 200, &fake.authority());
    assert!(refused(&fake).await.ends_with("must not redirect"));
    fake.set(AUTHORITY, 200, vec![], " ".repeat(300 * 1024));
    assert!(refused(&fake).await.ends_with("larger than 256 KiB"));
    for nonsense in ["", "[]", "{\"issuer\":1}", "<html>"] {
        fake.set(AUTHORITY, 200, vec![], nonsense.to_owned());
        assert!(refused(&fake).await.ends_with("no well-formed metadata document"), "{nonsense}");
    }
}

#[tokio::test]
async fn an_unprotected_address_and_an_absent_host_are_told_apart() {
    let fake = Fake::good().await;
    let client = Client::new().unwrap();
    let wrong = format!("{}/mcp/typo", fake.origin).parse().unwrap();
    assert!(matches!(client.discover(&wrong).await, Err(Error::NotProtected { .. })));

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let absent = format!("http://{}/mcp/a", free.local_addr().unwrap());
    drop(free);
    let error = client.discover(&absent.parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

//! The authorization endpoint.

use super::actors::{
    Browser, Ended, ISSUER, LOOPBACK, NOTES, PASSWORD, Program, is_consent, is_sign_in, native, on_the_web,
};
use crate::app::{FLEET, TestApp, form};
use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::json;

#[tokio::test]
async fn as_authz_08_09_a_code_comes_back_with_state_and_issuer() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let ended = Browser::of_alice(&test).await.authorize(&program.asking()).await;
    assert!(ended.away().starts_with(&format!("{LOOPBACK}?")));
    assert_eq!(ended.parameter("state").as_deref(), Some("st a&te=1"));
    assert_eq!(ended.parameter("iss").as_deref(), Some(ISSUER));
    assert!(ended.parameter("code").unwrap().starts_with("pcc_"));
}

#[tokio::test]
async fn as_authz_08_no_state_is_invented_and_odd_ones_come_back_unchanged() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let mut browser = Browser::of_alice(&test).await;
    let ended = browser.authorize(&program.asking().with("state", None)).await;
    assert_eq!(ended.parameter("state"), None);
    let long = "x%+\"'&#é\u{202e}".repeat(150);
    for state in ["%", "a+b c", "\"quoted\"", "a\r\nSet-Cookie: x=y", &long] {
        let ended = browser.authorize(&program.asking().with("state", Some(state))).await;
        assert_eq!(ended.parameter("state").as_deref(), Some(state));
    }
}

#[tokio::test]
async fn as_authz_02_redir_06_07_a_bad_client_or_redirect_is_a_page() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let agent = test.credentials("ci-bot").client_id;
    let mut browser = Browser::of_alice(&test).await.signed_in().await;
    assert!(is_consent(browser.reach_consent(&program.asking()).await.page()));
    let evil = "https://evil.example/cb";
    for (what, asking) in [
        ("unknown client", program.asking().with("client_id", Some("nobody"))),
        ("no client", program.asking().with("client_id", None)),
        ("an agent", program.asking().with("client_id", Some(&agent))),
        ("client twice", program.asking().again("client_id", &program.id)),
        ("evil redirect", program.asking().with("redirect_uri", Some(evil))),
        ("redirect twice", program.asking().again("redirect_uri", evil)),
        (
            "evil redirect and bad scope",
            program.asking().with("redirect_uri", Some(evil)).with("scope", Some("\"")),
        ),
        (
            "evil redirect, prompt none",
            program.asking().with("redirect_uri", Some(evil)).with("prompt", Some("none")),
        ),
        (
            "unknown client, evil redirect",
            program.asking().with("client_id", Some("x")).with("redirect_uri", Some(evil)),
        ),
    ] {
        let ended = browser.reach_consent(&asking).await;
        let page = ended.page();
        assert!(page.status.is_client_error(), "{what}: {}", page.status);
        assert!(page.header("content-type").unwrap().starts_with("text/html"), "{what}");
        assert!(!page.text().contains("evil"), "{what}: nothing of the request is on the page");
    }
}

#[tokio::test]
async fn as_authz_03_redir_02_03_redirects_compare_as_strings() {
    let test = TestApp::start().await;
    let program = Program::registered(&test, &on_the_web("Web")).await;
    let mut browser = Browser::of_alice(&test).await.signed_in().await;
    assert!(is_consent(browser.reach_consent(&program.asking()).await.page()));
    for other in [
        "https://client.example/CB",
        "https://client.example/cb/",
        "https://client.example/cb?next=https://evil.example",
        "https://client.example/cb#f",
        "https://client.example/x/../cb",
        "https://client.example/%2e%2e/cb",
        "https://client.example//cb",
        "https://client.example\\cb",
        "https://user@client.example/cb",
        "https://client.example@evil.example/cb",
        "https://client.example.evil.example/cb",
        "https://client.example:443/cb",
        "https://client.example:8443/cb",
        "http://client.example/cb",
        "https://CLIENT.example/cb",
        "https://client.example/cb\t",
        "https://client.example/cb\n",
        "https://client.example/c",
        "https://client.example/cb;x",
    ] {
        let ended = browser.reach_consent(&program.asking().with("redirect_uri", Some(other))).await;
        assert!(ended.page().status.is_client_error(), "{other:?}");
    }
}

#[tokio::test]
async fn as_authz_04_redirect_may_be_left_out_where_there_is_one() {
    let test = TestApp::start().await;
    let mut browser = Browser::of_alice(&test).await.signed_in().await;
    let one = Program::registered(&test, &on_the_web("One")).await;
    let ended = browser.authorize(&one.asking().with("redirect_uri", None)).await;
    assert!(ended.away().starts_with("https://client.example/cb?code="));
    let mut metadata = on_the_web("Two");
    metadata["redirect_uris"] = json!(["https://client.example/cb", "https://client.example/other"]);
    let two = Program::registered(&test, &metadata).await;
    let ended = browser.reach_consent(&two.asking().with("redirect_uri", None)).await;
    assert!(ended.page().status.is_client_error());
}

#[tokio::test]
async fn as_authz_05_the_port_of_a_loopback_redirect_is_free_and_nothing_else() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let mut browser = Browser::of_alice(&test).await.signed_in().await;
    let other_port = program.asking().with("redirect_uri", Some("http://127.0.0.1:9/cb"));
    assert!(browser.authorize(&other_port).await.away().starts_with("http://127.0.0.1:9/cb?code="));
    for other in [
        "http://localhost:53682/cb",
        "http://127.0.0.1:53682/other",
        "http://127.0.0.1:80@evil.test/cb",
        "http://127.0.0.1.evil.test/cb",
        "http://127.1:53682/cb",
        "https://127.0.0.1:53682/cb",
    ] {
        let ended = browser.reach_consent(&program.asking().with("redirect_uri", Some(other))).await;
        assert!(ended.page().status.is_client_error(), "{other}");
    }
}

#[tokio::test]
async fn as_authz_01_07_pkce_01_to_04_what_is_wrong_is_told_to_the_client() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let mut browser = Browser::of_alice(&test).await.signed_in().await;
    let asking = || program.asking();
    for (what, asking, error) in [
        ("no challenge", asking().with("code_challenge", None), "invalid_request"),
        ("plain", asking().with("code_challenge_method", Some("plain")), "invalid_request"),
        ("no method", asking().with("code_challenge_method", None), "invalid_request"),
        ("s256", asking().with("code_challenge_method", Some("s256")), "invalid_request"),
        ("S512", asking().with("code_challenge_method", Some("S512")), "invalid_request"),
        ("42", asking().with("code_challenge", Some(&"a".repeat(42))), "invalid_request"),
        ("129", asking().with("code_challenge", Some(&"a".repeat(129))), "invalid_request"),
        ("no type", asking().with("response_type", None), "invalid_request"),
        ("token", asking().with("response_type", Some("token")), "unsupported_response_type"),
        ("code token", asking().with("response_type", Some("code token")), "unsupported_response_type"),
        ("fragment", asking().with("response_mode", Some("fragment")), "invalid_request"),
        ("form_post", asking().with("response_mode", Some("form_post")), "invalid_request"),
        ("request", asking().with("request", Some("e30.e30.")), "request_not_supported"),
        ("request_uri", asking().with("request_uri", Some("urn:x")), "request_uri_not_supported"),
        ("no resource", asking().with("resource", None), "invalid_target"),
        ("two resources", asking().again("resource", "https://other.example/mcp"), "invalid_target"),
        ("unknown resource", asking().with("resource", Some("https://other.example/mcp")), "invalid_target"),
        ("resource with slash", asking().with("resource", Some(&format!("{NOTES}/"))), "invalid_target"),
        ("resource with fragment", asking().with("resource", Some(&format!("{NOTES}#f"))), "invalid_target"),
        (
            "resource as prefix",
            asking().with("resource", Some("http://127.0.0.1:8080/mcp")),
            "invalid_target",
        ),
        ("malformed scope", asking().with("scope", Some("a\"b")), "invalid_scope"),
        ("scope of another server", asking().with("scope", Some("notes:read ops:read")), "invalid_scope"),
        ("scope in capitals", asking().with("scope", Some("NOTES:READ")), "invalid_scope"),
        ("prompt none", asking().with("prompt", Some("none")), "consent_required"),
        ("odd prompt", asking().with("prompt", Some("create")), "invalid_request"),
    ] {
        let ended = browser.reach_consent(&asking).await;
        assert_eq!(ended.error(), error, "{what}");
        assert_eq!(ended.parameter("iss").as_deref(), Some(ISSUER), "{what}");
        assert_eq!(ended.parameter("state").as_deref(), Some("st a&te=1"), "{what}");
        assert!(!ended.away().contains('#'), "{what}");
    }
}

#[tokio::test]
async fn as_authz_10_redir_11_nobody_is_sent_away_before_signing_in() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    for asking in [
        program.asking().with("scope", Some("no:such")),
        program.asking().with("prompt", Some("none")),
        program.asking().with("response_type", Some("token")),
    ] {
        let answer = test.get(&asking.path()).await;
        assert!(is_sign_in(&answer), "{} {:?}", answer.status, answer.headers);
    }
    // And afterwards the client hears of it.
    let mut browser = Browser::of_alice(&test).await;
    let ended = browser.reach_consent(&program.asking().with("scope", Some("no:such"))).await;
    assert_eq!(ended.error(), "invalid_scope");
}

#[tokio::test]
async fn authz_17_a_server_that_the_user_may_not_use() {
    let fleet = FLEET.replace("\"alice\", \"bob\"", "\"bob\"");
    let test = TestApp::start_with("registration.dynamic = true", &fleet).await;
    let program = Program::native(&test).await;
    let mut alice = Browser::of_alice(&test).await;
    assert_eq!(alice.reach_consent(&program.asking()).await.error(), "access_denied");
    test.user("bob", PASSWORD).await;
    let mut bob = Browser::new(&test, "bob", PASSWORD);
    assert!(is_consent(bob.reach_consent(&program.asking()).await.page()));
}

#[tokio::test]
async fn pc_1a_self_registered_clients_reach_nothing_by_default() {
    let (fleet, _) = FLEET.split_once("[self_registered]").unwrap();
    let test = TestApp::start_with("registration.dynamic = true", fleet).await;
    let program = Program::native(&test).await;
    let ended = Browser::of_alice(&test).await.reach_consent(&program.asking()).await;
    assert_eq!(ended.error(), "access_denied");
}

#[tokio::test]
async fn authz_15_post_is_get_head_is_nothing_and_long_is_refused() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let asking = program.asking();
    let fields: Vec<(&str, &str)> =
        asking.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let answer = test.send(form("/oauth/authorize", &fields)).await;
    assert!(is_sign_in(&answer), "{}", answer.status);
    let mut browser = Browser::of_alice(&test).await;
    let after = browser.send(form("/oauth/authorize", &fields)).await;
    let after = browser.sign_in(&after).await;
    let path = after.header("location").unwrap().strip_prefix(ISSUER).unwrap().to_owned();
    assert!(is_consent(&browser.get(&path).await));
    let head = Request::head(asking.path()).body(Body::empty()).unwrap();
    assert!(browser.send(head).await.status.is_client_error());
    let long = asking.with("state", Some(&"x".repeat(40 * 1024)));
    assert!(browser.get(&long.path()).await.status.is_client_error());
}

#[tokio::test]
async fn prompt_login_asks_again_once() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let mut browser = Browser::of_alice(&test).await.signed_in().await;
    let asking = program.asking().with("prompt", Some("login"));
    let page = browser.get(&asking.path()).await;
    assert!(is_sign_in(&page));
    match browser.authorize(&asking).await {
        Ended::Away(location) => assert!(location.contains("code=")),
        Ended::Page(page) => panic!("{}", page.text()),
    }
}

#[tokio::test]
async fn as_http_06_unknown_and_empty_parameters_do_not_matter() {
    let test = TestApp::start().await;
    let program = Program::registered(&test, &native("Odd")).await;
    let asking = program.asking().with("scope", Some("")).again("foo", "1").again("login_hint", "<b>x</b>");
    let ended = Browser::of_alice(&test).await.reach_consent(&asking).await;
    let page = ended.page();
    assert!(is_consent(page) && page.text().contains("Read notes"));
    assert!(!page.text().contains("Create and change notes"), "PC-1A: the default scopes");
    assert_eq!(page.status, StatusCode::OK);
}

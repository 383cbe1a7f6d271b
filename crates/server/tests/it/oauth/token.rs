//! The token endpoint: what holds for every grant, codes, and machines.

use super::actors::{
    Browser, NOTES, OPS, Program, Tokens, as_agent, basic, claims, error_of, is_active, native, on_the_web,
};
use crate::app::{Answer, FLEET, TestApp, form};
use axum::body::Body;
use http::{Request, StatusCode, header};
use serde_json::{Value, json};
use std::time::Duration;

const CC: (&str, &str) = ("grant_type", "client_credentials");

async fn machine(test: &TestApp, more: &[(&str, &str)]) -> Answer {
    as_agent(test, "ci-bot", "/oauth/token", &[&[CC], more].concat()).await
}

#[tokio::test]
async fn as_tok_01_as_jwt_03_a_code_becomes_tokens() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let mut browser = Browser::of_alice(&test).await;
    let code = browser.code(&program.asking()).await;
    let answer = program.redeem(&test, &code).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let tokens: Tokens = answer.json();
    assert_eq!((tokens.token_type.as_str(), tokens.scope.as_str()), ("Bearer", "notes:read notes:write"));
    assert!(tokens.refresh_token.unwrap().starts_with("pcr_"));
    let claims = claims(&tokens.access_token);
    assert_eq!(claims["iss"], "http://127.0.0.1:8080");
    assert_eq!(claims["aud"], NOTES);
    assert_eq!(claims["client_id"], program.id.as_str());
    assert_eq!(claims["sid"], tokens.session_id.as_str());
    assert_eq!(claims["roles"], json!(["team"]));
    assert!(claims["sub"].as_str().unwrap().starts_with("usr_"));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), tokens.expires_in);
    assert_eq!(tokens.expires_in, 900);
    let members: Vec<&String> = claims.as_object().unwrap().keys().collect();
    assert_eq!(members.len(), 11, "AS-JWT-07: nothing personal: {members:?}");
    assert!(is_active(&test, &tokens.access_token).await);
}

#[tokio::test]
async fn as_code_06_07_08_09_a_wrong_redemption_spends_nothing() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let other = Program::registered(&test, &native("Other")).await;
    let mut browser = Browser::of_alice(&test).await;
    let code = browser.code(&program.asking()).await;
    let good = program.redemption(&code);
    let wrong = |name: &str, value: Option<&'static str>| {
        let mut fields: Vec<(&str, &str)> = good.iter().filter(|(n, _)| *n != name).copied().collect();
        let name: &'static str = match name {
            "code_verifier" => "code_verifier",
            "redirect_uri" => "redirect_uri",
            "resource" => "resource",
            other => panic!("{other}"),
        };
        fields.extend(value.map(|value| (name, value)));
        fields
    };
    let challenge = super::actors::challenge().leak();
    for (what, fields, error) in [
        (
            "other verifier",
            wrong("code_verifier", Some("another-verifier-of-more-than-43-characters-x")),
            "invalid_grant",
        ),
        ("no verifier", wrong("code_verifier", None), "invalid_grant"),
        ("empty verifier", wrong("code_verifier", Some("")), "invalid_grant"),
        ("challenge as verifier", wrong("code_verifier", Some(challenge)), "invalid_grant"),
        ("other redirect", wrong("redirect_uri", Some("https://evil.example/cb")), "invalid_grant"),
        ("other port", wrong("redirect_uri", Some("http://127.0.0.1:1/cb")), "invalid_grant"),
        ("other server", wrong("resource", Some(OPS)), "invalid_target"),
    ] {
        assert_eq!(error_of(&test.post("/oauth/token", &fields).await), error, "{what}");
    }
    let stolen = Program { id: other.id, ..program.clone() };
    assert_eq!(error_of(&stolen.redeem(&test, &code).await), "invalid_grant", "CODE-03");
    let without_redirect = wrong("redirect_uri", None);
    assert_eq!(test.post("/oauth/token", &without_redirect).await.status, StatusCode::OK);
}

#[tokio::test]
async fn as_code_01_02_03_codes_die_soon_and_a_replay_revokes() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let mut browser = Browser::of_alice(&test).await;
    let late = browser.code(&program.asking()).await;
    test.advance(Duration::from_mins(1)).await;
    assert_eq!(error_of(&program.redeem(&test, &late).await), "invalid_grant");

    let code = browser.code(&program.asking()).await;
    let tokens: Tokens = program.redeem(&test, &code).await.json();
    assert!(is_active(&test, &tokens.access_token).await);
    // AS-CODE-04: a replay that is not valid in itself revokes nothing.
    let mut guess = program.redemption(&code);
    guess[3].1 = "another-verifier-of-more-than-43-characters-x";
    assert_eq!(error_of(&test.post("/oauth/token", &guess).await), "invalid_grant");
    assert!(is_active(&test, &tokens.access_token).await);

    assert_eq!(error_of(&program.redeem(&test, &code).await), "invalid_grant");
    assert!(!is_active(&test, &tokens.access_token).await);
    let refreshed = program.refresh(&test, &tokens.refresh_token.unwrap()).await;
    assert_eq!(error_of(&refreshed), "invalid_grant");
}

#[tokio::test]
async fn as_code_03_a_replay_after_the_code_expired_still_revokes() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let code = Browser::of_alice(&test).await.code(&program.asking()).await;
    let tokens: Tokens = program.redeem(&test, &code).await.json();
    test.advance(Duration::from_mins(5)).await;
    assert_eq!(error_of(&program.redeem(&test, &code).await), "invalid_grant");
    assert!(!is_active(&test, &tokens.access_token).await);
}

#[tokio::test]
async fn as_code_05_fifty_redemptions_at_once_have_one_winner() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let code = Browser::of_alice(&test).await.code(&program.asking()).await;
    let all = (0..50).map(|_| program.redeem(&test, &code));
    let answers = futures_util::future::join_all(all).await;
    let won = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!(won, 1);
    for answer in answers.iter().filter(|answer| answer.status != StatusCode::OK) {
        assert_eq!(error_of(answer), "invalid_grant");
    }
}

#[tokio::test]
async fn as_code_10_code_07_the_grant_is_looked_at_again() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let mut browser = Browser::of_alice(&test).await;
    let good = browser.code(&program.asking()).await;
    assert_eq!(program.redeem(&test, &good).await.status, StatusCode::OK);
    let code = browser.code(&program.asking()).await;
    let gone = FLEET.replace("name = \"notes\"\n", "name = \"notes2\"\n").replace("notes = [", "notes2 = [");
    let gone = gone.replace("introspects = [\"notes\",", "introspects = [\"notes2\",");
    test.apply(&gone).await.unwrap();
    assert!(program.redeem(&test, &code).await.status.is_client_error(), "the server is gone");
}

#[tokio::test]
async fn as_tok_04_no_refresh_token_without_that_grant() {
    let test = TestApp::start().await;
    let mut metadata = native("Once");
    metadata["grant_types"] = json!(["authorization_code"]);
    let program = Program::registered(&test, &metadata).await;
    let tokens = program.tokens(&mut Browser::of_alice(&test).await).await;
    assert_eq!(tokens.refresh_token, None);
    let answer = program.refresh(&test, "pcr_x").await;
    assert_eq!(error_of(&answer), "unauthorized_client");
}

#[tokio::test]
async fn as_tok_03_as_http_05_tok_08_requests_that_are_none() {
    let test = TestApp::start().await;
    assert_eq!(machine(&test, &[("resource", NOTES)]).await.status, StatusCode::OK);
    for (fields, error) in [
        (vec![("resource", NOTES)], "invalid_request"),
        (vec![("grant_type", "password"), ("resource", NOTES)], "unsupported_grant_type"),
        (vec![("grant_type", "urn:x:nope")], "unsupported_grant_type"),
        (vec![CC, CC, ("resource", NOTES)], "invalid_request"),
        (vec![CC, ("scope", "notes:read"), ("scope", "notes:read"), ("resource", NOTES)], "invalid_request"),
        (vec![CC, ("scope", "a\u{0}b"), ("resource", NOTES)], "invalid_request"),
        (vec![CC, ("scope", "a\"b\\"), ("resource", NOTES)], "invalid_scope"),
        (
            vec![
                ("grant_type", "authorization_code"),
                ("code", "x"),
                ("code_verifier", super::actors::VERIFIER),
            ],
            "unauthorized_client",
        ),
        (vec![("grant_type", "refresh_token"), ("refresh_token", "x")], "unauthorized_client"),
    ] {
        let answer = as_agent(&test, "ci-bot", "/oauth/token", &fields).await;
        assert_eq!(error_of(&answer), error, "{fields:?}");
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{fields:?}");
    }
}

#[tokio::test]
async fn as_http_07_tok_01_02_06_07_only_a_form_in_a_post_body() {
    let test = TestApp::start().await;
    let credentials = test.credentials("ci-bot");
    let get = test.get("/oauth/token?grant_type=client_credentials").await;
    assert_eq!((get.status, get.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, Some("POST,OPTIONS")));
    let query = format!(
        "/oauth/token?client_id={}&client_secret={}",
        credentials.client_id, credentials.client_secret
    );
    let answer = test.post(&query, &[CC, ("resource", NOTES)]).await;
    assert_eq!((answer.status, error_of(&answer).as_str()), (StatusCode::UNAUTHORIZED, "invalid_client"));
    for content_type in ["application/json", "multipart/form-data; boundary=x", "text/plain"] {
        let request = Request::post("/oauth/token").header(header::CONTENT_TYPE, content_type);
        let answer = test.send(request.body(Body::from("grant_type=client_credentials")).unwrap()).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type}");
    }
    let long = test.post("/oauth/token", &[("scope", &"a".repeat(2 << 20))]).await;
    assert_eq!(long.status, StatusCode::PAYLOAD_TOO_LARGE);
    let many: Vec<(String, String)> = (0..10_000).map(|n| (format!("p{n}"), "x".into())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert!(test.post("/oauth/token", &many).await.status.is_client_error());
    for body in ["grant_type=%zz", "grant_type=%ff", "grant_type=%00", "=&=&", "%"] {
        let request =
            Request::post("/oauth/token").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let answer = test.send(request.body(Body::from(body)).unwrap()).await;
        assert!(answer.status.is_client_error(), "{body}");
    }
}

#[tokio::test]
async fn as_cli_01_to_04_who_calls_must_prove_it() {
    let test = TestApp::start().await;
    let agent = test.credentials("ci-bot");
    let fields = [CC, ("resource", NOTES)];
    let with = async |authorization: Option<&str>, more: &[(&str, &str)]| {
        let mut request = form("/oauth/token", &[&fields, more].concat());
        if let Some(value) = authorization {
            request.headers_mut().insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        test.send(request).await
    };
    let good = basic(&agent.client_id, &agent.client_secret);
    assert_eq!(with(Some(&good), &[]).await.status, StatusCode::OK);
    let in_body = [("client_id", agent.client_id.as_str()), ("client_secret", agent.client_secret.as_str())];
    assert_eq!(with(None, &in_body).await.status, StatusCode::OK);

    let wrong = with(Some(&basic(&agent.client_id, "wrong")), &[]).await;
    let unknown = with(Some(&basic("nobody", "wrong")), &[]).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(wrong.header("www-authenticate").unwrap().starts_with("Basic "));
    assert_eq!(wrong.body, unknown.body, "CLI-04");
    assert_eq!(wrong.status, unknown.status);
    assert_eq!(wrong.headers, unknown.headers);

    for (what, authorization, more) in [
        ("id only", None, &[("client_id", agent.client_id.as_str())][..]),
        ("empty secret", None, &[("client_id", agent.client_id.as_str()), ("client_secret", "")]),
        ("nothing", None, &[]),
        ("Bearer", Some("Bearer x"), &[]),
        ("Bearer without token", Some("Bearer"), &[]),
        ("broken Basic", Some("Basic !!!"), &[]),
        ("broken Basic and an id", Some("Basic YQ=="), &[("client_id", agent.client_id.as_str())]),
        ("assertion", None, &[("client_id", agent.client_id.as_str()), ("client_assertion", "x")]),
    ] {
        let answer = with(authorization, more).await;
        assert_eq!(
            (answer.status, error_of(&answer).as_str()),
            (StatusCode::UNAUTHORIZED, "invalid_client"),
            "{what}"
        );
    }
    let both = with(Some(&good), &in_body).await;
    assert_eq!(
        (both.status, error_of(&both).as_str()),
        (StatusCode::BAD_REQUEST, "invalid_request"),
        "CLI-03"
    );
}

#[tokio::test]
async fn as_cli_04_as_dcr_05_the_registered_method_counts() {
    let test = TestApp::start().await;
    let mut metadata = on_the_web("Confidential");
    metadata["token_endpoint_auth_method"] = Value::Null;
    let program = Program::registered(&test, &metadata).await;
    let secret = program.secret.clone().unwrap();
    assert!(secret.starts_with("pcs_"));
    let mut browser = Browser::of_alice(&test).await;
    let code = browser.code(&program.asking()).await;
    let as_public = program.redeem(&test, &code).await;
    assert_eq!(error_of(&as_public), "invalid_client", "a secret holder cannot act as public");
    let mut in_body = program.redemption(&code);
    in_body.push(("client_secret", &secret));
    assert_eq!(error_of(&test.post("/oauth/token", &in_body).await), "invalid_client", "not as registered");
    let mut request = form("/oauth/token", &program.redemption(&code));
    request.headers_mut().insert(header::AUTHORIZATION, basic(&program.id, &secret).parse().unwrap());
    assert_eq!(test.send(request).await.status, StatusCode::OK);

    let public = Program::native(&test).await;
    let code = browser.code(&public.asking()).await;
    let mut with_secret = public.redemption(&code);
    with_secret.push(("client_secret", "anything"));
    assert_eq!(error_of(&test.post("/oauth/token", &with_secret).await), "invalid_client");
    assert_eq!(public.redeem(&test, &code).await.status, StatusCode::OK);
}

#[tokio::test]
async fn as_cli_05_tok_12_guessing_is_slowed_down_and_the_right_secret_is_not() {
    let test = TestApp::start().await;
    let agent = test.credentials("ci-bot");
    let mut slowed = 0;
    for n in 0..200 {
        let mut request = form("/oauth/token", &[CC, ("resource", NOTES)]);
        let guess = basic(&agent.client_id, &format!("guess{n}"));
        request.headers_mut().insert(header::AUTHORIZATION, guess.parse().unwrap());
        let answer = test.send(request).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
            slowed += 1;
        }
    }
    assert!(slowed > 100, "{slowed}");
    assert_eq!(machine(&test, &[("resource", NOTES)]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn as_cc_02_03_04_machines_get_what_their_ceiling_allows() {
    let test = TestApp::start().await;
    let answer = machine(&test, &[("resource", NOTES), ("scope", "notes:read")]).await;
    let tokens: Tokens = answer.json();
    assert_eq!(tokens.refresh_token, None);
    let claims = claims(&tokens.access_token);
    assert_eq!((&claims["aud"], &claims["sub"]), (&json!(NOTES), &claims["client_id"]));
    assert!(claims.get("roles").is_none());
    let narrowed: Tokens =
        machine(&test, &[("resource", NOTES), ("scope", "notes:read notes:write")]).await.json();
    assert_eq!(narrowed.scope, "notes:read", "AS-TOK-02");
    for (what, fields, error) in [
        ("beyond the ceiling", vec![("resource", NOTES), ("scope", "notes:write")], "invalid_scope"),
        ("unknown scope", vec![("resource", NOTES), ("scope", "notes:read root:all")], "invalid_scope"),
        ("scope of another server", vec![("resource", NOTES), ("scope", "ops:read")], "invalid_scope"),
        ("no server", vec![], "invalid_target"),
        ("a server it may not use", vec![("resource", OPS)], "invalid_target"),
        ("unknown server", vec![("resource", "https://unknown.example/mcp")], "invalid_target"),
        ("two servers", vec![("resource", NOTES), ("resource", OPS)], "invalid_target"),
        ("relative", vec![("resource", "/mcp/notes")], "invalid_target"),
        ("fragment", vec![("resource", "http://127.0.0.1:8080/mcp/notes#f")], "invalid_target"),
        ("dots", vec![("resource", "http://127.0.0.1:8080/mcp/x/../notes")], "invalid_target"),
        ("longer", vec![("resource", "http://127.0.0.1:8080/mcp/notes/b")], "invalid_target"),
    ] {
        assert_eq!(error_of(&machine(&test, &fields).await), error, "{what}");
    }
}

#[tokio::test]
async fn as_cc_01_cli_06_dcr_03_only_agents_are_machines() {
    let test = TestApp::start().await;
    let public = Program::native(&test).await;
    let answer = test.post("/oauth/token", &[CC, ("client_id", &public.id), ("resource", NOTES)]).await;
    assert_eq!(error_of(&answer), "unauthorized_client");
    let mut metadata = on_the_web("Greedy");
    metadata["grant_types"] = json!(["authorization_code", "client_credentials"]);
    metadata["token_endpoint_auth_method"] = json!("client_secret_post");
    let greedy = Program::registered(&test, &metadata).await;
    let secret = greedy.secret.unwrap();
    let fields = [CC, ("client_id", &greedy.id), ("client_secret", &secret), ("resource", NOTES)];
    assert_eq!(error_of(&test.post("/oauth/token", &fields).await), "unauthorized_client");
}

#[tokio::test]
async fn pc_17_a_machine_stays_in_its_session() {
    let test = TestApp::start().await;
    let first: Tokens = machine(&test, &[("resource", NOTES)]).await.json();
    let session = first.session_id.as_str();
    let second: Tokens = machine(&test, &[("resource", NOTES), ("session_id", session)]).await.json();
    assert_eq!(second.session_id, session);
    assert_ne!(claims(&second.access_token)["jti"], claims(&first.access_token)["jti"]);
    let anew: Tokens = machine(&test, &[("resource", NOTES)]).await.json();
    assert_ne!(anew.session_id, session);
    let other =
        as_agent(&test, "inspector", "/oauth/token", &[CC, ("resource", NOTES), ("session_id", session)])
            .await;
    assert!(other.status.is_client_error());
    for bad in ["ses_00000000000000000000000000000000", "x", "usr_0"] {
        let answer = machine(&test, &[("resource", NOTES), ("session_id", bad)]).await;
        assert_eq!(error_of(&answer), "invalid_grant", "{bad}");
    }
    test.advance(test.app.config.tokens.session_max).await;
    let late = machine(&test, &[("resource", NOTES), ("session_id", session)]).await;
    assert_eq!(error_of(&late), "invalid_grant", "the maximum run");
}

#[tokio::test]
async fn pc_17_a_token_never_outlives_its_session() {
    let test = TestApp::start().await;
    let first: Tokens = machine(&test, &[("resource", NOTES)]).await.json();
    test.advance(test.app.config.tokens.session_max.checked_sub(Duration::from_secs(100)).unwrap()).await;
    let last = machine(&test, &[("resource", NOTES), ("session_id", &first.session_id)]).await;
    let last: Tokens = last.json();
    assert_eq!(last.expires_in, 100);
    let claims = claims(&last.access_token);
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 100);
}

#[tokio::test]
async fn pc_50_every_token_given_or_refused_to_an_identified_caller_is_recorded() {
    let test = TestApp::start().await;
    let count = async || {
        let mut handle = test.app.store.read().await.unwrap();
        let records = handle.reader().audit_after(0, 1000).await.unwrap();
        let kind = portcullis_domain::audit::Kind::TokenDecided;
        records.iter().filter(|(_, _, event)| event.kind == kind).count()
    };
    machine(&test, &[("resource", NOTES)]).await;
    assert_eq!(count().await, 1);
    machine(&test, &[("resource", OPS)]).await;
    machine(&test, &[("resource", NOTES), ("scope", "root:all")]).await;
    as_agent(&test, "ci-bot", "/oauth/token", &[("grant_type", "password")]).await;
    assert_eq!(count().await, 4);
    // PC-51: strangers cannot make us write.
    let public = Program::native(&test).await;
    public.redeem(&test, "pcc_guess").await;
    public.refresh(&test, "pcr_guess").await;
    test.post("/oauth/token", &[CC, ("client_id", "nobody"), ("client_secret", "x")]).await;
    assert_eq!(count().await, 4);
}

//! The door for access tokens: who gets in over TCP, how far, and what nobody gets by it.

use super::{Operator, assert_problem};
use crate::app::{Answer, FLEET, TestApp};
use crate::oauth::actors::{Browser, PASSWORD, Program, Tokens, as_agent};
use axum::body::Body;
use http::{Request, StatusCode, header};
use portcullis_domain::audit::{Actor, Kind, Outcome};
use portcullis_oauth::jwt::{ACCESS_TOKEN_TYPE, SigningKey};
use portcullis_server::api;
use serde_json::{Value, json};
use std::time::Duration;

const ADMIN: &str = "http://127.0.0.1:8080/api/v1";

/// Agents with one right each, an auditor and a server owner among people, and clients that may carry all of it.
fn fleet() -> String {
    let agents: String = [("operator", "admin:write"), ("reader", "admin:read"), ("auditor", "audit:read")]
        .map(|(name, scope)| {
            format!(
                r#"
[[agent]]
name = "{name}"
owner = "platform"
credential = {{ secret = {{ deliver = "file:@DATA@/{name}.json" }} }}
access = {{ portcullis = ["{scope}"] }}
"#
            )
        })
        .concat();
    let people = r#"
[[role]]
name = "auditors"
members = { users = ["bob"] }
access = { portcullis = ["audit:read", "admin:read"] }

[self_registered]
access = { portcullis = ["admin:read", "admin:write", "audit:read"], "#;
    FLEET
        .replace("name = \"notes\"\n", "name = \"notes\"\nowners = [\"alice\", \"bob\"]\n")
        .replace("[self_registered]\naccess = { ", &format!("{agents}{people}"))
}

async fn start() -> TestApp {
    TestApp::start_with("registration.dynamic = true", &fleet()).await
}

/// Somebody with a token.
struct Remote<'t> {
    test: &'t TestApp,
    token: String,
}

impl<'t> Remote<'t> {
    /// An agent.
    async fn agent(test: &'t TestApp, name: &str, scope: &str) -> Self {
        let fields = [("grant_type", "client_credentials"), ("resource", ADMIN), ("scope", scope)];
        let answer = as_agent(test, name, "/oauth/token", &fields).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        Self { test, token: answer.json::<Tokens>().access_token }
    }

    /// A person, through a program that registered itself.
    async fn person(test: &'t TestApp, name: &str, scope: &str) -> Self {
        let program = Program::native(test).await;
        let asking = program.asking().with("resource", Some(ADMIN)).with("scope", Some(scope));
        let code = Browser::new(test, name, PASSWORD).code(&asking).await;
        let answer = program.redeem(test, &code).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        Self { test, token: answer.json::<Tokens>().access_token }
    }

    async fn send(&self, method: &str, path: &str, body: Option<(&str, String)>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        let request = match body {
            Some((content_type, body)) => {
                request.header(header::CONTENT_TYPE, content_type).body(Body::from(body))
            }
            None => request.body(Body::empty()),
        };
        self.test.send(request.unwrap()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None).await
    }

    async fn json(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, Some(("application/json", body.to_string()))).await
    }

    async fn apply(&self, fleet: &str) -> Answer {
        let text = fleet.replace("@DATA@", &self.test.folder.path().display().to_string());
        self.send("POST", "/api/v1/fleet/apply", Some(("application/toml", text))).await
    }
}

/// Every method and address, with something in the place of its variable part.
fn everything() -> Vec<(&'static str, String)> {
    let addresses = api::addresses();
    assert!(addresses.len() >= 12);
    addresses.into_iter().map(|(method, path)| (method, path.replace(['{', '}'], ""))).collect()
}

async fn refused_everywhere(remote: &Remote<'_>, status: StatusCode, kind: &str) {
    for (method, path) in everything() {
        for content_type in ["application/json", "application/toml"] {
            let answer = remote.send(method, &path, Some((content_type, "{}".to_owned()))).await;
            assert_problem(&answer, status, kind);
            assert!(answer.headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).is_none());
        }
    }
}

#[tokio::test]
async fn adm_01_every_route_refuses_every_token_that_does_not_count() {
    let test = start().await;
    let before = test.app.store.read().await.unwrap().reader().registry().await.unwrap();
    let good = Remote::agent(&test, "operator", "admin:write").await;
    assert_eq!(good.get("/api/v1/users").await.status, StatusCode::OK);
    let unauthorized = StatusCode::UNAUTHORIZED;

    for (method, path) in everything() {
        let request = Request::builder().method(method).uri(&path).body(Body::from("{}")).unwrap();
        let answer = test.send(request).await;
        assert_problem(&answer, unauthorized, "unauthenticated");
        assert_eq!(
            answer.header("www-authenticate"),
            Some(concat!(
                "Bearer scope=\"admin:read\", ",
                "resource_metadata=\"http://127.0.0.1:8080/.well-known/oauth-protected-resource/api/v1\""
            ))
        );
    }
    let with = |token: String| Remote { test: &test, token };
    refused_everywhere(&with("garbage".to_owned()), unauthorized, "unauthenticated").await;

    // The same claims under another key.
    let claims = crate::oauth::actors::claims(&good.token);
    let foreign = SigningKey::from_pkcs8("k".into(), &SigningKey::generate_pkcs8().unwrap()).unwrap();
    let forged = with(foreign.sign(ACCESS_TOKEN_TYPE, &claims).unwrap());
    refused_everywhere(&forged, unauthorized, "unauthenticated").await;

    // One of ours, for a server of the fleet.
    let fields = [("grant_type", "client_credentials"), ("resource", crate::oauth::actors::NOTES)];
    let tokens: Tokens = as_agent(&test, "ci-bot", "/oauth/token", &fields).await.json();
    refused_everywhere(&with(tokens.access_token), unauthorized, "unauthenticated").await;

    let basic = Request::get("/api/v1/users").header(header::AUTHORIZATION, "Basic YTpi");
    assert_problem(&test.send(basic.body(Body::empty()).unwrap()).await, unauthorized, "unauthenticated");
    for path in ["/api/v1", "/api/v1/nothing"] {
        assert_problem(&test.get(path).await, unauthorized, "unauthenticated");
    }

    test.advance(Duration::from_mins(70)).await;
    refused_everywhere(&good, unauthorized, "unauthenticated").await;
    let after = test.app.store.read().await.unwrap().reader().registry().await.unwrap();
    assert_eq!(after, before);
}

#[tokio::test]
async fn adm_01_a_token_of_somebody_without_rights_opens_nothing() {
    let test = start().await;
    let reader = Remote::agent(&test, "reader", "admin:read").await;
    assert_eq!(reader.get("/api/v1/users").await.status, StatusCode::OK);
    // What it carries is more than what the fleet leaves it today.
    test.apply(&fleet().replace("portcullis = [\"admin:read\"] }", "portcullis = [] }")).await.unwrap();
    for (method, path) in everything() {
        let answer = reader.send(method, &path, Some(("application/json", "{}".to_owned()))).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}");
    }
    // And a person without a role for it gets no token.
    test.user("mallory", PASSWORD).await;
    let program = Program::native(&test).await;
    let asking = program.asking().with("resource", Some(ADMIN)).with("scope", Some("admin:read"));
    let mut browser = Browser::new(&test, "mallory", PASSWORD);
    assert_eq!(browser.authorize(&asking).await.error(), "access_denied");
}

#[tokio::test]
async fn pc_45_sessions_on_the_admin_api_are_found_by_its_name() {
    let test = start().await;
    test.user("alice", PASSWORD).await;
    let reader = Remote::agent(&test, "reader", "admin:read").await;
    let page: Value = reader.get("/api/v1/sessions?server=portcullis").await.json();
    let found: Vec<_> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|session| (&session["agent"], &session["server"]))
        .collect();
    assert_eq!(found, [(&json!("reader"), &json!("portcullis"))]);
    // Its owner administers a server, not the admin API.
    let owner = Remote::person(&test, "alice", "admin:read").await;
    assert_eq!(owner.get("/api/v1/sessions?server=notes").await.status, StatusCode::OK);
    assert_eq!(owner.get("/api/v1/sessions?server=portcullis").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn adm_01_too_small_a_scope_is_403_and_names_the_one_that_is_needed() {
    let test = start().await;
    let reader = Remote::agent(&test, "reader", "admin:read").await;
    let auditor = Remote::agent(&test, "auditor", "audit:read").await;
    for (method, path, right) in api::scopes() {
        let path = path.replace(['{', '}'], "");
        for (remote, scope) in [(&reader, "admin:read"), (&auditor, "audit:read")] {
            let answer = remote.send(method, &path, Some(("application/json", "{}".to_owned()))).await;
            if right == Some(scope) {
                assert_ne!(answer.status, StatusCode::FORBIDDEN, "{scope} {method} {path}");
                continue;
            }
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{scope} {method} {path}");
            if let Some(needed) = right {
                assert_problem(&answer, StatusCode::FORBIDDEN, "insufficient_scope");
                let challenge = answer.header("www-authenticate").unwrap();
                assert!(challenge.starts_with("Bearer error=\"insufficient_scope\""), "{challenge}");
                assert!(challenge.contains(&format!("scope=\"{needed}\"")), "{challenge}");
            }
        }
    }
    let mut handle = test.app.store.read().await.unwrap();
    let events = handle.reader().audit_after(0, 10_000).await.unwrap();
    let event =
        events.into_iter().map(|event| event.2).find(|event| event.kind == Kind::AdminRefused).unwrap();
    assert_eq!(event.outcome, Outcome::Refused("insufficient_scope".to_owned()), "ADM-10");
    assert!(matches!(event.actor, Actor::Client(_)));
}

#[tokio::test]
async fn pc_44_the_token_is_in_the_authorization_header_and_nowhere_else() {
    let test = start().await;
    let good = Remote::agent(&test, "operator", "admin:write").await;
    let token = &good.token;
    let ask = async |request: http::request::Builder| test.send(request.body(Body::empty()).unwrap()).await;
    let bearer = format!("Bearer {token}");
    let query = ask(Request::get(format!("/api/v1/users?access_token={token}"))).await;
    assert_problem(&query, StatusCode::BAD_REQUEST, "credentials_misplaced");
    let both = Request::get("/api/v1/users?access_token=x").header(header::AUTHORIZATION, &bearer);
    assert_problem(&ask(both).await, StatusCode::BAD_REQUEST, "credentials_misplaced");
    let twice = Request::get("/api/v1/users").header(header::AUTHORIZATION, &bearer);
    let twice = twice.header(header::AUTHORIZATION, &bearer);
    assert_problem(&ask(twice).await, StatusCode::BAD_REQUEST, "credentials_misplaced");
    let cookie = Request::get("/api/v1/users").header(header::COOKIE, format!("access_token={token}"));
    assert_problem(&ask(cookie).await, StatusCode::UNAUTHORIZED, "unauthenticated");
    let preflight = Request::options("/api/v1/users").header("origin", "https://evil.example");
    let answer = ask(preflight.header("access-control-request-method", "GET")).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).is_none());

    let metadata: Value = test.get("/.well-known/oauth-protected-resource/api/v1").await.json();
    assert_eq!(metadata["resource"], ADMIN);
    assert_eq!(metadata["authorization_servers"], json!(["http://127.0.0.1:8080"]));
    assert_eq!(metadata["scopes_supported"], json!(["admin:read", "admin:write", "audit:read"]));
}

#[tokio::test]
async fn pc_45_a_body_that_takes_its_time_does_not_outlive_its_token() {
    for (revoked, status) in [(false, StatusCode::CREATED), (true, StatusCode::UNAUTHORIZED)] {
        let test = start().await;
        let operator = Remote::agent(&test, "operator", "admin:write").await;
        let (reached, asked_for) = tokio::sync::oneshot::channel();
        let (send, rest) = tokio::sync::oneshot::channel::<()>();
        // The body is asked for when the head has been believed, and comes when the test says so.
        let body = futures_util::stream::once(async move {
            reached.send(()).unwrap();
            rest.await.unwrap();
            Ok::<_, std::convert::Infallible>(json!({ "username": "ghost" }).to_string())
        });
        let request = Request::post("/api/v1/users")
            .header(header::AUTHORIZATION, format!("Bearer {}", operator.token))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from_stream(body))
            .unwrap();
        let meanwhile = async {
            asked_for.await.unwrap();
            if revoked {
                let all = json!({ "kind": "agent", "id": "operator" });
                let answer = Operator::of(&test).json("/api/v1/revocations", &all).await;
                assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
            }
            send.send(()).unwrap();
        };
        let (answer, ()) = tokio::join!(test.send(request), meanwhile);
        assert_eq!(answer.status, status, "{}", answer.text());
        let users = test.app.store.read().await.unwrap().reader().users().await.unwrap();
        assert_eq!(users.iter().any(|user| user.username == "ghost"), !revoked);
    }
}

#[tokio::test]
async fn pc_45_a_revoked_session_ends_at_the_next_request() {
    let test = start().await;
    let good = Remote::agent(&test, "operator", "admin:write").await;
    assert_eq!(good.get("/api/v1/users").await.status, StatusCode::OK);
    let session = crate::oauth::actors::claims(&good.token)["sid"].as_str().unwrap().to_owned();
    let local = Operator::of(&test);
    let path = format!("/api/v1/sessions/{session}");
    let ended = local.send(Request::delete(path).body(Body::empty()).unwrap()).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    assert_problem(&good.get("/api/v1/users").await, StatusCode::UNAUTHORIZED, "unauthenticated");
}

#[tokio::test]
async fn adm_02_a_server_owner_reaches_their_own_servers_and_nothing_else() {
    let test = start().await;
    test.user("alice", PASSWORD).await;
    let alice = Remote::person(&test, "alice", "admin:write audit:read").await;
    let explain = async |remote: &Remote<'_>, server: &str| {
        let question = json!({ "agent": "ci-bot", "server": server, "tool": "list_notes" });
        remote.json("/api/v1/policy/explain", &question).await
    };
    assert_eq!(explain(&alice, "notes").await.status, StatusCode::OK);
    assert_problem(&explain(&alice, "ops").await, StatusCode::NOT_FOUND, "missing");
    assert_problem(&explain(&alice, "nothing").await, StatusCode::NOT_FOUND, "missing");
    // Whom the server gives nothing: they read the same of those who are there, disabled or not, and of those who are not.
    let stranger = async |who: Value| {
        let mut question = json!({ "server": "notes", "tool": "list_notes" });
        question.as_object_mut().unwrap().extend(who.as_object().unwrap().clone());
        let answer = alice.json("/api/v1/policy/explain", &question).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let mut answer: Value = answer.json();
        let says = answer["says"].as_str().unwrap();
        answer["says"] = says.rsplit('"').next().unwrap().into();
        answer
    };
    test.user("zoe", PASSWORD).await;
    for (there, absent) in [
        (json!({ "agent": "auditor" }), json!({ "agent": "nobody-at-all" })),
        (json!({ "user": "zoe" }), json!({ "user": "nobody-at-all" })),
    ] {
        assert_eq!(stranger(there.clone()).await, stranger(absent).await, "{there}");
    }
    for path in
        ["sessions?server=notes&agent", "audit?server=notes&agent", "audit?server=notes&user", "calls?user"]
    {
        for name in ["bo", "ci-bto", "nobody-at-all"] {
            let answer = alice.get(&format!("/api/v1/{path}={name}")).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
            assert_eq!(answer.json::<Value>()["items"], json!([]), "{path}");
        }
    }
    for path in ["/api/v1/users", "/api/v1/agents", "/api/v1/fleet"] {
        assert_problem(&alice.get(path).await, StatusCode::FORBIDDEN, "own_servers_only");
    }
    let answer = alice.apply(&fleet()).await;
    assert_problem(&answer, StatusCode::FORBIDDEN, "own_servers_only");
    let answer = alice.json("/api/v1/users", &json!({ "username": "x" })).await;
    assert_problem(&answer, StatusCode::FORBIDDEN, "own_servers_only");

    // No longer the owner: at the next request, with the same token.
    test.apply(&fleet().replace("owners = [\"alice\", \"bob\"]", "owners = [\"bob\"]")).await.unwrap();
    assert_eq!(explain(&alice, "notes").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn adm_03_rights_on_ones_own_server_do_not_spread_to_what_one_may_only_look_at() {
    let test = start().await;
    test.user("bob", PASSWORD).await;
    // He owns a server (write), and audits everything (read).
    let bob = Remote::person(&test, "bob", "admin:write audit:read").await;
    assert_eq!(bob.get("/api/v1/users").await.status, StatusCode::OK);
    let answer = bob.json("/api/v1/users", &json!({ "username": "x" })).await;
    assert_problem(&answer, StatusCode::FORBIDDEN, "own_servers_only");
    assert_problem(&bob.apply(&fleet()).await, StatusCode::FORBIDDEN, "own_servers_only");
}

#[tokio::test]
async fn adm_03_an_operator_does_not_make_himself_more_by_the_fleet() {
    let test = start().await;
    let operator = Remote::agent(&test, "operator", "admin:write").await;
    let harmless = fleet().replace("Team notes", "Notes of the team");
    assert_eq!(operator.apply(&harmless).await.status, StatusCode::OK);
    let before = test.app.store.read().await.unwrap().reader().registry().await.unwrap();
    for (from, to) in [
        ("portcullis = [\"admin:read\"] }", "portcullis = [\"admin:write\"] }"),
        ("portcullis = [\"admin:write\"] }", "portcullis = [\"admin:write\", \"audit:read\"] }"),
        ("access = { notes = [\"notes:read\"] }", "access = { portcullis = [\"admin:read\"] }"),
        ("members = { users = [\"bob\"] }", "members = { users = [\"bob\", \"mallory\"] }"),
        ("owners = [\"alice\", \"bob\"]", "owners = [\"alice\", \"bob\", \"mallory\"]"),
    ] {
        assert!(harmless.contains(from));
        let answer = operator.apply(&harmless.replacen(from, to, 1)).await;
        assert_problem(&answer, StatusCode::FORBIDDEN, "owners_only");
    }
    let elsewhere = harmless.replace("@DATA@/ci-bot.json", "@DATA@/elsewhere.json");
    assert_problem(&operator.apply(&elsewhere).await, StatusCode::FORBIDDEN, "files_named");
    assert!(!test.file("elsewhere").exists());
    let after = test.app.store.read().await.unwrap().reader().registry().await.unwrap();
    assert_eq!(after, before);
    // On the machine itself it is done.
    let local = Operator::of(&test);
    let wider =
        harmless.replace("members = { users = [\"bob\"] }", "members = { users = [\"bob\", \"mallory\"] }");
    let whole = wider.replace("@DATA@", &test.folder.path().display().to_string());
    assert_eq!(local.toml("/api/v1/fleet/apply", &whole, None).await.status, StatusCode::OK);
}

#[tokio::test]
async fn adm_03_a_plan_says_what_its_apply_would_be_refused_for() {
    let test = start().await;
    let operator = Remote::agent(&test, "operator", "admin:write").await;
    let wider = fleet().replacen("portcullis = [\"admin:read\"] }", "portcullis = [\"admin:write\"] }", 1);
    let elsewhere = wider.replace("@DATA@/ci-bot.json", "@DATA@/elsewhere.json");
    let whole = elsewhere.replace("@DATA@", &test.folder.path().display().to_string());
    let plan = Some(("application/toml", whole.clone()));
    let planned: Value = operator.send("POST", "/api/v1/fleet/plan", plan).await.json();
    let owner = "agent reader: its access to portcullis, or how it is had";
    assert_eq!(planned["needs_owner"], json!([owner]));
    assert_eq!(planned["needs_machine"], json!(["agent ci-bot"]));
    let refused = operator.apply(&elsewhere).await;
    assert_problem(&refused, StatusCode::FORBIDDEN, "owners_only");
    assert!(refused.text().contains(owner));
    // Somebody on the machine may do all of it.
    let planned: Value = Operator::of(&test).toml("/api/v1/fleet/plan", &whole, None).await.json();
    assert_eq!((&planned["needs_owner"], &planned["needs_machine"]), (&json!([]), &json!([])));
}

#[tokio::test]
async fn adm_04_members_that_nobody_may_set_are_refused_over_the_door_too() {
    let test = start().await;
    let operator = Remote::agent(&test, "operator", "admin:write").await;
    let dave = operator.json("/api/v1/users", &json!({ "username": "dave" })).await;
    assert_eq!(dave.status, StatusCode::CREATED);
    for (name, value) in [
        ("id", json!("00000000000000000000000000")),
        ("is_admin", json!(true)),
        ("role", json!("portcullis-owner")),
        ("roles", json!(["portcullis-owner"])),
        ("tenant_id", json!("x")),
        ("password", json!("x")),
        ("must_change", json!(false)),
    ] {
        for (method, path, mut body) in [
            ("POST", "/api/v1/users", json!({ "username": "erin" })),
            ("PATCH", "/api/v1/users/dave", json!({ "groups": ["eng"] })),
            ("POST", "/api/v1/agents/ci-bot/rotate", json!({ "overlap_seconds": 60 })),
            ("POST", "/api/v1/revocations", json!({ "kind": "user", "id": "dave" })),
        ] {
            if body.get(name).is_some() {
                continue;
            }
            body[name] = value.clone();
            let answer = operator.send(method, path, Some(("application/json", body.to_string()))).await;
            assert_problem(&answer, StatusCode::BAD_REQUEST, "malformed");
        }
    }
    assert_eq!(operator.get("/api/v1/users/erin").await.status, StatusCode::NOT_FOUND);
    let dave: Value = operator.get("/api/v1/users/dave").await.json();
    assert_eq!((&dave["groups"], &dave["admin"]), (&json!([]), &json!(false)));
}

#[tokio::test]
async fn pc_04_only_the_admin_api_is_told_who_administers() {
    let test = start().await;
    test.user("alice", PASSWORD).await;
    let roles = |token: &str| crate::oauth::actors::claims(token)["roles"].clone();
    // She owns a server, and is in the team.
    let ours = Remote::person(&test, "alice", "admin:write").await;
    assert_eq!(roles(&ours.token), json!(["team", "portcullis-server-owner"]));
    let program = Program::native(&test).await;
    let theirs = program.tokens(&mut Browser::new(&test, "alice", PASSWORD)).await;
    assert_eq!(roles(&theirs.access_token), json!(["team"]));
}

#[tokio::test]
async fn adm_03_an_operator_does_not_become_somebody_with_more() {
    let test = start().await;
    for name in ["alice", "bob", "carol"] {
        test.user(name, PASSWORD).await;
    }
    let local = Operator::of(&test);
    let root = local.json("/api/v1/users", &json!({ "username": "root", "admin": true })).await;
    assert_eq!(root.status, StatusCode::CREATED);
    let operator = Remote::agent(&test, "operator", "admin:write").await;
    let owners_only = |answer: &Answer| assert_problem(answer, StatusCode::FORBIDDEN, "owners_only");

    // An administrator, an auditor, an owner of a server: their passwords and their accounts.
    for name in ["root", "bob", "alice"] {
        owners_only(&operator.json(&format!("/api/v1/users/{name}/password"), &json!({})).await);
        owners_only(&operator.send("DELETE", &format!("/api/v1/users/{name}"), None).await);
        let end = json!({ "kind": "user", "id": name });
        owners_only(&operator.json("/api/v1/revocations", &end).await);
    }
    let end = json!({ "kind": "user", "id": "carol" });
    assert_eq!(operator.json("/api/v1/revocations", &end).await.status, StatusCode::OK);
    for group in ["\u{202e}gne", "e\u{200b}ng", "\u{2066}eng"] {
        let new = json!({ "username": "turned", "groups": [group] });
        assert_eq!(operator.json("/api/v1/users", &new).await.status, StatusCode::BAD_REQUEST);
        let edit = json!({ "groups": [group] });
        let edited =
            operator.send("PATCH", "/api/v1/users/carol", Some(("application/json", edit.to_string()))).await;
        assert_eq!(edited.status, StatusCode::BAD_REQUEST, "{}", edited.text());
    }
    let carol = operator.json("/api/v1/users/carol/password", &json!({})).await;
    assert_eq!(carol.status, StatusCode::OK, "who administers nothing");
    // Somebody new who would be one.
    owners_only(&operator.json("/api/v1/users", &json!({ "username": "x", "admin": true })).await);
    let dave = operator.json("/api/v1/users", &json!({ "username": "dave", "groups": ["eng"] })).await;
    assert_eq!(dave.status, StatusCode::CREATED);
    // The secret of an agent that administers.
    for agent in ["auditor", "operator"] {
        owners_only(&operator.json(&format!("/api/v1/agents/{agent}/rotate"), &json!({})).await);
    }
    let rotated = operator.json("/api/v1/agents/ci-bot/rotate", &json!({})).await;
    assert_eq!(rotated.status, StatusCode::OK, "{}", rotated.text());
}

#[tokio::test]
async fn adm_03_names_and_groups_that_will_administer_are_not_for_operators_to_take() {
    let group = fleet()
        .replace("members = { users = [\"bob\"] }", "members = { group = \"audit\", users = [\"bob\"] }");
    let test = TestApp::start_with("registration.dynamic = true", &group).await;
    let operator = Remote::agent(&test, "operator", "admin:write").await;
    for user in [
        // Named in a role, in a server's owners, and by group; none of them has an account yet.
        json!({ "username": "bob" }),
        json!({ "username": "alice" }),
        json!({ "username": "x", "groups": ["audit"] }),
    ] {
        let answer = operator.json("/api/v1/users", &user).await;
        assert_problem(&answer, StatusCode::FORBIDDEN, "owners_only");
    }
}

#[tokio::test]
async fn pc_63_an_administrator_does_everything_from_elsewhere_but_name_files() {
    let test = start().await;
    let local = Operator::of(&test);
    let answer = local.json("/api/v1/users", &json!({ "username": "root", "admin": true })).await;
    let password = answer.json::<Value>()["password"].as_str().unwrap().to_owned();
    let user = test.app.store.read().await.unwrap().reader().user_by_name("root").await.unwrap().unwrap();
    drop(password);
    // As if they had chosen one.
    let mut rng = test.app.entropy.rng();
    let presented = portcullis_oauth::token::Presented::new(PASSWORD);
    let hash = test.app.passwords.hash(presented, &mut rng).await.unwrap();
    let event =
        portcullis_domain::audit::Event::new(Kind::PasswordSet, Outcome::Allowed, Actor::User(user.id));
    let written =
        test.app.store.write(test.app.clock.now(), (user.id, hash, event), |(user, hash, event), tx| {
            Box::pin(async move {
                tx.set_password(*user, hash).await?;
                tx.record(event, ()).await
            })
        });
    written.await.unwrap();

    let root = Remote::person(&test, "root", "admin:write").await;
    let wider = fleet().replace("portcullis = [\"admin:read\"] }", "portcullis = [\"admin:write\"] }");
    assert_eq!(root.apply(&wider).await.status, StatusCode::OK);
    let answer = root.json("/api/v1/users", &json!({ "username": "second", "admin": true })).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let elsewhere = wider.replace("@DATA@/ci-bot.json", "@DATA@/elsewhere.json");
    assert_problem(&root.apply(&elsewhere).await, StatusCode::FORBIDDEN, "files_named");

    // With a token for looking only, an administrator looks.
    let looking = Remote::person(&test, "root", "admin:read").await;
    assert_eq!(looking.get("/api/v1/users").await.status, StatusCode::OK);
    let answer = looking.json("/api/v1/users", &json!({ "username": "third", "admin": true })).await;
    assert_problem(&answer, StatusCode::FORBIDDEN, "insufficient_scope");
}

#[tokio::test]
async fn adm_05_the_admin_api_cannot_be_declared_or_introspected_and_its_roles_are_taken() {
    let test = start().await;
    for (from, to, word) in [
        ("name = \"ops\"", "name = \"portcullis\"", "portcullis"),
        ("name = \"team\"", "name = \"portcullis-owner\"", "already"),
        ("introspects = [\"notes\", \"ops\"]", "introspects = [\"portcullis\"]", "itself"),
        ("portcullis = [\"admin:read\"] }", "portcullis = [\"admin:all\"] }", "admin:all"),
    ] {
        let problems = test.fleet(&fleet().replace(from, to)).unwrap_err();
        assert!(problems.iter().any(|problem| problem.says.contains(word)), "{problems:?}");
    }
    let export = Operator::of(&test).get("/api/v1/fleet").await;
    assert!(!export.text().contains("name = \"portcullis\""));
    assert!(export.text().contains("portcullis = [\"admin:read\"]"));
}

#[tokio::test]
async fn pc_63_the_openapi_document_names_every_route_and_is_for_everybody() {
    let test = start().await;
    let public = test.get("/api/openapi.json").await;
    assert_eq!(public.status, StatusCode::OK);
    let document: Value = public.json();
    assert_eq!(document, Operator::of(&test).get("/api/openapi.json").await.json::<Value>());
    assert_eq!(document["openapi"], "3.1.0");
    for (method, path, scope) in api::scopes() {
        let operation = &document["paths"][path][method.to_ascii_lowercase()];
        assert!(operation["summary"].is_string(), "{method} {path}");
        let named: Value = operation["security"][0]["token"].clone();
        assert_eq!(named, scope.map_or(json!([]), |scope| json!([scope])), "{method} {path}");
        let variables = path.matches('{').count();
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        assert_eq!(
            parameters.iter().filter(|parameter| parameter["in"] == "path").count(),
            variables,
            "{path}"
        );
    }
    let whole = public.text();
    let known = document["components"]["schemas"].as_object().unwrap();
    for reference in whole.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(known.contains_key(name), "{name}");
    }
}

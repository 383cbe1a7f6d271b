//! PC-45, kind by kind: what is revoked is refused by the gateway, by introspection, by renewal and by redemption, when the
//! answer comes; what has nothing to do with it goes on.

use super::{Operator, assert_problem};
use crate::app::{Answer, TestApp};
use crate::oauth::actors::{Browser, NOTES, Program, Tokens, as_agent, is_active};
use axum::body::Body;
use http::{Request, StatusCode};
use portcullis_domain::audit::{Event, Kind, Outcome};
use serde_json::{Value, json};
use std::time::Duration;

const REVOCATIONS: &str = "/api/v1/revocations";

/// Alice through a program, and an agent, each with what they have.
struct Scene<'t> {
    test: &'t TestApp,
    operator: Operator,
    program: Program,
    browser: Browser<'t>,
    tokens: Tokens,
    /// Not redeemed yet.
    code: String,
    agent: Value,
}

/// What still works.
#[derive(Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "five things that work or do not")]
struct Works {
    /// Alice's access token.
    token: bool,
    /// Its renewal.
    refresh: bool,
    /// Her code.
    code: bool,
    /// Her browser.
    browser: bool,
    /// The agent's access token.
    agent: bool,
}

const ALL: Works = Works { token: true, refresh: true, code: true, browser: true, agent: true };

impl<'t> Scene<'t> {
    async fn set(test: &'t TestApp) -> Self {
        let program = Program::native(test).await;
        let mut browser = Browser::of_alice(test).await;
        let code = browser.code(&program.asking()).await;
        let tokens: Tokens = program.redeem(test, &code).await.json();
        let code = browser.code(&program.asking()).await;
        let machine = [("grant_type", "client_credentials"), ("resource", NOTES)];
        let agent: Value = as_agent(test, "ci-bot", "/oauth/token", &machine).await.json();
        let scene = Self { test, operator: Operator::of(test), program, browser, tokens, code, agent };
        assert_eq!(scene.at_the_gateway(&scene.tokens.access_token).await, StatusCode::BAD_GATEWAY);
        assert_eq!(scene.at_the_gateway(scene.agent_token()).await, StatusCode::BAD_GATEWAY);
        scene
    }

    fn agent_token(&self) -> &str {
        self.agent["access_token"].as_str().unwrap()
    }

    /// The upstream is down, so a call that may go on ends there.
    async fn at_the_gateway(&self, token: &str) -> StatusCode {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": { "name": "list_notes", "arguments": {} } });
        let request = Request::post("/mcp/notes")
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-11-25");
        self.test.send(request.body(call.to_string().into()).unwrap()).await.status
    }

    async fn is_served(&self, token: &str) -> bool {
        let is_served = match self.at_the_gateway(token).await {
            StatusCode::BAD_GATEWAY => true,
            StatusCode::UNAUTHORIZED => false,
            other => panic!("{other}"),
        };
        assert_eq!(is_active(self.test, token).await, is_served, "introspection says the same");
        is_served
    }

    async fn works(mut self) -> Works {
        let token = self.is_served(&self.tokens.access_token).await;
        let agent = self.is_served(self.agent_token()).await;
        let refreshed = self.program.refresh(self.test, self.tokens.refresh_token.as_ref().unwrap()).await;
        let redeemed = self.program.redeem(self.test, &self.code).await;
        let browser = self.browser.get("/account").await.status == StatusCode::OK;
        let good = |answer: &Answer| answer.status == StatusCode::OK;
        Works { token, refresh: good(&refreshed), code: good(&redeemed), browser, agent }
    }

    async fn revoke(&self, body: Value) -> Value {
        let answer = self.operator.json(REVOCATIONS, &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{body}: {}", answer.text());
        answer.json()
    }
}

async fn last_event(test: &TestApp) -> Event {
    let mut handle = test.app.store.read().await.unwrap();
    handle.reader().audit_after(0, 10_000).await.unwrap().pop().unwrap().2
}

async fn delete(operator: &Operator, path: &str) -> Answer {
    operator.send(Request::delete(path).body(Body::empty()).unwrap()).await
}

async fn grant_of(scene: &Scene<'_>) -> String {
    let listed: Value = scene.operator.get("/api/v1/grants?user=alice").await.json();
    listed["items"][0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn pc_45_before_a_revocation_all_of_it_works() {
    let test = TestApp::start().await;
    assert_eq!(Scene::set(&test).await.works().await, ALL);
}

#[tokio::test]
async fn pc_45_a_revoked_token_ends_alone() {
    let test = TestApp::start().await;
    let scene = Scene::set(&test).await;
    let claims = crate::oauth::actors::claims(&scene.tokens.access_token);
    let ended = scene.revoke(json!({ "kind": "token", "id": claims["jti"] })).await;
    assert_eq!(ended, json!({ "sessions": 0, "grants": 0 }));
    assert_eq!(scene.works().await, Works { token: false, ..ALL });
}

#[tokio::test]
async fn pc_45_a_revoked_session_ends_with_its_renewal() {
    let test = TestApp::start().await;
    let scene = Scene::set(&test).await;
    let ended = scene.revoke(json!({ "kind": "session", "id": scene.tokens.session_id })).await;
    assert_eq!(ended, json!({ "sessions": 1, "grants": 0 }));
    assert_eq!(scene.works().await, Works { token: false, refresh: false, ..ALL });
}

#[tokio::test]
async fn pc_45_a_revoked_grant_ends_with_its_sessions_and_codes() {
    let test = TestApp::start().await;
    let scene = Scene::set(&test).await;
    let grant = grant_of(&scene).await;
    assert_eq!(
        delete(&scene.operator, &format!("/api/v1/grants/{grant}")).await.status,
        StatusCode::NO_CONTENT
    );
    let event = last_event(&test).await;
    assert_eq!((event.kind, event.detail["ended.sessions"].as_str()), (Kind::TokenRevoked, "1"));
    let again = delete(&scene.operator, &format!("/api/v1/grants/{grant}")).await;
    assert_problem(&again, StatusCode::NOT_FOUND, "missing");
    assert_eq!(last_event(&test).await.outcome, Outcome::Refused("nothing_to_end".to_owned()), "ADM-10");
    assert_eq!(scene.works().await, Works { token: false, refresh: false, code: false, ..ALL });
}

#[tokio::test]
async fn pc_45_a_revoked_client_ends_with_all_that_people_gave_it() {
    let test = TestApp::start().await;
    let scene = Scene::set(&test).await;
    let ended = scene.revoke(json!({ "kind": "client", "id": scene.program.id })).await;
    assert_eq!(ended, json!({ "sessions": 1, "grants": 1 }));
    let shown: Value = scene.operator.get(&format!("/api/v1/clients/{}", scene.program.id)).await.json();
    assert_eq!(shown["removed"], false, "it stays registered");
    assert_eq!(scene.works().await, Works { token: false, refresh: false, code: false, ..ALL });
}

#[tokio::test]
async fn adm_06_a_removed_client_ends_and_is_gone() {
    let test = TestApp::start().await;
    let scene = Scene::set(&test).await;
    let path = format!("/api/v1/clients/{}", scene.program.id);
    let answer = delete(&scene.operator, &path).await;
    assert_eq!(answer.json::<Value>(), json!({ "sessions": 1, "grants": 1 }));
    assert_eq!(last_event(&test).await.kind, Kind::ClientRemoved);
    assert_problem(&delete(&scene.operator, &path).await, StatusCode::NOT_FOUND, "missing");
    let agents: Value = scene.operator.get("/api/v1/clients?kind=agent").await.json();
    let of_agent = format!("/api/v1/clients/{}", agents["items"][0]["id"].as_str().unwrap());
    assert_problem(&delete(&scene.operator, &of_agent).await, StatusCode::CONFLICT, "conflict");
    let listed: Value = scene.operator.get("/api/v1/clients?kind=self_registered").await.json();
    assert_eq!(listed, json!({ "items": [] }));
    assert_eq!(scene.works().await, Works { token: false, refresh: false, code: false, ..ALL });
}

#[tokio::test]
async fn pc_45_a_revoked_agent_asks_again() {
    let test = TestApp::start().await;
    let scene = Scene::set(&test).await;
    let ended = scene.revoke(json!({ "kind": "agent", "id": "ci-bot" })).await;
    assert_eq!(ended, json!({ "sessions": 1, "grants": 0 }));
    test.advance(Duration::from_secs(1)).await;
    let machine = [("grant_type", "client_credentials"), ("resource", NOTES)];
    let again: Value = as_agent(&test, "ci-bot", "/oauth/token", &machine).await.json();
    assert!(scene.is_served(again["access_token"].as_str().unwrap()).await, "it stays registered");
    assert_eq!(scene.works().await, Works { agent: false, ..ALL });
}

#[tokio::test]
async fn pc_45_a_revoked_user_is_signed_out_everywhere() {
    let test = TestApp::start().await;
    let scene = Scene::set(&test).await;
    let ended = scene.revoke(json!({ "kind": "user", "id": "alice" })).await;
    assert_eq!(ended, json!({ "sessions": 1, "grants": 1 }));
    let event = last_event(&test).await;
    assert_eq!((event.detail["revoked"].as_str(), event.detail["user.name"].as_str()), ("user", "alice"));
    let nothing = Works { token: false, refresh: false, code: false, browser: false, agent: true };
    assert_eq!(scene.works().await, nothing);
}

#[tokio::test]
async fn pc_45_a_revoked_server_ends_everybody_there() {
    let test = TestApp::start().await;
    let scene = Scene::set(&test).await;
    let ended = scene.revoke(json!({ "kind": "server", "id": "notes" })).await;
    assert_eq!(ended, json!({ "sessions": 2, "grants": 1 }));
    assert_eq!(scene.works().await, Works { token: false, refresh: false, code: false, agent: false, ..ALL });
}

#[tokio::test]
async fn pc_45_revoke_all_ends_all_and_nobody_is_locked_out() {
    let test = TestApp::start().await;
    let scene = Scene::set(&test).await;
    let ended = scene.revoke(json!({ "kind": "all" })).await;
    assert_eq!(ended, json!({ "sessions": 2, "grants": 0 }));
    assert_eq!(
        scene.works().await,
        Works { token: false, refresh: false, code: false, browser: false, agent: false }
    );
    test.advance(Duration::from_secs(1)).await;
    let scene = Scene::anew(&test).await;
    assert!(scene, "people sign in again, and agents ask again");
}

impl Scene<'_> {
    /// Whether an agent gets what works now.
    async fn anew(test: &TestApp) -> bool {
        let machine = [("grant_type", "client_credentials"), ("resource", NOTES)];
        let again: Value = as_agent(test, "ci-bot", "/oauth/token", &machine).await.json();
        let mut browser = Browser::new(test, "alice", crate::oauth::actors::PASSWORD).signed_in().await;
        is_active(test, again["access_token"].as_str().unwrap()).await
            && browser.get("/account").await.status == StatusCode::OK
    }
}

#[tokio::test]
async fn pc_63_what_is_not_there_is_said_with_what_may_have_been_meant() {
    let test = TestApp::start().await;
    test.user("alice", "alice has a long password").await;
    let operator = Operator::of(&test);
    for (kind, id, says) in [
        ("agent", "ci-bt", "there is no agent \"ci-bt\"; did you mean \"ci-bot\"?"),
        ("server", "note", "did you mean \"notes\"?"),
        ("user", "alcie", "did you mean \"alice\"?"),
        ("user", "somebody-else", "there is no user \"somebody-else\""),
        ("session", "x", "there is no live session"),
        ("grant", "grt_00000000000000000000000000000000", "there is no grant"),
        ("client", "cli_none", "there is no client"),
        ("token", "x", "there is no token"),
    ] {
        let answer = operator.json(REVOCATIONS, &json!({ "kind": kind, "id": id })).await;
        assert_problem(&answer, StatusCode::NOT_FOUND, "missing");
        assert!(answer.text().replace("\\\"", "\"").contains(says), "{}", answer.text());
    }
    for bad in [
        json!({}),
        json!({ "kind": "everything" }),
        json!({ "kind": "user" }),
        json!({ "kind": "removal", "id": "cli_1" }),
        json!({ "kind": "user", "id": "alice", "all": true }),
    ] {
        assert_problem(&operator.json(REVOCATIONS, &bad).await, StatusCode::BAD_REQUEST, "malformed");
    }
}

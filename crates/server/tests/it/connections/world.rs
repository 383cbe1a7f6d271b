//! Two deployments: ours, and the third party with its own people, whose server says who calls it.

use crate::app::{Answer, TestApp, form};
use crate::oauth::actors::{Browser, Program, challenge, flow_of, is_consent, is_sign_in, native};
use crate::upstream::Upstream;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request as Incoming, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::{Request, StatusCode};
use portcullis_domain::audit::Kind;
use portcullis_server::listener::Answers as _;
use portcullis_store::testing::TestDatabase;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) const OURS: &str = "http://127.0.0.1:8080";
pub(crate) const PASSWORD: &str = "a password that is long";

/// What the third party was asked, and what it is to say instead of its own answers.
#[derive(Default)]
pub(crate) struct Wire {
    /// Method and path of every request.
    pub(crate) asked: Vec<String>,
    /// A path, and what is answered there.
    pub(crate) instead: Vec<(String, StatusCode, Value)>,
    /// Paths whose answers are lost on the way, after the third party did what was asked.
    pub(crate) lost: Vec<String>,
}

pub(crate) struct World {
    pub(crate) ours: TestApp,
    pub(crate) third: TestApp,
    /// Its address.
    pub(crate) there: String,
    pub(crate) wire: Arc<Mutex<Wire>>,
    pub(crate) program: Program,
    /// Ours.
    pub(crate) fleet: String,
}

/// A person with an account here and one there, and a program that has a token of ours for them.
pub(crate) struct Person<'w> {
    pub(crate) world: &'w World,
    pub(crate) here: Browser<'w>,
    pub(crate) there: Browser<'w>,
    pub(crate) token: String,
}

async fn listen() -> (tokio::net::TcpListener, String) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    (listener, address)
}

async fn between(State(wire): State<Arc<Mutex<Wire>>>, request: Incoming, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let instead = {
        let mut wire = wire.lock().unwrap();
        wire.asked.push(format!("{} {path}", request.method()));
        wire.instead.iter().find(|(there, ..)| *there == path).cloned()
    };
    if let Some((_, status, body)) = instead {
        let response = Response::builder().status(status).header("content-type", "application/json");
        return response.body(Body::from(body.to_string())).unwrap();
    }
    let answer = next.run(request).await;
    if wire.lock().unwrap().lost.contains(&path) {
        return Response::builder().status(StatusCode::BAD_GATEWAY).body(Body::empty()).unwrap();
    }
    answer
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with("per_user = {}").await
    }

    /// With another `credential`.
    pub(crate) async fn with(credential: &str) -> Self {
        let (_, upstream) = Upstream::start(&[("whoami", "Says who calls.")]).await;
        let (door, there) = listen().await;
        let config = format!("registration.dynamic = true\npublic_url = {there:?}\n");
        let folder = tempfile::tempdir().unwrap();
        let third = TestApp::open(&config, TestDatabase::create().await, folder).await;
        third.apply(&fleet("Tracker", &upstream, "\"assertion\"")).await.unwrap();
        let wire: Arc<Mutex<Wire>> = Arc::default();
        let front = third.front.clone();
        let router =
            Router::new().fallback(async move |request: Request<Body>| front.answer(request, None).await);
        let router = router.layer(from_fn_with_state(Arc::clone(&wire), between));
        tokio::spawn(async move { axum::serve(door, router).await });

        let config = "registration.dynamic = true\nregistration.internal_hosts = [\"127.0.0.1\"]";
        let folder = tempfile::tempdir().unwrap();
        let ours = TestApp::open(config, TestDatabase::create().await, folder).await;
        let credential = format!("{{ {} }}", credential.replace("@THERE@", &there));
        let fleet = fleet("Issue tracker", &format!("{there}/mcp/tracker"), &credential);
        ours.apply(&fleet).await.unwrap();
        let program = Program::registered(&ours, &native("Inspector")).await;
        Self { ours, third, there, wire, program, fleet }
    }

    pub(crate) async fn person(&self, name: &str) -> Person<'_> {
        for test in [&self.ours, &self.third] {
            test.user(name, PASSWORD).await;
        }
        let mut here = Browser::new(&self.ours, name, PASSWORD);
        let token = self.token(&mut here).await;
        Person { world: self, here, there: Browser::new(&self.third, name, PASSWORD), token }
    }

    /// A token of ours for the tracker.
    pub(crate) async fn token(&self, browser: &mut Browser<'_>) -> String {
        let asking = self.program.asking().with("resource", Some("http://127.0.0.1:8080/mcp/tracker"));
        let asking = asking.with("scope", Some("tracker:read")).with("code_challenge", Some(&challenge()));
        let code = browser.code(&asking).await;
        let answer = self.program.redeem(&self.ours, &code).await;
        answer.json::<Value>()["access_token"].as_str().unwrap().to_owned()
    }

    pub(crate) fn asked(&self, what: &str) -> usize {
        self.wire.lock().unwrap().asked.iter().filter(|asked| *asked == what).count()
    }

    pub(crate) async fn advance(&self, by: Duration) {
        self.ours.advance(by).await;
        self.third.advance(by).await;
    }

    /// How many records of ours are of this kind.
    pub(crate) async fn recorded(&self, kind: Kind) -> usize {
        let records =
            self.ours.app.store.read().await.unwrap().reader().audit_after(0, 10_000).await.unwrap();
        records.iter().filter(|(_, _, event)| event.kind == kind).count()
    }
}

/// One server, which everybody with the role may use, through any client.
fn fleet(title: &str, upstream: &str, credential: &str) -> String {
    format!(
        r#"
[[server]]
name = "tracker"
title = "{title}"
upstream = {{ url = "{upstream}" }}
credential = {credential}
pinning = "off"
default_scopes = ["tracker:read"]
[server.scopes]
"tracker:read" = "Read issues"
[[server.rule]]
tools = ["whoami"]
scopes = ["tracker:read"]

[[agent]]
name = "ci-bot"
owner = "platform"
credential = {{ secret = {{ deliver = "file:@DATA@/ci-bot.json" }} }}
access = {{ tracker = ["tracker:read"] }}

[[role]]
name = "team"
members = {{ users = ["alice", "bob"] }}
access = {{ tracker = ["tracker:read"] }}

[self_registered]
access = {{ tracker = ["tracker:read"] }}
"#
    )
}

/// The path of an address of `origin`.
pub(crate) fn path_at<'a>(address: &'a str, origin: &str) -> &'a str {
    address.strip_prefix(origin).unwrap_or_else(|| panic!("{address} is not at {origin}"))
}

impl Person<'_> {
    /// The page that offers to connect.
    pub(crate) async fn look(&mut self) -> Answer {
        self.here.get("/connect/tracker").await
    }

    /// The address to which the form of the page leads.
    pub(crate) async fn set_out(&mut self) -> String {
        let page = self.look().await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text());
        let answer = self.here.post("/connect/tracker", &[("flow", &flow_of(&page))]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
        answer.header("location").unwrap().to_owned()
    }

    /// Signs in and agrees at the third party; the address to which that leads back.
    pub(crate) async fn agree_there(&mut self, address: &str) -> String {
        let origin = self.world.there.clone();
        let mut answer = self.there.get(path_at(address, &origin)).await;
        for _ in 0..6 {
            if let Some(location) = answer.header("location") {
                if !location.starts_with(&origin) {
                    return location.to_owned();
                }
                let path = path_at(location, &origin).to_owned();
                answer = self.there.get(&path).await;
            } else if is_sign_in(&answer) {
                answer = self.there.sign_in(&answer).await;
            } else if is_consent(&answer) {
                answer = self.there.decide(&answer, "approve").await;
            } else {
                panic!("{} {}", answer.status, answer.text());
            }
        }
        panic!("it does not end");
    }

    pub(crate) async fn come_back(&mut self, address: &str) -> Answer {
        self.here.get(path_at(address, OURS)).await
    }

    /// All the way.
    pub(crate) async fn connect(&mut self) {
        let address = self.set_out().await;
        let back = self.agree_there(&address).await;
        let page = self.come_back(&back).await;
        assert!(page.text().contains("<h1>Connected</h1>"), "{} {}", page.status, page.text());
    }

    pub(crate) async fn disconnect(&mut self) {
        let page = self.here.get("/connect").await;
        let answer = self.here.post("/connect", &[("flow", &flow_of(&page))]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
    }

    pub(crate) async fn call(&self) -> Answer {
        call(&self.world.ours, &self.token, json!({})).await
    }

    /// Who the third party's server says that calls.
    pub(crate) async fn who(&self) -> Option<String> {
        let answer = message(&self.call().await);
        answer["result"]["content"][0]["text"].as_str().map(str::to_owned)
    }

    /// The id of this person there.
    pub(crate) async fn id_there(&self) -> String {
        let mut handle = self.world.third.app.store.read().await.unwrap();
        handle.reader().user_by_name(&self.here.username).await.unwrap().unwrap().id.to_string()
    }
}

/// The JSON-RPC message of an answer, which may come as an event.
fn message(answer: &Answer) -> Value {
    let data = answer.text().lines().filter_map(|line| line.strip_prefix("data:"));
    let data = { data }.rfind(|data| !data.trim().is_empty());
    serde_json::from_str(data.unwrap_or(answer.text())).unwrap()
}

/// A call of the tool in the stateless revision, by a client with these capabilities.
pub(crate) async fn call(test: &TestApp, token: &str, capabilities: Value) -> Answer {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    });
    let params = json!({ "name": "whoami", "arguments": {}, "_meta": meta });
    let body = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params });
    let request = Request::post("/mcp/tracker")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", "whoami");
    test.send(request.body(Body::from(body.to_string())).unwrap()).await
}

/// The same in the revisions with sessions.
pub(crate) async fn call_in_session(test: &TestApp, token: &str) -> Answer {
    let params = json!({ "name": "whoami", "arguments": {} });
    let body = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params });
    let request = Request::post("/mcp/tracker")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2025-11-25");
    test.send(request.body(Body::from(body.to_string())).unwrap()).await
}

/// A form of another page, as another site would send it.
pub(crate) fn from_elsewhere(path: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let mut request = form(path, fields);
    request.headers_mut().insert("sec-fetch-site", "cross-site".parse().unwrap());
    request
}

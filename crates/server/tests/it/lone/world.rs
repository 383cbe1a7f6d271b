//! A control room behind a wire that can be cut, an upstream that remembers, and gateways in folders of their own.

use crate::api::Operator;
use crate::app::{START, TestApp};
use crate::oauth::actors::as_agent;
use crate::upstream::Upstream;
use axum::Router;
use axum::body::{Body, to_bytes};
use http::{Request, StatusCode};
use portcullis_oauth::time::Timestamp;
use portcullis_server::app::App;
use portcullis_server::clock::Clock;
use portcullis_server::config::{Config, Options, Role};
use portcullis_server::entropy::Entropy;
use portcullis_server::listener::{Answers, Bounds, Listener};
use portcullis_server::lone::{Claim, Identity, Lone, LoneError};
use portcullis_server::router::front;
use portcullis_store::testing::TestDatabase;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Two servers at one upstream, and an agent that may read both.
const FLEET: &str = r#"
[[server]]
name = "notes"
upstream = { url = "@UPSTREAM@" }
default_scopes = ["notes:read"]
[server.scopes]
"notes:read" = "Read notes"
"notes:write" = "Change notes"
[[server.rule]]
tools = ["list_notes"]
scopes = ["notes:read"]
[[server.rule]]
tools = ["create_note"]
scopes = ["notes:write"]

[[server]]
name = "other"
upstream = { url = "@UPSTREAM@" }
default_scopes = ["notes:read"]
[server.scopes]
"notes:read" = "Read notes"
[[server.rule]]
tools = ["list_notes"]
scopes = ["notes:read"]

[[agent]]
name = "ci-bot"
owner = "platform"
credential = { secret = { deliver = "file:@DATA@/ci-bot.json" } }
access = { notes = ["notes:read"], other = ["notes:read"] }
"#;

/// Asks until it is so; nothing else tells when another task has come that far.
pub(super) async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), asking).await.expect("it never came to that");
}

/// What lies between the gateways and the control room.
#[derive(Clone)]
pub(super) struct Wire {
    /// Bytes towards gateways after which a connection breaks; none: it holds.
    budget: Arc<Mutex<Option<usize>>>,
    broken: Arc<AtomicUsize>,
}

impl Wire {
    fn lay(listener: TcpListener, to: Arc<Mutex<std::net::SocketAddr>>) -> Self {
        let wire = Self { budget: Arc::default(), broken: Arc::default() };
        let laid = wire.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (wire, to) = (laid.clone(), *to.lock().unwrap());
                tokio::spawn(async move {
                    if let Ok(far) = TcpStream::connect(to).await {
                        wire.carry(near, far).await;
                    }
                });
            }
        });
        wire
    }

    async fn carry(&self, near: TcpStream, far: TcpStream) {
        let (mut near_in, mut near_out) = near.into_split();
        let (mut far_in, mut far_out) = far.into_split();
        let up = async { tokio::io::copy(&mut near_in, &mut far_out).await };
        let down = async {
            let mut piece = [0; 1024];
            while let Ok(length @ 1..) = far_in.read(&mut piece).await {
                let left = {
                    let mut budget = self.budget.lock().unwrap();
                    let left = budget.map_or(length, |budget| budget.min(length));
                    *budget = budget.map(|budget| budget - left);
                    left
                };
                if near_out.write_all(&piece[..left]).await.is_err() {
                    return;
                }
                if left < length {
                    *self.budget.lock().unwrap() = None;
                    self.broken.fetch_add(1, Ordering::SeqCst);
                    return;
                }
            }
        };
        tokio::select! { _ = up => {}, () = down => {} }
    }

    /// Whatever is carried breaks after so many bytes; what is connected then, holds.
    pub(super) fn break_after(&self, bytes: usize) {
        *self.budget.lock().unwrap() = Some(bytes);
    }

    /// How often it broke.
    pub(super) fn broken(&self) -> usize {
        self.broken.load(Ordering::SeqCst)
    }
}

/// A control room on a socket.
pub(super) struct Room {
    pub(super) test: TestApp,
    pub(super) upstream: Upstream,
    pub(super) wire: Wire,
    address: String,
    upstream_at: String,
    behind: Arc<Mutex<std::net::SocketAddr>>,
    serving: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Room {
    pub(super) async fn open() -> Self {
        Self::of_role(Role::All).await
    }

    pub(super) async fn of_role(role: Role) -> Self {
        let outside = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", outside.local_addr().unwrap());
        let (upstream, upstream_at) =
            Upstream::start(&[("list_notes", "Lists."), ("create_note", "Creates.")]).await;
        let (database, folder) = (TestDatabase::create().await, tempfile::tempdir().unwrap());
        let written = format!("public_url = {address:?}\ndatabase.url = {:?}\n", database.url());
        let options = Options { data: Some(folder.path().to_owned()), role, ..Options::default() };
        let config = Config::parse(&written, &options).unwrap();
        let app = App::open(config, Clock::fixed(START), Entropy::insecure_seeded(1)).await.unwrap();
        let test = TestApp { front: front(&app, Router::new()), app, database, folder };
        let behind = Arc::new(Mutex::new(outside.local_addr().unwrap()));
        let wire = Wire::lay(outside, Arc::clone(&behind));
        let mut room = Self { test, upstream, wire, address, upstream_at, behind, serving: None };
        room.test.apply(&room.fleet()).await.unwrap();
        room.come_back().await;
        room
    }

    pub(super) fn fleet(&self) -> String {
        FLEET.replace("@UPSTREAM@", &self.upstream_at)
    }

    pub(super) fn issuer(&self) -> &str {
        &self.address
    }

    pub(super) fn resource(&self, server: &str) -> String {
        format!("{}/mcp/{server}", self.address)
    }

    pub(super) fn operator(&self) -> Operator {
        Operator::of(&self.test)
    }

    /// Listens, at another port behind the wire.
    pub(super) async fn come_back(&mut self) {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        *self.behind.lock().unwrap() = listener.address();
        let stop = CancellationToken::new();
        let bounds = Bounds::of(100, Duration::ZERO);
        let serving = tokio::spawn(listener.serve(self.test.front.clone(), bounds, stop.clone()));
        self.serving = Some((stop, serving));
    }

    /// Listens no more, and every connection ends.
    pub(super) async fn go_away(&mut self) {
        if let Some((stop, serving)) = self.serving.take() {
            stop.cancel();
            serving.await.unwrap();
        }
    }

    /// An access token of the agent.
    pub(super) async fn token(&self, server: &str) -> String {
        let resource = self.resource(server);
        let fields = [("grant_type", "client_credentials"), ("resource", resource.as_str())];
        let answer = as_agent(&self.test, "ci-bot", "/oauth/token", &fields).await;
        answer.json::<Value>()["access_token"].as_str().unwrap().to_owned()
    }

    /// Ends one access token, by its id.
    pub(super) async fn revoke(&self, token: &str) {
        use base64::Engine as _;
        let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let claims: Value =
            serde_json::from_slice(&engine.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap();
        let body = json!({ "kind": "token", "id": claims["jti"] });
        let answer = self.operator().json("/api/v1/revocations", &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }

    /// The content of an enrolment file.
    pub(super) async fn enrolment(&self, name: &str, servers: Option<&[&str]>) -> Value {
        let mut body = json!({ "name": name });
        if let Some(servers) = servers {
            body["servers"] = json!(servers);
        }
        let answer = self.operator().json("/api/v1/gateways", &body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        answer.json()
    }
}

/// A gateway that runs alone.
pub(super) struct Far {
    pub(super) lone: Arc<Lone>,
    pub(super) folder: TempDir,
    pub(super) id: String,
    issuer: String,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Far {
    /// A new one, that knows all that there is to know.
    pub(super) async fn enrolled(room: &Room, name: &str, servers: Option<&[&str]>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = room.enrolment(name, servers).await;
        let far =
            Self::try_on(room, folder, Some(&file)).await.unwrap_or_else(|(error, _)| panic!("{error}"));
        let fresh = async || far.lone.gateway.is_fresh();
        until(fresh).await;
        far
    }

    /// One that was enrolled in this folder before.
    pub(super) async fn on(room: &Room, folder: TempDir) -> Self {
        Self::try_on(room, folder, None).await.unwrap_or_else(|(error, _)| panic!("{error}"))
    }

    /// Or why not.
    pub(super) async fn try_on(
        room: &Room,
        folder: TempDir,
        file: Option<&Value>,
    ) -> Result<Self, (LoneError, TempDir)> {
        match Self::open(&room.test.app.clock, folder.path(), file).await {
            Err(error) => Err((error, folder)),
            Ok(lone) => {
                let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
                lone.start(&tasks, &stop);
                tasks.close();
                let known: Value =
                    serde_json::from_slice(&std::fs::read(folder.path().join("identity.json")).unwrap())
                        .unwrap();
                let id = known["gateway"].as_str().unwrap().to_owned();
                Ok(Self { lone, folder, id, issuer: room.address.clone(), stop, tasks })
            }
        }
    }

    async fn open(clock: &Clock, folder: &Path, file: Option<&Value>) -> Result<Arc<Lone>, LoneError> {
        let beside = tempfile::tempdir().unwrap();
        let path = beside.path().join("enrol.json");
        if let Some(file) = file {
            std::fs::write(&path, file.to_string()).unwrap();
        }
        let claim = Claim { enrol: file.map(|_| path), control: None };
        let identity = Identity::read(folder, &claim)?;
        let role = Role::Gateway(identity.issuer().clone());
        let options = Options { data: Some(folder.to_owned()), role, ..Options::default() };
        let config = Config::parse("registry.survey = \"10s\"\n", &options).unwrap();
        Lone::open(config, identity, clock.clone(), Entropy::from_system().unwrap()).await
    }

    /// Ends it in order; its folder stays.
    pub(super) async fn end(mut self) -> TempDir {
        self.stop.cancel();
        self.tasks.wait().await;
        std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap())
    }

    /// `tools/call`: status and body.
    pub(super) async fn call(&self, token: &str, server: &str, tool: &str) -> (StatusCode, String) {
        self.ask(token, server, ("tools/call", Some(tool))).await
    }

    /// `tools/list`
    pub(super) async fn list(&self, token: &str, server: &str) -> (StatusCode, String) {
        self.ask(token, server, ("tools/list", None)).await
    }

    async fn ask(
        &self,
        token: &str,
        server: &str,
        (method, tool): (&str, Option<&str>),
    ) -> (StatusCode, String) {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let params = match tool {
            Some(tool) => json!({ "name": tool, "arguments": {}, "_meta": meta }),
            None => json!({ "_meta": meta }),
        };
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut request = Request::post(format!("/mcp/{server}"))
            .header("host", self.issuer.trim_start_matches("http://"))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", method);
        if let Some(tool) = tool {
            request = request.header("mcp-name", tool);
        }
        send(&self.lone, request.body(Body::from(body.to_string())).unwrap()).await
    }

    /// `/readyz`
    pub(super) async fn ready(&self) -> (StatusCode, Value) {
        let request = Request::get("/readyz").header("host", "127.0.0.1").body(Body::empty()).unwrap();
        let (status, body) = send(&self.lone.ops(), request).await;
        (status, serde_json::from_str(&body).unwrap())
    }

    /// Whether it has on its disk all that is so in the control room now.
    pub(super) async fn has_kept(&self, room: &Room) -> bool {
        let number = room.test.app.store.read().await.unwrap().reader().latest_change().await.unwrap();
        let read = |name: &str| -> Option<Value> {
            serde_json::from_slice(&std::fs::read(self.folder.path().join(name)).ok()?).ok()
        };
        let (Some(known), Some(mark)) = (read("snapshot.json"), read("snapshot.as-of.json")) else {
            return false;
        };
        let is_new = mark["as_of"].as_i64() == Some(room.test.app.clock.now().seconds());
        is_new && known["snapshot"]["number"].as_u64() >= Some(number)
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn send(to: &impl Answers, request: Request<Body>) -> (StatusCode, String) {
    let (head, body) = to.answer(request, None).await.into_parts();
    let body = to_bytes(body, 1024 * 1024).await.unwrap();
    (head.status, String::from_utf8(body.to_vec()).unwrap())
}

/// For claims.
pub(super) fn now(room: &Room) -> Timestamp {
    room.test.app.clock.now()
}

//! A gateway with two servers, keys, a clock that is set by hand, and a recording upstream.

use axum::Router;
use axum::body::{Body, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use portcullis_domain::id::{ServerId, SessionId, TokenId, UserId};
use portcullis_domain::policy::Policy;
use portcullis_domain::principal::Revocation;
use portcullis_domain::registry::{
    Agent, Members, Placement, Risk, Role, Rule, ScopeMeaning, Server, Upstream, UpstreamCredential,
};
use portcullis_domain::snapshot::{Snapshot, Update};
use portcullis_gateway::{ClientAddress, Gateway, Limits, Settings, SpoolSettings};
use portcullis_oauth::jwk::JwkSet;
use portcullis_oauth::jwt::{self, ACCESS_TOKEN_TYPE, AccessClaims, SigningKey};
use portcullis_oauth::scope::ScopeSet;
use portcullis_oauth::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
pub(crate) const ISSUER: &str = "https://as.test";
pub(crate) const METADATA: &str = "https://as.test/.well-known/oauth-protected-resource/mcp/notes";

/// What the upstream got.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: http::Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

type Script = Arc<dyn Fn(&Seen) -> Response<Body> + Send + Sync>;

/// An upstream that keeps everything it gets and answers as it is told.
#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Arc<Mutex<Script>>,
}

impl Recorder {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let recorder = Self {
            address: format!("http://{}/mcp", listener.local_addr().unwrap()),
            seen: Arc::default(),
            script: Arc::new(Mutex::new(Arc::new(echo))),
        };
        let answering = recorder.clone();
        let app = Router::new().fallback(move |request: Request<Body>| {
            let recorder = answering.clone();
            async move {
                let (parts, body) = request.into_parts();
                let seen = Seen {
                    method: parts.method,
                    target: parts.uri.to_string(),
                    headers: parts.headers,
                    body: body.collect().await.unwrap().to_bytes(),
                };
                recorder.seen.lock().unwrap().push(seen.clone());
                let script = Arc::clone(&recorder.script.lock().unwrap());
                script(&seen)
            }
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        recorder
    }

    /// How many requests arrived.
    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// The newest request.
    pub(crate) fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().expect("nothing arrived").clone()
    }

    /// All requests, in the order of their arrival.
    pub(crate) fn all(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The newest requests, in the order of their arrival.
    pub(crate) fn newest(&self, count: usize) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap();
        seen[seen.len() - count..].to_vec()
    }

    /// How to answer from now on.
    pub(crate) fn answers(&self, script: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Arc::new(script);
    }
}

/// Answers any request with an empty result, and what has no id with 202.
fn echo(seen: &Seen) -> Response<Body> {
    match request_id(seen) {
        Some(id) => json(200, &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"done":true}}}}"#)),
        None => respond(202, "text/plain", ""),
    }
}

pub(crate) fn request_id(seen: &Seen) -> Option<serde_json::Value> {
    let message: serde_json::Value = serde_json::from_slice(&seen.body).ok()?;
    message.get("method")?;
    message.get("id").cloned()
}

pub(crate) fn respond(status: u16, content_type: &str, body: &str) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .body(Body::from(body.to_owned()))
        .unwrap()
}

pub(crate) fn json(status: u16, body: &str) -> Response<Body> {
    respond(status, "application/json", body)
}

/// Everything that a test needs.
pub(crate) struct World {
    pub(crate) gateway: Gateway,
    pub(crate) upstream: Recorder,
    pub(crate) key: SigningKey,
    pub(crate) assertion_keys: JwkSet,
    pub(crate) snapshot: Snapshot,
    pub(crate) clock: Arc<AtomicI64>,
    pub(crate) spool: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| (), |_| ()).await
    }

    /// With other settings, and another snapshot.
    pub(crate) async fn with(
        settings: impl FnOnce(&mut Settings),
        snapshot: impl FnOnce(&mut Snapshot),
    ) -> Self {
        jwt::install_crypto();
        let upstream = Recorder::start().await;
        let access = SigningKey::generate_pkcs8().unwrap();
        let assertion = SigningKey::generate_pkcs8().unwrap();
        let spool = tempfile::tempdir().unwrap();
        let clock = Arc::new(AtomicI64::new(NOW.seconds()));
        let mut told = settings_for(&clock, spool.path());
        settings(&mut told);
        let assertion_key = SigningKey::from_pkcs8("assert-1".into(), &assertion).unwrap();
        let gateway = Gateway::new(told, assertion_key).unwrap();
        let keys = JwkSet { keys: vec![SigningKey::public_jwk("k1", &access).unwrap()] };
        let mut known = snapshot_for(&upstream.address, keys);
        snapshot(&mut known);
        let world = Self {
            gateway,
            upstream,
            key: SigningKey::from_pkcs8("k1".into(), &access).unwrap(),
            assertion_keys: JwkSet { keys: vec![SigningKey::public_jwk("assert-1", &assertion).unwrap()] },
            snapshot: known,
            clock,
            spool,
        };
        world.feed_snapshot(&world.snapshot);
        world
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_seconds(self.clock.load(Ordering::SeqCst))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.fetch_add(i64::try_from(by.as_secs()).unwrap(), Ordering::SeqCst);
    }

    pub(crate) fn feed(&self, update: &Update) -> Result<(), portcullis_gateway::FeedError> {
        self.gateway.feed(&serde_json::to_vec(update).unwrap())
    }

    pub(crate) fn feed_snapshot(&self, snapshot: &Snapshot) {
        let update =
            Update::Full { snapshot: Box::new(snapshot.clone()), revocations: vec![], as_of: self.now() };
        self.feed(&update).unwrap();
    }

    pub(crate) fn revoke(&self, revocation: Revocation) {
        let update = Update::Revoked {
            number: self.snapshot.number,
            revocations: vec![revocation],
            as_of: self.now(),
        };
        self.feed(&update).unwrap();
    }

    /// A token of the agent for `notes`, to read.
    pub(crate) fn token(&self) -> String {
        self.sign(|_| ())
    }

    /// The same with other claims.
    pub(crate) fn sign(&self, change: impl FnOnce(&mut AccessClaims)) -> String {
        let mut claims = claims(self.now());
        change(&mut claims);
        self.key.sign(ACCESS_TOKEN_TYPE, &claims).unwrap()
    }

    /// A token of a person with the role of engineers.
    pub(crate) fn user_token(&self, scopes: &str) -> String {
        self.sign(|claims| {
            claims.sub = UserId::from_bytes([7; 16]).to_string();
            claims.client_id = "cli_browser".parse().unwrap();
            claims.roles = Some(vec!["engineers".into()]);
            claims.scope = scopes.parse().unwrap();
        })
    }

    pub(crate) async fn send(&self, ask: Ask) -> Answered {
        let response = self.open(ask).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answered { status: parts.status, headers: parts.headers, body }
    }

    /// For a listener.
    pub(crate) fn router(&self) -> Router {
        router(&self.gateway)
    }

    /// The response with its body unread.
    pub(crate) async fn open(&self, ask: Ask) -> Response<Body> {
        let from = ask.from;
        self.gateway.answer(ask.into_request(), from).await
    }

    /// Sends `ask`, whose body is complete only after `meanwhile`; the status of the answer.
    pub(crate) async fn send_slowly(&self, ask: Ask, meanwhile: impl FnOnce()) -> u16 {
        let from = ask.from;
        let (parts, body) = ask.into_request().into_parts();
        let whole = body.collect().await.unwrap().to_bytes();
        let (sender, receiver) = tokio::sync::oneshot::channel::<Bytes>();
        let (asks, asked) = tokio::sync::oneshot::channel();
        let late = futures_util::stream::once(async {
            asks.send(()).unwrap();
            receiver.await
        });
        let request = Request::from_parts(parts, Body::from_stream(late));
        let gateway = self.gateway.clone();
        let answer = tokio::spawn(async move { gateway.answer(request, from).await });
        // The gateway has looked at the headers when it asks for the body.
        asked.await.unwrap();
        meanwhile();
        sender.send(whole).unwrap();
        answer.await.unwrap().status().as_u16()
    }

    /// Sends `ask`; it must be served, and reach the upstream once.
    pub(crate) async fn served(&self, ask: Ask) -> Answered {
        let before = self.upstream.count();
        let answered = self.send(ask).await;
        assert_eq!(answered.status, 200, "{}", answered.text());
        assert_eq!(self.upstream.count(), before + 1);
        answered
    }

    /// Sends `ask`; it must be refused with `status`, and nothing may reach the upstream.
    pub(crate) async fn refused(&self, ask: Ask, status: u16) -> Answered {
        let before = self.upstream.count();
        let answered = self.send(ask).await;
        assert_eq!(answered.status, status, "{}", answered.text());
        assert_eq!(self.upstream.count(), before, "something reached the upstream");
        answered
    }

    /// The record, line by line.
    pub(crate) fn records(&self) -> Vec<serde_json::Value> {
        let mut files: Vec<_> = std::fs::read_dir(self.spool.path().join("decisions"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        files
            .iter()
            .flat_map(|file| {
                let text = std::fs::read_to_string(file).unwrap();
                text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>()
            })
            .collect()
    }
}

pub(crate) fn settings_for(clock: &Arc<AtomicI64>, spool: &std::path::Path) -> Settings {
    let clock = Arc::clone(clock);
    Settings {
        connections: None,
        spans: None,
        issuer: ISSUER.parse().unwrap(),
        assertion_issuer: format!("{ISSUER}/assertions"),
        programs: BTreeMap::new(),
        limits: Limits { upstream_timeout: Duration::from_secs(5), ..Limits::default() },
        allowed_origins: vec!["https://inspector.test".into()],
        max_staleness: Duration::from_secs(30),
        spool: SpoolSettings { dir: spool.join("decisions"), max_bytes: 1 << 20 },
        secrets: Arc::new(|_| None),
        clock: Arc::new(move || Timestamp::from_seconds(clock.load(Ordering::SeqCst))),
    }
}

/// Claims of the agent's token for `notes`.
pub(crate) fn claims(now: Timestamp) -> AccessClaims {
    AccessClaims {
        iss: ISSUER.parse().unwrap(),
        aud: format!("{ISSUER}/mcp/notes"),
        sub: "cli_agent".into(),
        client_id: "cli_agent".parse().unwrap(),
        scope: "notes:read".parse().unwrap(),
        exp: now + Duration::from_mins(15),
        nbf: now,
        iat: now,
        jti: TokenId::from_bytes([3; 16]).to_string(),
        sid: SessionId::from_bytes([4; 16]).to_string(),
        roles: None,
        cnf: None,
    }
}

/// `notes` and `ops` behind the gateway, `far` in direct mode; an agent that may read, a role that may write.
pub(crate) fn snapshot_for(upstream: &str, keys: JwkSet) -> Snapshot {
    let access = |text: &str| BTreeMap::from([("notes".parse().unwrap(), scopes(text))]);
    let snapshot = Snapshot {
        number: 1,
        issuer: ISSUER.parse().unwrap(),
        keys,
        leeway_seconds: 30,
        max_life_seconds: 3600,
        servers: vec![
            server("notes", 1, upstream),
            server("ops", 2, upstream),
            Server { placement: Placement::Direct, ..server("far", 3, upstream) },
        ],
        agents: vec![Agent {
            client_id: "cli_agent".parse().unwrap(),
            name: "ci-bot".parse().unwrap(),
            owner: "platform".into(),
            labels: vec![],
            disabled: false,
            expires_at: None,
            access: access("notes:read"),
            introspects: vec![],
            deliver: None,
        }],
        clients: vec![],
        roles: vec![Role {
            name: "engineers".parse().unwrap(),
            members: Members { group: Some("eng".into()), users: vec![] },
            access: access("notes:write"),
        }],
        self_registered: access("notes:read notes:write"),
        forbids: vec![],
        pins: BTreeMap::new(),
    };
    Policy::compile(&snapshot).unwrap();
    snapshot
}

pub(crate) fn scopes(text: &str) -> ScopeSet {
    text.parse().unwrap()
}

fn server(name: &str, number: u8, upstream: &str) -> Server {
    let meaning = |implies: &str| ScopeMeaning { says: "Something".into(), implies: scopes(implies) };
    let (read, write) = (format!("{name}:read"), format!("{name}:write"));
    Server {
        id: ServerId::from_bytes([number; 16]),
        name: name.parse().unwrap(),
        title: format!("The {name} server"),
        canonical_uri: format!("{ISSUER}/mcp/{name}").parse().unwrap(),
        placement: Placement::Gateway {
            upstream: Upstream::Url(upstream.to_owned()),
            credential: UpstreamCredential::Assertion,
            tls: portcullis_domain::registry::UpstreamTls::default(),
        },
        access_seconds: None,
        labels: vec![],
        owners: vec![],
        observe: false,
        pinning: portcullis_domain::registry::Pinning::default(),
        other_transports: std::collections::BTreeSet::default(),
        limits: portcullis_domain::registry::ServerLimits::default(),
        issuers: portcullis_domain::registry::Issuers::default(),

        default_scopes: scopes(&read),
        scopes: BTreeMap::from([
            (read.parse().unwrap(), meaning("")),
            (write.parse().unwrap(), meaning(&read)),
            (format!("{name}:admin").parse().unwrap(), meaning("")),
        ]),
        rules: vec![
            rule(&["list_notes"], &["greet"], &["note://public/*"], &read),
            rule(&["create_note"], &[], &["note://private/*"], &write),
            rule(&["wipe"], &[], &[], &format!("{name}:admin")),
        ],
    }
}

pub(crate) fn rule(tools: &[&str], prompts: &[&str], resources: &[&str], needs: &str) -> Rule {
    let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    Rule {
        tools: owned(tools),
        prompts: owned(prompts),
        resources: owned(resources),
        methods: vec![],
        scopes: scopes(needs),
        risk: Risk::Usual,
    }
}

/// A request, before it is sent.
#[derive(Clone)]
pub(crate) struct Ask {
    method: http::Method,
    target: String,
    headers: HeaderMap,
    body: Bytes,
    from: Option<ClientAddress>,
}

pub(crate) const MODERN: &str = "2026-07-28";
pub(crate) const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

/// A call of a tool of `notes` as a client of 2026-07-28 sends it.
pub(crate) fn tool(token: &str, name: &str) -> Ask {
    let params = format!(r#"{{"name":"{name}","arguments":{{"a":1.10}},{META}}}"#);
    request(token, "tools/call", &params).header("mcp-name", name)
}

/// Any request of 2026-07-28 to `notes`.
pub(crate) fn request(token: &str, method: &str, params: &str) -> Ask {
    Ask::post(token, &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#))
        .header("mcp-protocol-version", MODERN)
        .header("mcp-method", method)
}

/// Any message of 2025-11-25 to `notes`.
pub(crate) fn legacy(token: &str, body: &str) -> Ask {
    Ask::post(token, body).header("mcp-protocol-version", "2025-11-25")
}

impl Ask {
    /// A POST to `notes` with the headers that every client sends.
    pub(crate) fn post(token: &str, body: &str) -> Self {
        Self::new("POST", "/mcp/notes")
            .header("host", "as.test")
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("authorization", &format!("Bearer {token}"))
            .body(body)
    }

    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.parse().unwrap(),
            target: target.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            from: None,
        }
    }

    /// From this address, as a listener tells it.
    pub(crate) fn from(mut self, address: ClientAddress) -> Self {
        self.from = Some(address);
        self
    }

    /// Sets a header, in place of what was there.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    /// Adds a header to what is there.
    pub(crate) fn also(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        self.headers.append(HeaderName::from_static(name), value);
        self
    }

    pub(crate) fn without(mut self, name: &'static str) -> Self {
        self.headers.remove(name);
        self
    }

    pub(crate) fn to(mut self, target: &str) -> Self {
        target.clone_into(&mut self.target);
        self
    }

    pub(crate) fn verb(mut self, method: &str) -> Self {
        self.method = method.parse().unwrap();
        self
    }

    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Bytes::copy_from_slice(body.as_ref());
        self
    }

    pub(crate) fn into_request(self) -> Request<Body> {
        let mut request = Request::new(Body::from(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.target.parse().unwrap();
        *request.headers_mut() = self.headers;
        request
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answered {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn code(&self) -> i64 {
        self.json()["error"]["code"].as_i64().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn challenge(&self) -> &str {
        self.header("www-authenticate")
    }
}

/// A gateway and nothing beside it.
pub(crate) fn router(gateway: &Gateway) -> Router {
    let gateway = gateway.clone();
    Router::new().fallback(async move |request: Request<Body>| gateway.answer(request, None).await)
}

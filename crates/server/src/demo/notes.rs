//! `notes`: a small real MCP server over Streamable HTTP, behind the gateway like any other. Notes belong to the subject
//! of the assertion that comes with each request; without a good assertion there is nothing here.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use rmcp::handler::server::tool::Extension;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{ErrorData, Implementation, ServerCapabilities, ServerConfig, SubscriptionFilter};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ServerHandler, tool, tool_handler, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// Whose notes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// `sub` of a checked assertion.
    pub subject: String,
}

/// The request carries no assertion that was made for this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAssertion;

/// Who calls, by the signed assertion among the headers and by nothing else.
pub type CheckCaller = Arc<dyn Fn(&HeaderMap) -> Result<Caller, NoAssertion> + Send + Sync>;

/// The server, to be nested under a path. It listens to requests for `port` on loopback only, and ends its streams when
/// `shutdown` is cancelled.
pub fn notes_service(check: CheckCaller, port: u16, shutdown: CancellationToken) -> Router {
    let shelf = Arc::new(Shelf::default());
    let service: StreamableHttpService<Notes, LocalSessionManager> = StreamableHttpService::new(
        move || Ok(Notes::new(Arc::clone(&shelf))),
        Arc::default(),
        config(port, shutdown),
    );
    Router::new().route_service("/", service).layer(middleware::from_fn_with_state(check, admit))
}

/// Nobody but a page of this very origin, and no other name for this machine, reaches a server on loopback (DNS rebinding).
fn config(port: u16, shutdown: CancellationToken) -> StreamableHttpServerConfig {
    let hosts = ["127.0.0.1", "localhost", "[::1]"].map(|host| format!("{host}:{port}"));
    StreamableHttpServerConfig::default()
        .with_allowed_origins(hosts.clone().map(|host| format!("http://{host}")))
        .enforce_origin_validation()
        .with_allowed_hosts(hosts)
        .with_cancellation_token(shutdown)
}

async fn admit(State(check): State<CheckCaller>, mut request: Request, next: Next) -> Response {
    match check(request.headers()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(NoAssertion) => StatusCode::UNAUTHORIZED.into_response(),
    }
}

struct Note {
    title: String,
    text: String,
}

/// Everybody's notes, by subject.
#[derive(Default)]
struct Shelf(Mutex<HashMap<String, Vec<Note>>>);

/// This is a demonstration: its memory is small.
const MOST_NOTES: usize = 200;
const MOST_SUBJECTS: usize = 1000;
const MOST_CHARACTERS: usize = 10_000;

impl Shelf {
    fn open(&self) -> MutexGuard<'_, HashMap<String, Vec<Note>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, caller: Caller, note: Note) -> Result<usize, Full> {
        let mut all = self.open();
        if !all.contains_key(&caller.subject) && all.len() >= MOST_SUBJECTS {
            return Err(Full);
        }
        let notes = all.entry(caller.subject).or_default();
        if notes.len() >= MOST_NOTES {
            return Err(Full);
        }
        notes.push(note);
        Ok(notes.len())
    }

    fn list(&self, caller: &Caller) -> String {
        let all = self.open();
        let notes = all.get(&caller.subject).map_or(&[][..], Vec::as_slice);
        if notes.is_empty() {
            return "There are no notes yet.".to_owned();
        }
        let lines = notes.iter().enumerate().map(|(at, note)| {
            let separator = if note.text.is_empty() { "" } else { ": " };
            format!("{}. {}{separator}{}", at + 1, note.title, note.text)
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

struct Full;

/// What `create_note` is given; nothing of it is required.
#[derive(Deserialize, JsonSchema)]
struct NewNote {
    /// What the note is called.
    #[serde(default = "untitled")]
    title: String,
    /// What it says.
    #[serde(default)]
    text: String,
}

fn untitled() -> String {
    "Untitled".to_owned()
}

#[derive(Clone)]
struct Notes {
    shelf: Arc<Shelf>,
}

impl Notes {
    fn new(shelf: Arc<Shelf>) -> Self {
        Self { shelf }
    }
}

fn caller(parts: &Parts) -> Result<Caller, ErrorData> {
    // `admit` put it there; no route leads around it.
    let missing = || ErrorData::internal_error("the caller is not known", None);
    parts.extensions.get::<Caller>().cloned().ok_or_else(missing)
}

#[tool_router]
impl Notes {
    #[tool(
        title = "List notes",
        description = "Lists your notes, oldest first.",
        annotations(read_only_hint = true, destructive_hint = false, open_world_hint = false)
    )]
    fn list_notes(&self, Extension(parts): Extension<Parts>) -> Result<String, ErrorData> {
        Ok(self.shelf.list(&caller(&parts)?))
    }

    #[tool(
        title = "Create a note",
        description = "Creates a note with a title and a text, and says its number.",
        annotations(read_only_hint = false, destructive_hint = false, open_world_hint = false)
    )]
    fn create_note(
        &self,
        Parameters(note): Parameters<NewNote>,
        Extension(parts): Extension<Parts>,
    ) -> Result<String, ErrorData> {
        let caller = caller(&parts)?;
        if note.title.chars().count() + note.text.chars().count() > MOST_CHARACTERS {
            return Err(ErrorData::invalid_params("the note is too long", None));
        }
        let NewNote { title, text } = note;
        let named = title.clone();
        match self.shelf.add(caller, Note { title, text }) {
            Ok(number) => Ok(format!("Created note {number}: {named}")),
            Err(Full) => Err(ErrorData::invalid_params("there is no room for more notes", None)),
        }
    }
}

#[tool_handler]
impl ServerHandler for Notes {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_tool_list_changed().build();
        ServerConfig::new(capabilities)
            .with_server_info(
                Implementation::new("notes", env!("CARGO_PKG_VERSION")).with_title("Team notes"),
            )
            .with_instructions("Notes of the person or agent who calls; nobody sees another's.")
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.supported_by(&self.get_info().capabilities))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderMap;
    use rmcp::model::{CallToolRequestParams, ClientConfig, ProtocolVersion};
    use rmcp::service::{ClientLifecycleMode, ClientServiceExt as _, RoleClient, RunningService};
    use rmcp::transport::StreamableHttpClientTransport;
    use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig as Config;
    use serde_json::{Value, json};
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::net::TcpStream;
    use tokio_util::sync::DropGuard;

    type Connection = RunningService<RoleClient, ClientConfig>;

    /// Stands for the check of assertions: believes a name.
    fn believe(headers: &HeaderMap) -> Result<Caller, NoAssertion> {
        let value = headers.get("authorization").and_then(|value| value.to_str().ok()).ok_or(NoAssertion)?;
        let subject = value.strip_prefix("Bearer ").filter(|name| *name != "mallory").ok_or(NoAssertion)?;
        Ok(Caller { subject: subject.to_owned() })
    }

    async fn serve() -> (SocketAddr, DropGuard) {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let notes = notes_service(Arc::new(believe), address.port(), shutdown.clone());
        let router = Router::new().nest("/demo/notes", notes);
        let end = shutdown.clone().cancelled_owned();
        tokio::spawn(async move { axum::serve(listener, router).with_graceful_shutdown(end).await });
        (address, shutdown.drop_guard())
    }

    async fn connect(address: SocketAddr, name: &str, lifecycle: ClientLifecycleMode) -> Connection {
        let config = Config::with_uri(format!("http://{address}/demo/notes")).auth_header(name);
        let transport = StreamableHttpClientTransport::from_config(config);
        ClientConfig::default().serve_with_lifecycle(transport, lifecycle).await.unwrap()
    }

    fn stateless() -> ClientLifecycleMode {
        ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] }
    }

    async fn call(connection: &Connection, tool: &'static str, arguments: Value) -> String {
        let params = CallToolRequestParams::new(tool).with_arguments(arguments.as_object().unwrap().clone());
        let result = connection.call_tool(params).await.unwrap();
        assert_ne!(result.is_error, Some(true));
        result.content[0].as_text().unwrap().text.clone()
    }

    /// One request as bytes, for what no client sends. The answer's status.
    async fn status(address: SocketAddr, host: &str, extra: &str) -> u16 {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
        let request = format!(
            "POST /demo/notes HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n{extra}content-length: {}\r\n\r\n{body}",
            body.len(),
        );
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        str::from_utf8(&answer[9..]).unwrap().parse().unwrap()
    }

    #[tokio::test]
    async fn demo_notes_belong_to_the_subject_in_both_eras() {
        let (address, _running) = serve().await;
        let alice = connect(address, "alice", ClientLifecycleMode::Initialize).await;
        assert_eq!(call(&alice, "list_notes", json!({})).await, "There are no notes yet.");
        assert_eq!(call(&alice, "create_note", json!({})).await, "Created note 1: Untitled");
        let new = json!({"title": "Milk", "text": "two litres"});
        assert_eq!(call(&alice, "create_note", new).await, "Created note 2: Milk");

        let same = connect(address, "alice", stateless()).await;
        assert_eq!(call(&same, "list_notes", json!({})).await, "1. Untitled\n2. Milk: two litres");
        let other = connect(address, "bob", stateless()).await;
        assert_eq!(call(&other, "list_notes", json!({})).await, "There are no notes yet.");
    }

    #[tokio::test]
    async fn demo_notes_describes_its_tools() {
        let (address, _running) = serve().await;
        let alice = connect(address, "alice", stateless()).await;
        let tools = alice.list_all_tools().await.unwrap();
        let hints = |name: &str| {
            let tool = tools.iter().find(|tool| tool.name == name).unwrap();
            assert!(tool.title.is_some() && tool.description.is_some());
            let annotations = tool.annotations.as_ref().unwrap();
            (annotations.read_only_hint, annotations.destructive_hint)
        };
        assert_eq!(tools.len(), 2);
        assert_eq!(hints("list_notes"), (Some(true), Some(false)));
        assert_eq!(hints("create_note"), (Some(false), Some(false)));
    }

    #[tokio::test]
    async fn demo_notes_takes_subscriptions() {
        use rmcp::model::SubscriptionFilter;
        let (address, _running) = serve().await;
        let alice = connect(address, "alice", stateless()).await;
        let filter = SubscriptionFilter::builder().tools_list_changed().build();
        let mut subscription = alice.listen(filter).await.unwrap();
        subscription.cancel().await.unwrap();
    }

    #[tokio::test]
    async fn pc_05_demo_notes_refuses_requests_without_an_assertion() {
        let (address, _running) = serve().await;
        let host = address.to_string();
        assert_eq!(status(address, &host, "authorization: Bearer alice\r\n").await, 200);
        assert_eq!(status(address, &host, "").await, 401);
        assert_eq!(status(address, &host, "authorization: Bearer mallory\r\n").await, 401);
    }

    #[tokio::test]
    async fn demo_notes_answers_to_its_own_name_only() {
        let (address, _running) = serve().await;
        let port = address.port();
        let alice = "authorization: Bearer alice\r\n";
        assert_eq!(status(address, &format!("localhost:{port}"), alice).await, 200);
        assert_eq!(status(address, &format!("evil.example:{port}"), alice).await, 403);
        assert_eq!(status(address, "127.0.0.1:1", alice).await, 403);
        let own = format!("{alice}origin: http://127.0.0.1:{port}\r\n");
        assert_eq!(status(address, &address.to_string(), &own).await, 200);
        let foreign = format!("{alice}origin: http://evil.example\r\n");
        assert_eq!(status(address, &address.to_string(), &foreign).await, 403);
    }

    #[test]
    fn demo_notes_has_an_end() {
        let shelf = Shelf::default();
        let caller = Caller { subject: "alice".to_owned() };
        let note = || Note { title: untitled(), text: String::new() };
        for _ in 0..MOST_NOTES {
            assert!(shelf.add(caller.clone(), note()).is_ok());
        }
        assert!(shelf.add(caller, note()).is_err());
    }
}

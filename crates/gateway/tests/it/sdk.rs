//! The Rust SDK on both sides of the gateway, real servers all of them: what it does when a stream ends with its token.

use crate::world::World;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use http::{HeaderValue, Method, header};
use http_body_util::BodyExt as _;
use portcullis_domain::registry::{Placement, Upstream, UpstreamCredential, UpstreamTls};
use rmcp::model::{CallToolRequestParams, ClientConfig, ServerCapabilities, ServerConfig};
use rmcp::service::{ClientLifecycleMode, ClientServiceExt as _};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ServerHandler, tool, tool_handler, tool_router};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};

/// A server with one tool, which takes its time.
#[derive(Clone)]
struct Slow {
    goes_on: Arc<Notify>,
}

#[tool_router]
impl Slow {
    #[tool(description = "Waits until it may go on")]
    async fn list_notes(&self) -> String {
        self.goes_on.notified().await;
        "done".to_owned()
    }
}

#[tool_handler]
impl ServerHandler for Slow {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }
}

async fn slow(goes_on: Arc<Notify>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let soon = Some(Duration::from_millis(10));
    let config = StreamableHttpServerConfig::default().with_sse_retry(soon);
    let mut sessions = LocalSessionManager::default();
    sessions.session_config.sse_retry = soon;
    let service: StreamableHttpService<Slow, LocalSessionManager> = StreamableHttpService::new(
        move || Ok(Slow { goes_on: Arc::clone(&goes_on) }),
        Arc::new(sessions),
        config,
    );
    let router = axum::Router::new().route_service("/mcp", service);
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/mcp")
}

/// What the SDK's own store of tokens does, which asks for one before each request; and what is seen of the requests.
struct Store {
    token: Mutex<String>,
    /// Method, and whether it goes on from an event.
    asked: Mutex<Vec<(Method, bool, u16)>>,
    /// Told at each piece of an answer to a POST.
    heard: mpsc::UnboundedSender<()>,
    /// Told when the answer to a call is gone on with.
    resumed: Notify,
}

impl Store {
    async fn ask(self: Arc<Self>, mut request: Request, next: Next) -> Response {
        let bearer = format!("Bearer {}", self.token.lock().unwrap());
        request.headers_mut().insert(header::AUTHORIZATION, HeaderValue::try_from(bearer).unwrap());
        request.headers_mut().insert(header::HOST, HeaderValue::from_static("as.test"));
        let method = request.method().clone();
        let from = request.headers().get("last-event-id").cloned();
        let resumes = from.is_some();
        let response = next.run(request).await;
        // Of the stream of a request; that of the session has another form.
        if from.is_some_and(|from| from.as_bytes().contains(&b'/')) {
            self.resumed.notify_one();
        }
        self.asked.lock().unwrap().push((method.clone(), resumes, response.status().as_u16()));
        let heard = self.heard.clone();
        response.map(|body| {
            Body::new(body.map_frame(move |frame| {
                if method == Method::POST {
                    let _nobody_waits = heard.send(());
                }
                frame
            }))
        })
    }
}

#[tokio::test]
async fn strm_01_a_call_of_the_rust_sdk_outlives_its_token() {
    // The SDK's client wants to be told how to speak TLS, also where it does not.
    let _installed_already = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let goes_on = Arc::new(Notify::new());
    let upstream = slow(Arc::clone(&goes_on)).await;
    let behind = Placement::Gateway {
        upstream: Upstream::Url(upstream),
        credential: UpstreamCredential::None,
        tls: UpstreamTls::default(),
    };
    let world = World::with(|_| (), |snapshot| snapshot.servers[0].placement = behind).await;
    let (heard, mut listening) = mpsc::unbounded_channel();
    let first = world.sign(|claims| claims.exp = claims.iat + Duration::from_secs(1));
    let store =
        Arc::new(Store { token: Mutex::new(first), asked: Mutex::default(), heard, resumed: Notify::new() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asking = Arc::clone(&store);
    let layer = from_fn(move |request, next| Arc::clone(&asking).ask(request, next));
    let router = world.router().layer(layer);
    tokio::spawn(async move { axum::serve(listener, router).await });

    let config = StreamableHttpClientTransportConfig::with_uri(format!("http://{address}/mcp/notes"));
    let transport = StreamableHttpClientTransport::from_config(config);
    let client = ClientConfig::default();
    let client = client.serve_with_lifecycle(transport, ClientLifecycleMode::Initialize).await.unwrap();
    while listening.try_recv().is_ok() {}
    let calling = client.call_tool(CallToolRequestParams::new("list_notes"));
    let meanwhile = async {
        // The event that tells from where to go on.
        listening.recv().await.unwrap();
        *store.token.lock().unwrap() = world.sign(|claims| claims.iat = claims.iat + Duration::from_secs(31));
        world.advance(Duration::from_secs(31));
        world.feed_snapshot(&world.snapshot);
        store.resumed.notified().await;
        goes_on.notify_one();
    };
    let both = async { tokio::join!(calling, meanwhile).0 };
    let result = tokio::time::timeout(Duration::from_secs(30), both).await.expect("it goes on").unwrap();
    assert_eq!(result.content[0].as_text().unwrap().text, "done");

    let asked = store.asked.lock().unwrap().clone();
    assert!(asked.contains(&(Method::GET, true, 200)), "{asked:?}");
    assert!(asked.iter().all(|(.., status)| (200..300).contains(status)), "nothing was refused: {asked:?}");
    let ended = &world.gateway.figures().servers["notes"].streams_ended;
    assert!(ended["token_expired"] >= 1, "{ended:?}");
}

//! A real MCP server behind the gateway: it says of its tools what a test says, and remembers who called them.

use crate::oauth::actors::claims;
use axum::Router;
use http::header;
use rmcp::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Clones are the same server.
#[derive(Clone, Default)]
pub(crate) struct Upstream {
    /// Name and description.
    tools: Arc<Mutex<Vec<(String, String)>>>,
    calls: Arc<AtomicUsize>,
    bearer: Arc<Mutex<String>>,
}

impl ServerHandler for Upstream {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = json!({ "type": "object", "properties": { "title": { "type": "string" } } });
        let schema = Arc::new(schema.as_object().unwrap().clone());
        let tools = self.tools.lock().unwrap().clone();
        let tools = tools.into_iter().map(|(name, says)| Tool::new(name, says, Arc::clone(&schema)));
        Ok(ListToolsResult::with_all_items(tools.collect()))
    }

    /// Says who calls, by the assertion that came in the place of the caller's token.
    async fn call_tool(
        &self,
        _: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let parts = context.extensions.get::<http::request::Parts>().unwrap();
        let bearer = parts.headers[header::AUTHORIZATION].to_str().unwrap().strip_prefix("Bearer ").unwrap();
        bearer.clone_into(&mut self.bearer.lock().unwrap());
        let who = claims(bearer)["sub"].as_str().unwrap().to_owned();
        Ok(CallToolResult::success(vec![ContentBlock::text(who)]).into())
    }
}

impl Upstream {
    /// One that is there for as long as the test runs, and its address.
    pub(crate) async fn start(tools: &[(&str, &str)]) -> (Self, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/mcp", listener.local_addr().unwrap());
        let upstream = Self::default();
        upstream.now_says(tools);
        let served = upstream.clone();
        let service: StreamableHttpService<Self, LocalSessionManager> = StreamableHttpService::new(
            move || Ok(served.clone()),
            Arc::default(),
            StreamableHttpServerConfig::default(),
        );
        let router = Router::new().route_service("/mcp", service);
        tokio::spawn(async move { axum::serve(listener, router).await });
        (upstream, address)
    }

    /// What it says of its tools from now on: names and descriptions.
    pub(crate) fn now_says(&self, tools: &[(&str, &str)]) {
        let tools = tools.iter().map(|&(name, says)| (name.to_owned(), says.to_owned()));
        *self.tools.lock().unwrap() = tools.collect();
    }

    /// How many tools were called.
    pub(crate) fn count(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// What came instead of the last caller's token.
    pub(crate) fn last_bearer(&self) -> String {
        self.bearer.lock().unwrap().clone()
    }
}

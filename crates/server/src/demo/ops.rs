//! `ops`: a small real MCP server over stdio, started by the gateway as a program of its own. It only pretends.

use rmcp::model::{Implementation, ServerCapabilities, ServerConfig, SubscriptionFilter};
use rmcp::service::ServerInitializeError;
use rmcp::transport::io::stdio_pipes;
use rmcp::{ServerHandler, ServiceExt as _, tool, tool_handler, tool_router};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

/// Why the server ended before its input did.
#[derive(Debug, thiserror::Error)]
pub enum OpsError {
    /// What came first was no MCP.
    #[error("the conversation did not begin as MCP does")]
    Begin(#[source] Box<ServerInitializeError>),
    /// Its task failed.
    #[error("the server broke off")]
    BrokeOff(#[source] tokio::task::JoinError),
}

/// Serves on this process's own standard streams until the input ends.
pub async fn ops_stdio() -> Result<(), OpsError> {
    match Ops::started_at(Instant::now()).serve(stdio_pipes()).await {
        Ok(running) => running.waiting().await.map(|_| ()).map_err(OpsError::BrokeOff),
        // Nobody said anything, and that is no mistake.
        Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
        Err(error) => Err(OpsError::Begin(Box::new(error))),
    }
}

#[derive(Clone)]
struct Ops {
    started: Instant,
    restarts: Arc<AtomicU64>,
}

impl Ops {
    fn started_at(started: Instant) -> Self {
        Self { started, restarts: Arc::default() }
    }
}

#[tool_router]
impl Ops {
    #[tool(
        title = "Uptime",
        description = "Says for how long this server has been running.",
        annotations(read_only_hint = true, destructive_hint = false, open_world_hint = false)
    )]
    fn uptime(&self) -> String {
        format!("Up for {} s.", self.started.elapsed().as_secs())
    }

    #[tool(
        title = "Restart",
        description = "Pretends to restart the service, and counts how often.",
        annotations(
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = false,
            open_world_hint = false
        )
    )]
    fn restart(&self) -> String {
        let restarts = self.restarts.fetch_add(1, Ordering::Relaxed) + 1;
        format!("Restarted (pretending). Restarts so far: {restarts}.")
    }
}

#[tool_handler]
impl ServerHandler for Ops {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_tool_list_changed().build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("ops", env!("CARGO_PKG_VERSION")).with_title("Operations"))
            .with_instructions("A pretended service: look at it, restart it.")
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.supported_by(&self.get_info().capabilities))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmcp::model::{CallToolRequestParams, ClientConfig, ProtocolVersion};
    use rmcp::service::{ClientLifecycleMode, ClientServiceExt as _, RoleClient, RunningService};

    type Connection = RunningService<RoleClient, ClientConfig>;

    async fn connect(lifecycle: ClientLifecycleMode) -> Connection {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        tokio::spawn(
            async move { Ops::started_at(Instant::now()).serve(theirs).await.unwrap().waiting().await },
        );
        ClientConfig::default().serve_with_lifecycle(ours, lifecycle).await.unwrap()
    }

    async fn call(connection: &Connection, tool: &'static str) -> String {
        let result = connection.call_tool(CallToolRequestParams::new(tool)).await.unwrap();
        assert_ne!(result.is_error, Some(true));
        result.content[0].as_text().unwrap().text.clone()
    }

    fn stateless() -> ClientLifecycleMode {
        ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] }
    }

    #[tokio::test]
    async fn demo_ops_answers_in_both_eras() {
        for lifecycle in [ClientLifecycleMode::Initialize, stateless()] {
            let connection = connect(lifecycle).await;
            assert!(call(&connection, "uptime").await.starts_with("Up for "));
            assert_eq!(call(&connection, "restart").await, "Restarted (pretending). Restarts so far: 1.");
            assert_eq!(call(&connection, "restart").await, "Restarted (pretending). Restarts so far: 2.");
        }
    }

    #[tokio::test]
    async fn demo_ops_describes_its_tools() {
        let connection = connect(stateless()).await;
        let tools = connection.list_all_tools().await.unwrap();
        let hints = |name: &str| {
            let tool = tools.iter().find(|tool| tool.name == name).unwrap();
            assert!(tool.title.is_some() && tool.description.is_some());
            let annotations = tool.annotations.as_ref().unwrap();
            (annotations.read_only_hint, annotations.destructive_hint)
        };
        assert_eq!(tools.len(), 2);
        assert_eq!(hints("uptime"), (Some(true), Some(false)));
        assert_eq!(hints("restart"), (Some(false), Some(true)));
    }

    #[tokio::test]
    async fn demo_ops_takes_subscriptions() {
        let connection = connect(stateless()).await;
        let filter = SubscriptionFilter::builder().tools_list_changed().build();
        let mut subscription = connection.listen(filter).await.unwrap();
        subscription.cancel().await.unwrap();
        assert!(call(&connection, "uptime").await.starts_with("Up for "));
    }
}

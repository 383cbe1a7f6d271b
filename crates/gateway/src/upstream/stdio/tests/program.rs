//! The program that tests start: this test binary again, as a server made with the official SDK.

use crate::settings::Program;
use rmcp::model::{
    Implementation, ProgressNotificationParam, ServerCapabilities, ServerConfig, SubscriptionFilter,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::{ServerHandler, ServiceExt as _, tool, tool_handler, tool_router};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const MARK: &str = "STDIO_TEST_PROGRAM";

/// Runs the SDK's server. What the test harness writes to standard output must not get into the conversation, so that is
/// moved out of the way first.
pub(super) fn sdk() -> Program {
    let binary = std::env::current_exe().unwrap();
    let script = r#"exec 3>&1 1>/dev/null; exec "$0" --exact upstream::stdio::tests::program::is_the_program --nocapture"#;
    Program {
        env: BTreeMap::from([(MARK.to_owned(), "1".to_owned())]),
        ..shell(&[script, binary.to_str().unwrap()])
    }
}

/// Runs a shell script, with what follows as its `$0`, `$1` and so on.
pub(super) fn shell(script: &[&str]) -> Program {
    let run = ["/bin/sh", "-c"].iter().chain(script).map(ToString::to_string);
    Program { run: run.collect(), ..Program::default() }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "this is the program, and has nobody to tell it")]
async fn is_the_program() {
    if std::env::var(MARK).is_err() {
        return;
    }
    let output = tokio::fs::OpenOptions::new().write(true).open("/dev/fd/3").await.unwrap();
    let server = Server::default().serve((tokio::io::stdin(), output)).await.unwrap();
    server.waiting().await.unwrap();
}

#[derive(Clone, Default)]
struct Server {
    cancelled: Arc<AtomicUsize>,
}

#[tool_router]
#[expect(clippy::unused_self, reason = "tools are methods")]
impl Server {
    #[tool(description = "The environment, in order.")]
    #[expect(clippy::disallowed_methods, reason = "what it was given is what is tested")]
    fn environment(&self) -> String {
        let mut all: Vec<_> = std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
        all.sort();
        all.join("\n")
    }

    #[tool(description = "Three steps, then an answer.")]
    async fn steps(&self, context: RequestContext<RoleServer>) -> String {
        let token = context.meta.get_progress_token().unwrap();
        for step in 1..=3 {
            let progress = ProgressNotificationParam::new(token.clone(), f64::from(step));
            context.peer.notify_progress(progress).await.unwrap();
        }
        "walked".to_owned()
    }

    #[tool(description = "Waits until it is cancelled.")]
    async fn wait(&self, context: RequestContext<RoleServer>) -> String {
        context.ct.cancelled().await;
        self.cancelled.fetch_add(1, Ordering::SeqCst);
        "given up".to_owned()
    }

    #[tool(description = "How many waits were cancelled.")]
    fn cancelled(&self) -> String {
        self.cancelled.load(Ordering::SeqCst).to_string()
    }

    #[tool(description = "Ends at once.")]
    fn crash(&self) -> String {
        std::process::exit(3)
    }
}

#[tool_handler]
impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_tool_list_changed().build();
        ServerConfig::new(capabilities).with_server_info(Implementation::new("test", "1"))
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.supported_by(&self.get_info().capabilities))
    }
}

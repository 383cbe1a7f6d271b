//! Tool calls against a real MCP server (the official SDK's), with a door in front that takes one token.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use portcullis_client::{AccessToken, Client, Error, Outcome, ResourceUri, ToolCall};
use rmcp::ErrorData;
use rmcp::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone)]
struct Tools;

impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::default())
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = serde_json::to_string(&call.arguments).unwrap();
        match call.name.as_ref() {
            "echo" => Ok(CallToolResult::success(vec![ContentBlock::text(arguments)]).into()),
            "fail" => Ok(CallToolResult::error(vec![ContentBlock::text("no")]).into()),
            "hang" => std::future::pending().await,
            _ => Err(ErrorData::invalid_params("unknown\u{1b} tool", None)),
        }
    }
}

/// Which requests the server knows.
#[derive(Clone, Copy)]
enum Era {
    Handshake,
    Stateless,
}

async fn door(era: Era, request: Request, next: Next) -> Response {
    let refuse = |status: u16, challenge: &str| {
        let response = Response::builder().status(status);
        response.header("www-authenticate", challenge).body(Body::empty()).unwrap()
    };
    let bearer = request.headers().get("authorization").cloned();
    if bearer.is_none_or(|value| value != "Bearer good") {
        return refuse(
            401,
            r#"Bearer error="invalid_token", error_description="not for this server", scope="a:read""#,
        );
    }
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    if text.contains(r#""name":"write""#) {
        return refuse(
            403,
            r#"Bearer error="insufficient_scope", error_description="needs a:write", scope="a:read a:write""#,
        );
    }
    if text.contains(r#""name":"norule""#) {
        let body = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-31403,"message":"no rule allows it"}}"#;
        let response = Response::builder().status(403).header("content-type", "application/json");
        return response.body(Body::from(body)).unwrap();
    }
    if text.contains("server/discover") && matches!(era, Era::Handshake) {
        return Response::builder().status(400).body(Body::empty()).unwrap();
    }
    next.run(Request::from_parts(parts, Body::from(body))).await
}

async fn serve(era: Era) -> ResourceUri {
    let config = StreamableHttpServerConfig::default();
    let sessions = Arc::new(LocalSessionManager::default());
    let service = StreamableHttpService::new(|| Ok(Tools), sessions, config);
    let door = from_fn(move |request: Request, next: Next| door(era, request, next));
    let app = Router::new().route_service("/mcp", service).layer(door);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    uri.parse().unwrap()
}

async fn call(server: &ResourceUri, token: &str, tool: &str) -> Result<Outcome, Error> {
    let arguments = json!({"n": 1.5}).as_object().unwrap().clone();
    let call = ToolCall::new(tool).with_arguments(arguments);
    Client::new()?.call(server, &AccessToken::new(token), &call).await
}

#[tokio::test]
async fn pc_01_tools_are_called_in_both_eras_of_the_protocol() {
    for era in [Era::Stateless, Era::Handshake] {
        let server = serve(era).await;
        let outcome = call(&server, "good", "echo").await.unwrap();
        assert!(!outcome.is_error());
        assert_eq!(outcome.text(), r#"{"n":1.5}"#);
        assert_eq!(outcome.to_json()["content"][0]["type"], "text");
    }
}

#[tokio::test]
async fn a_tool_that_fails_and_a_tool_that_is_not_there_are_told_apart() {
    let server = serve(Era::Stateless).await;
    let failed = call(&server, "good", "fail").await.unwrap();
    assert!(failed.is_error());
    let absent = call(&server, "good", "absent").await.unwrap_err();
    assert_eq!(absent.to_string(), "the server answered with error -32602: unknown  tool");
}

#[tokio::test]
async fn pc_23_refusals_keep_the_sentence_and_the_scopes() {
    for era in [Era::Stateless, Era::Handshake] {
        let server = serve(era).await;
        match call(&server, "bad", "echo").await {
            Err(Error::Unauthenticated(refusal)) => {
                assert_eq!(refusal.error.as_deref(), Some("invalid_token"));
                assert_eq!(refusal.description.as_deref(), Some("not for this server"));
            }
            other => panic!("{other:?}"),
        }
        match call(&server, "good", "write").await {
            Err(Error::Forbidden(refusal)) => {
                assert_eq!(refusal.description.as_deref(), Some("needs a:write"));
                assert_eq!(refusal.needed.to_string(), "a:read a:write");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn pc_07_a_refusal_that_no_scope_can_mend_keeps_its_sentence_too() {
    for era in [Era::Stateless, Era::Handshake] {
        let server = serve(era).await;
        match call(&server, "good", "norule").await {
            Err(Error::Forbidden(refusal)) => assert_eq!(refusal.to_string(), "no rule allows it"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn patience_ends() {
    let server = serve(Era::Stateless).await;
    let client = Client::new().unwrap().with_patience(Duration::from_millis(300));
    let token = AccessToken::new("good");
    let late = client.call(&server, &token, &ToolCall::new("hang")).await;
    assert!(matches!(late, Err(Error::TimedOut(_))), "{late:?}");
}

#[tokio::test]
async fn what_is_not_mcp_or_not_there_is_an_error() {
    let fake = crate::fake::Fake::good().await;
    fake.set("/mcp/a", 200, vec![("content-type", "text/html".to_owned())], "<html>".to_owned());
    let error = call(&fake.server(), "good", "echo").await.unwrap_err();
    assert!(matches!(error, Error::Unusable { .. }), "{error}");
    fake.set("/mcp/a", 503, vec![("retry-after", "9".to_owned())], String::new());
    let error = call(&fake.server(), "good", "echo").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { status: 503, retry_after: Some(9), .. }), "{error}");
    fake.set("/mcp/a", 307, vec![("location", "http://127.0.0.1:9/".to_owned())], String::new());
    assert!(call(&fake.server(), "good", "echo").await.is_err());
    let nobody = "http://127.0.0.1:9/mcp".parse().unwrap();
    let error = call(&nobody, "good", "echo").await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

//! Calling a tool: MCP over Streamable HTTP with a bearer token, in whichever revision the server speaks.

use crate::Client;
use crate::discover::unusable;
use crate::error::{Error, Refusal};
use crate::http::{Address, Http, Reach, unreachable};
use crate::secret::AccessToken;
use crate::text::one_line;
use portcullis_oauth::challenge;
use portcullis_oauth::resource::ResourceUri;
use rmcp::ServiceError;
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, ContentBlock, ErrorData,
    Implementation, ProtocolVersion,
};
use rmcp::service::{
    ClientInitializeError, ClientLifecycleMode, ClientServiceExt as _, RoleClient, RunningService,
};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::{
    StreamableHttpClientTransportConfig as Config, StreamableHttpError,
};
use serde_json::{Map, Value};
use std::error::Error as StdError;

/// A tool and its arguments.
#[derive(Clone, Debug)]
pub struct ToolCall {
    name: String,
    arguments: Map<String, Value>,
}

impl ToolCall {
    /// A call without arguments.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), arguments: Map::new() }
    }

    /// The same with arguments.
    #[must_use]
    pub fn with_arguments(mut self, arguments: Map<String, Value>) -> Self {
        self.arguments = arguments;
        self
    }
}

/// What the tool gave back. A tool that failed is an outcome too: ask [`Outcome::is_error`].
#[derive(Clone, Debug)]
pub struct Outcome(CallToolResult);

impl Outcome {
    /// Whether the tool itself says that it failed.
    pub fn is_error(&self) -> bool {
        self.0.is_error == Some(true)
    }

    /// The text of the result; what is not text is named in brackets. As the tool wrote it: not made fit for a terminal.
    pub fn text(&self) -> String {
        let blocks: Vec<&str> = self.0.content.iter().map(block_text).collect();
        match (&self.0.structured_content, blocks.is_empty()) {
            (Some(value), true) => value.to_string(),
            _ => blocks.join("\n"),
        }
    }

    /// The whole result as MCP has it.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(&self.0).unwrap_or_default()
    }
}

fn block_text(block: &ContentBlock) -> &str {
    match block {
        ContentBlock::Text(text) => &text.text,
        ContentBlock::Image(_) => "[image]",
        ContentBlock::Audio(_) => "[audio]",
        ContentBlock::Resource(_) => "[resource]",
        ContentBlock::ResourceLink(_) => "[link to a resource]",
        _ => "[content of another kind]",
    }
}

pub(crate) type Connection = RunningService<RoleClient, ClientConfig>;

impl Client {
    /// Connects, calls one tool, and disconnects.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] (401), [`Error::Forbidden`] (403), [`Error::Protocol`] for a JSON-RPC error,
    /// [`Error::TimedOut`] when patience ends, and the errors of the network.
    pub async fn call(
        &self,
        server: &ResourceUri,
        token: &AccessToken,
        call: &ToolCall,
    ) -> Result<Outcome, Error> {
        // A `ResourceUri` is https or loopback by construction.
        let address = Address::parse(server.as_str(), Reach::Loopback)
            .ok_or_else(|| unusable(server.as_str(), "this address cannot be used"))?;
        tokio::time::timeout(self.patience, connect_and_call(&address, server, token, call))
            .await
            .unwrap_or(Err(Error::TimedOut(self.patience)))
    }
}

async fn connect_and_call(
    address: &Address,
    server: &ResourceUri,
    token: &AccessToken,
    call: &ToolCall,
) -> Result<Outcome, Error> {
    let config = Config::with_uri(server.as_str())
        .auth_header(token.reveal())
        // A call must not run twice because a session ended in the middle.
        .reinit_on_expired_session(false);
    let transport = StreamableHttpClientTransport::with_client(Http::for_calls(address)?, config);
    let connection = who_we_are()
        .serve_with_lifecycle(transport, either_era())
        .await
        .map_err(|error| not_connected(address, error))?;
    let outcome = call_on(&connection, address, call).await;
    // Ends the session at the server; that it could not is nothing to report.
    let _ = connection.cancel().await;
    outcome
}

async fn call_on(connection: &Connection, address: &Address, call: &ToolCall) -> Result<Outcome, Error> {
    if speaks_by_headers(connection) {
        // MCP 2026-07-28: a tool may want arguments repeated in headers; its definition says which. A list that is
        // refused or broken decides nothing here: the call will be answered in its own right.
        let _ = connection.peer().list_all_tools().await;
    }
    let mut params = CallToolRequestParams::new(call.name.clone());
    params.arguments = Some(call.arguments.clone());
    connection.call_tool(params).await.map(Outcome).map_err(|error| not_called(address, error))
}

fn speaks_by_headers(connection: &Connection) -> bool {
    let server = connection.peer().peer_info();
    server.is_some_and(|info| info.protocol_version >= ProtocolVersion::STANDARD_HEADERS)
}

pub(crate) fn who_we_are() -> ClientConfig {
    let name = Implementation::new("portcullis-client", env!("CARGO_PKG_VERSION"));
    ClientConfig::new(ClientCapabilities::default(), name)
}

/// 2026-07-28 if the server knows it, else the handshake of before.
pub(crate) fn either_era() -> ClientLifecycleMode {
    ClientLifecycleMode::Auto {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "an enum of another crate, open to new variants; none of them means success"
)]
pub(crate) fn not_connected(address: &Address, error: ClientInitializeError) -> Error {
    match error {
        ClientInitializeError::JsonRpcError(error) => answered(&error),
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => not_connected(address, *fallback),
        ClientInitializeError::TransportError { error, .. } => failed(address, error.error.as_ref()),
        ClientInitializeError::NoCompatibleProtocolVersion { .. } => {
            unusable(address.as_str(), "the server speaks no revision of MCP that we speak")
        }
        _ => unusable(address.as_str(), "the server does not speak MCP over Streamable HTTP"),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "an enum of another crate, open to new variants; none of them means success"
)]
pub(crate) fn not_called(address: &Address, error: ServiceError) -> Error {
    match error {
        ServiceError::McpError(error) => answered(&error),
        ServiceError::TransportSend(error) => failed(address, error.error.as_ref()),
        ServiceError::InputRequiredRoundsExceeded { .. } => {
            unusable(address.as_str(), "the tool asks questions; there is nobody here to answer")
        }
        ServiceError::UnexpectedResponse => {
            unusable(address.as_str(), "the server answered a tool call with something else")
        }
        _ => Error::Unreachable {
            host: address.host(),
            reason: "the connection ended before the answer came".to_owned(),
        },
    }
}

fn answered(error: &ErrorData) -> Error {
    Error::Protocol { code: error.code.0, message: one_line(&error.message) }
}

/// The reason stands somewhere in the chain of causes.
fn failed(address: &Address, error: &(dyn StdError + 'static)) -> Error {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(reason) = cause.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
            return refused(address, reason);
        }
        next = cause.source();
    }
    unusable(address.as_str(), NOT_MCP)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "an enum of another crate, open to new variants; none of them means success"
)]
fn refused(address: &Address, reason: &StreamableHttpError<reqwest::Error>) -> Error {
    match reason {
        StreamableHttpError::AuthRequired(said) => {
            Error::Unauthenticated(read_challenge(&said.www_authenticate_header))
        }
        StreamableHttpError::InsufficientScope(said) => {
            Error::Forbidden(read_challenge(&said.www_authenticate_header))
        }
        StreamableHttpError::HttpStatus(said) => Error::Unavailable {
            host: address.host(),
            status: said.status,
            retry_after: said.retry_after.as_ref().and_then(|text| text.parse().ok()),
        },
        StreamableHttpError::Client(network) => unreachable(address, network),
        StreamableHttpError::UnexpectedServerResponse(text) if text.starts_with("HTTP 401") => {
            Error::Unauthenticated(unchallenged(text))
        }
        StreamableHttpError::UnexpectedServerResponse(text) if text.starts_with("HTTP 403") => {
            Error::Forbidden(unchallenged(text))
        }
        StreamableHttpError::ResponseBodyTooLarge { .. } => {
            unusable(address.as_str(), "the answer is too large")
        }
        _ => unusable(address.as_str(), NOT_MCP),
    }
}

/// A refusal without a challenge, where asking for scopes cannot help: the sentence is in the JSON-RPC error. The SDK gives
/// status and body as one text.
fn unchallenged(text: &str) -> Refusal {
    let body = text.find('{').and_then(|at| serde_json::from_str::<Value>(&text[at..]).ok());
    let sentence = body.as_ref().and_then(|body| body["error"]["message"].as_str());
    Refusal { description: sentence.map(one_line), ..Refusal::default() }
}

const NOT_MCP: &str = "the answer is not MCP over Streamable HTTP";

fn read_challenge(header: &str) -> Refusal {
    let said = |name| challenge::parameter(header, name);
    Refusal {
        error: said("error").as_deref().map(one_line),
        description: said("error_description").as_deref().map(one_line),
        needed: said("scope").and_then(|scope| scope.parse().ok()).unwrap_or_default(),
    }
}

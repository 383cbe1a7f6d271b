//! From the bytes of a body to a call (PC-07, decision 5).
//!
//! Read once, by [`reader`]. What two readers could read differently is refused, so that what is decided here is what the
//! upstream does: the original bytes are forwarded.

mod facts;
mod lookalike;
mod reader;
#[cfg(test)]
mod tests;

pub(crate) use reader::parse;

use crate::message::owner::Owner;
use bytes::Bytes;
use portcullis_domain::policy::Operation;
use serde_json::value::RawValue;
use std::sync::Arc;

/// One JSON-RPC message of a client.
#[derive(Debug)]
pub(crate) struct Call {
    /// Which of the three kinds of message.
    pub(crate) kind: Kind,
    /// As it stands in the text: a string or an integer. `None` for a notification.
    pub(crate) id: Option<Box<RawValue>>,
    /// As it was sent; empty for a response.
    pub(crate) method: String,
    /// What the method means here.
    pub(crate) aim: Aim,
    /// What `Mcp-Name` must repeat: the name, URI or task that is decided about.
    pub(crate) name: Option<String>,
    /// `params._meta.progressToken` as it stands in the text.
    pub(crate) progress_token: Option<Box<RawValue>>,
    /// `params._meta["io.modelcontextprotocol/protocolVersion"]`.
    pub(crate) version: Option<String>,
    /// Whether `params._meta` declares the client's capabilities.
    pub(crate) declares_capabilities: bool,
    /// `params._meta.traceparent`, as it was sent.
    pub(crate) traceparent: Option<String>,
    /// `params._meta.tracestate`, as it was sent.
    pub(crate) tracestate: Option<String>,
}

/// The kinds of JSON-RPC messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Wants an answer.
    Request,
    /// Wants none.
    Notification,
    /// Is the client's answer to a request of the server (revisions with sessions).
    Response,
}

/// What a message wants to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// `tools/call`.
    CallTool(String),
    /// `completion/complete` for an argument of a prompt: what may get the prompt may complete it.
    CompletePrompt(String),
    /// `completion/complete` for a variable of a resource template.
    CompleteResource(String),
    /// `initialize`, `server/discover`, `ping`, known notifications, responses: what belongs to being connected.
    Connect,
    /// A method that MCP itself has no meaning for: a rule can name it.
    Method(String),
    /// `prompts/get`.
    GetPrompt(String),
    /// `initialize`: begins a session.
    Initialize,
    /// `tools/list` and its like: answered, and the answer filtered.
    List,
    /// `subscriptions/listen`; changes of these resources are listened for.
    Listen(Vec<String>),
    /// `resources/read`.
    ReadResource(String),
    /// What is done with a task: `tasks/get`, `tasks/result`, `tasks/cancel`, `tasks/update`.
    Task(OfTask),
    /// A method that has no meaning here, and that no rule can give one.
    Unknown,
    /// `resources/subscribe` and `resources/unsubscribe`.
    WatchResource(String),
}

/// A task, and what made it once that was looked up; before, nothing is permitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OfTask {
    pub(crate) id: String,
    pub(crate) made_by: Option<Arc<MadeBy>>,
}

impl OfTask {
    fn tool(&self) -> Option<&str> {
        self.made_by.as_ref().map(|made_by| &*made_by.tool)
    }
}

/// What made a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MadeBy {
    pub(crate) owner: Owner,
    pub(crate) tool: String,
    /// The call itself, where conditions look at arguments.
    pub(crate) message: Option<Bytes>,
}

impl MadeBy {
    /// About what it takes, in bytes.
    pub(crate) fn length(&self) -> usize {
        self.tool.len() + self.message.as_ref().map_or(0, Bytes::len)
    }
}

impl Aim {
    /// Everything that must be permitted; never empty.
    pub(crate) fn operations(&self) -> Vec<Operation<'_>> {
        match self {
            Self::CallTool(name) => vec![Operation::Tool(name)],
            Self::CompletePrompt(name) | Self::GetPrompt(name) => vec![Operation::Prompt(name)],
            Self::CompleteResource(uri) | Self::ReadResource(uri) | Self::WatchResource(uri) => {
                vec![Operation::Resource(uri)]
            }
            Self::Connect | Self::Initialize | Self::List => vec![Operation::Connect],
            Self::Listen(resources) => std::iter::once(Operation::Connect)
                .chain(resources.iter().map(|uri| Operation::Resource(uri)))
                .collect(),
            Self::Method(name) => vec![Operation::Method(name)],
            Self::Task(task) => vec![task.tool().map_or(Operation::Unknown, Operation::Tool)],
            Self::Unknown => vec![Operation::Unknown],
        }
    }

    /// What kind of thing `object` is, for the record; `resources` are several, of which it names one.
    pub(crate) fn object_kind(&self) -> Option<&'static str> {
        match self {
            Self::CallTool(_) => Some("tool"),
            Self::Task(task) => task.tool().map(|_| "tool"),
            Self::Method(_) => Some("method"),
            Self::CompletePrompt(_) | Self::GetPrompt(_) => Some("prompt"),
            Self::CompleteResource(_) | Self::ReadResource(_) | Self::WatchResource(_) => Some("resource"),
            Self::Listen(resources) if resources.is_empty() => None,
            Self::Listen(_) => Some("resources"),
            Self::Connect | Self::Initialize | Self::List | Self::Unknown => None,
        }
    }

    /// About what it takes, in bytes.
    pub(crate) fn length(&self) -> usize {
        match self {
            Self::CallTool(name)
            | Self::CompletePrompt(name)
            | Self::CompleteResource(name)
            | Self::GetPrompt(name)
            | Self::Method(name)
            | Self::ReadResource(name)
            | Self::WatchResource(name) => name.len(),
            Self::Listen(resources) => resources.iter().map(|uri| size_of::<String>() + uri.len()).sum(),
            Self::Task(task) => task.id.len() + task.made_by.as_ref().map_or(0, |made_by| made_by.length()),
            Self::Connect | Self::Initialize | Self::List | Self::Unknown => 0,
        }
    }

    /// What it is done to, for the record.
    pub(crate) fn object(&self) -> Option<&str> {
        match self {
            Self::CallTool(name)
            | Self::CompletePrompt(name)
            | Self::GetPrompt(name)
            | Self::Method(name) => Some(name),
            Self::CompleteResource(uri) | Self::ReadResource(uri) | Self::WatchResource(uri) => Some(uri),
            Self::Listen(resources) => resources.first().map(String::as_str),
            Self::Task(task) => task.tool(),
            Self::Connect | Self::Initialize | Self::List | Self::Unknown => None,
        }
    }
}

/// A body that is no call, with the id if it could be read.
#[derive(Debug)]
pub(crate) struct Unreadable {
    /// Why.
    pub(crate) reason: ParseRefusal,
    /// Of the request.
    pub(crate) id: Option<Box<RawValue>>,
}

/// Why a body is no call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseRefusal {
    /// An array, where the revision has no batches.
    #[error("this revision has no batches: send one message")]
    Batch,
    /// An array that is no batch.
    #[error(
        "a batch holds 1 to 50 messages, each id once: requests and notifications without initialize, or responses"
    )]
    BatchForm,
    /// The same member twice in one object, after unescaping.
    #[error("an object names the same member twice")]
    Duplicate,
    /// Neither request, notification nor response, or two of them at once.
    #[error("not a JSON-RPC 2.0 request, notification or response")]
    Envelope,
    /// RFC 7493 s2.2: beyond 2^53 readers see different numbers.
    #[error("id must be a string or an integer between -(2^53-1) and 2^53-1")]
    Id,
    /// A member name that some reader takes for another.
    #[error("a member name looks like a reserved one, or is not plain ASCII")]
    Lookalike,
    /// Not one complete JSON text in UTF-8.
    #[error("not one well-formed JSON text")]
    Malformed,
    /// The method needs a name or URI, as text without control characters.
    #[error("params lacks what the method needs, or has it in another type")]
    Params,
    /// The caller's access token stands in it.
    #[error("the body holds the access token")]
    TokenInside,
    /// Nested deeper than allowed.
    #[error("nested too deeply")]
    TooDeep,
}

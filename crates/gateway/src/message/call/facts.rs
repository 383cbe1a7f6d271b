//! What the pass over a body found, and what that makes of it.

use super::{Aim, Call, Kind, OfTask, ParseRefusal};
use portcullis_domain::method::nameable;
use serde_json::value::RawValue;

/// The largest integer that every reader sees alike (RFC 7493 s2.2).
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Each resource of a subscription is decided about by itself.
const MOST_SUBSCRIPTIONS: usize = 1000;

/// What a value is, as far as anybody asks.
#[derive(Debug)]
pub(super) enum Shape {
    Array,
    Object,
    Scalar,
    /// A string; with its text where that decides, else empty.
    Text(String),
}

impl Shape {
    fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Text(text) if text == wanted)
    }
}

/// Members that decide. `None` is "not there".
#[derive(Default)]
pub(super) struct Facts {
    pub(super) jsonrpc: Option<Shape>,
    pub(super) id: Option<Box<RawValue>>,
    pub(super) method: Option<Shape>,
    pub(super) params: Option<Shape>,
    pub(super) has_result: bool,
    pub(super) has_error: bool,
    pub(super) name: Option<Shape>,
    pub(super) uri: Option<Shape>,
    pub(super) task: Option<Shape>,
    pub(super) reference: Reference,
    pub(super) filter: Filter,
    pub(super) progress_token: Option<Box<RawValue>>,
    pub(super) version: Option<Shape>,
    pub(super) capabilities: Option<Shape>,
    pub(super) traceparent: Option<Shape>,
    pub(super) tracestate: Option<Shape>,
}

/// `params.ref` of a completion.
#[derive(Default)]
pub(super) struct Reference {
    pub(super) kind: Option<Shape>,
    pub(super) name: Option<Shape>,
    pub(super) uri: Option<Shape>,
}

/// `params.notifications` of `subscriptions/listen`.
#[derive(Default)]
pub(super) struct Filter {
    pub(super) is_object: bool,
    pub(super) resources: Vec<String>,
    /// Something in it that nobody gave a meaning, or of another type.
    pub(super) is_strange: bool,
}

impl Facts {
    /// The call, if it is one.
    pub(super) fn judge(mut self) -> Result<Call, (ParseRefusal, Option<Box<RawValue>>)> {
        if let Some(id) = &self.id
            && !is_id(id)
        {
            return Err((ParseRefusal::Id, None));
        }
        match self.kind_and_aim() {
            Ok((kind, aim)) => Ok(self.into_call(kind, aim)),
            Err(reason) => Err((reason, self.id)),
        }
    }

    fn kind_and_aim(&mut self) -> Result<(Kind, Aim), ParseRefusal> {
        if !self.jsonrpc.as_ref().is_some_and(|version| version.is("2.0")) {
            return Err(ParseRefusal::Envelope);
        }
        let outcome = self.has_result || self.has_error;
        match (&self.method, self.id.is_some(), outcome) {
            (Some(Shape::Text(method)), true, false) => {
                let aim = self.aim_of(method)?;
                Ok((Kind::Request, aim))
            }
            (Some(Shape::Text(method)), false, false) => {
                self.check_params()?;
                Ok((Kind::Notification, aim_of_notification(method)))
            }
            (None, true, true) if self.params.is_none() && !(self.has_result && self.has_error) => {
                Ok((Kind::Response, Aim::Connect))
            }
            _ => Err(ParseRefusal::Envelope),
        }
    }

    fn check_params(&self) -> Result<(), ParseRefusal> {
        match &self.params {
            None | Some(Shape::Object) => {}
            Some(Shape::Array | Shape::Scalar | Shape::Text(_)) => {
                return Err(ParseRefusal::Envelope);
            }
        }
        match &self.version {
            None | Some(Shape::Text(_)) => {}
            Some(Shape::Array | Shape::Object | Shape::Scalar) => return Err(ParseRefusal::Params),
        }
        if self.progress_token.as_ref().is_some_and(|token| !is_id(token)) {
            return Err(ParseRefusal::Params);
        }
        Ok(())
    }

    fn aim_of(&self, method: &str) -> Result<Aim, ParseRefusal> {
        self.check_params()?;
        Ok(match method {
            "tools/call" => Aim::CallTool(plain(self.name.as_ref())?),
            "prompts/get" => Aim::GetPrompt(plain(self.name.as_ref())?),
            "resources/read" => Aim::ReadResource(plain(self.uri.as_ref())?),
            // Gone in 2026-07-28, as are those of the experiment with tasks that the extension has not: to be answered as any
            // method that is not there, whatever its params.
            "resources/subscribe" | "resources/unsubscribe" | "tasks/list" | "tasks/result"
                if self.speaks("2026-07-28") =>
            {
                Aim::Unknown
            }
            "resources/subscribe" | "resources/unsubscribe" => Aim::WatchResource(plain(self.uri.as_ref())?),
            "completion/complete" => self.reference.aim()?,
            "subscriptions/listen" => self.filter.aim()?,
            "initialize" => Aim::Initialize,
            "tasks/get" | "tasks/result" | "tasks/cancel" | "tasks/update" => {
                Aim::Task(OfTask { id: plain(self.task.as_ref())?, made_by: None })
            }
            "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list" | "tasks/list" => {
                Aim::List
            }
            "server/discover" | "ping" | "logging/setLevel" => Aim::Connect,
            other => named_by_a_rule(other),
        })
    }

    fn speaks(&self, version: &str) -> bool {
        self.version.as_ref().is_some_and(|stated| stated.is(version))
    }

    fn into_call(self, kind: Kind, aim: Aim) -> Call {
        // The header repeats what is decided about; where that has no name, whatever stands there.
        let name = match &aim {
            Aim::CallTool(_) | Aim::GetPrompt(_) => text(self.name),
            Aim::ReadResource(_) | Aim::WatchResource(_) => text(self.uri),
            Aim::CompletePrompt(object) | Aim::CompleteResource(object) => Some(object.clone()),
            Aim::Task(task) => Some(task.id.clone()),
            Aim::Connect | Aim::Initialize | Aim::List | Aim::Listen(_) | Aim::Method(_) | Aim::Unknown => {
                text(self.name).or(text(self.uri))
            }
        };
        Call {
            kind,
            id: self.id,
            method: text(self.method).unwrap_or_default(),
            aim,
            name,
            progress_token: self.progress_token,
            version: text(self.version),
            declares_capabilities: matches!(self.capabilities, Some(Shape::Object)),
            traceparent: text(self.traceparent),
            tracestate: text(self.tracestate),
        }
    }
}

impl Reference {
    fn aim(&self) -> Result<Aim, ParseRefusal> {
        match (&self.kind, &self.name, &self.uri) {
            (Some(kind), name, None) if kind.is("ref/prompt") => {
                Ok(Aim::CompletePrompt(plain(name.as_ref())?))
            }
            (Some(kind), None, uri) if kind.is("ref/resource") => {
                Ok(Aim::CompleteResource(plain(uri.as_ref())?))
            }
            _ => Err(ParseRefusal::Params),
        }
    }
}

impl Filter {
    fn aim(&self) -> Result<Aim, ParseRefusal> {
        if !self.is_object || self.is_strange || self.resources.len() > MOST_SUBSCRIPTIONS {
            return Err(ParseRefusal::Params);
        }
        Ok(Aim::Listen(self.resources.clone()))
    }
}

/// Notifications that a client may send in some revision.
fn aim_of_notification(method: &str) -> Aim {
    match method {
        "notifications/initialized"
        | "notifications/cancelled"
        | "notifications/progress"
        | "notifications/roots/list_changed" => Aim::Connect,
        other => named_by_a_rule(other),
    }
}

/// What MCP gave a meaning elsewhere gets none from a rule: another name for it would be a way around the rules about it.
fn named_by_a_rule(method: &str) -> Aim {
    if nameable(method).is_ok() { Aim::Method(method.to_owned()) } else { Aim::Unknown }
}

/// A name or URI that rules can be matched with: text without control characters, where readers in C-like languages stop.
pub(super) fn plain(shape: Option<&Shape>) -> Result<String, ParseRefusal> {
    match shape {
        Some(Shape::Text(text)) if !text.is_empty() && !text.chars().any(char::is_control) => {
            Ok(text.clone())
        }
        _ => Err(ParseRefusal::Params),
    }
}

fn text(shape: Option<Shape>) -> Option<String> {
    match shape {
        Some(Shape::Text(text)) => Some(text),
        Some(Shape::Array | Shape::Object | Shape::Scalar) | None => None,
    }
}

/// A string, or an integer that every reader sees alike.
fn is_id(raw: &RawValue) -> bool {
    let text = raw.get();
    if text.starts_with('"') {
        return serde_json::from_str::<String>(text).is_ok();
    }
    text.parse::<i64>().is_ok_and(|number| number.unsigned_abs() <= MAX_SAFE_INTEGER && text != "-0")
}

//! One span per call for a tracing backend (PC-54): what was wanted of which server, by which rule it was allowed, how it
//! ended. Never arguments, addresses, tokens, or anything else that a caller could hide a secret in.

use crate::Inner;
use crate::decide::authorize::Permits;
use crate::decide::refused::Refused;
use crate::message::call::{Aim, Call};
use crate::message::headers::{TRACEPARENT, TRACESTATE};
use crate::record::figures::ANSWERED;
use axum::body::Body;
use futures_util::future::Either;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use opentelemetry::global::BoxedTracer;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{FutureExt as _, Link, SpanKind, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use portcullis_domain::policy::RuleRef;
use portcullis_domain::secret::may_hold_ours;
use std::fmt;

/// W3C Trace Context s3.3.1.5: at least so much of a `tracestate` should be passed on; more is left out.
const LONGEST_STATE: usize = 512;

/// The longest name of a tool or prompt that is told.
const LONGEST_NAME: usize = 128;

/// The outcome of a decision that let a call pass.
pub(crate) const ALLOWED: &str = "allowed";

/// Where spans go, and how a trace is told to the next one.
pub struct Spans {
    tracer: BoxedTracer,
    format: Box<dyn TextMapPropagator + Send + Sync>,
}

impl fmt::Debug for Spans {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Spans").finish_non_exhaustive()
    }
}

impl Spans {
    /// `format` reads and writes `traceparent` and `tracestate`.
    pub fn new(tracer: BoxedTracer, format: Box<dyn TextMapPropagator + Send + Sync>) -> Self {
        Self { tracer, format }
    }

    /// The tracer itself, for spans of others.
    pub fn tracer(&self) -> &BoxedTracer {
        &self.tracer
    }

    /// The trace that the headers of a request are part of; an empty one if they are not, or not readably.
    pub fn context_of(&self, headers: &HeaderMap) -> Context {
        let parent = only(headers, &TRACEPARENT);
        let state = only(headers, &TRACESTATE);
        self.context(Carried { parent, state })
    }

    fn context(&self, carried: Carried<'_>) -> Context {
        let state = carried.state.filter(|state| state.len() <= LONGEST_STATE);
        self.format.extract_with_context(&Context::new(), &Carried { state, ..carried })
    }

    /// In MCP the message says itself what trace it is part of (2026-07-28, "_meta"); the request around it may belong to
    /// another one, which is linked, or be a nearer step of the same one, which is taken.
    fn around_call(&self, headers: &HeaderMap, call: &Call) -> (Context, Option<Link>) {
        let around = self.context_of(headers);
        let carried = Carried { parent: call.traceparent.as_deref(), state: call.tracestate.as_deref() };
        let within = self.context(carried);
        let (outer, inner) = (around.span().span_context().clone(), within.span().span_context().clone());
        if !inner.is_valid() || inner.trace_id() == outer.trace_id() {
            return (around, None);
        }
        (within, outer.is_valid().then(|| Link::new(outer, Vec::new(), 0)))
    }
}

/// A span under way; nothing where no exporter is configured.
pub(crate) struct Span<'s>(Option<(&'s Spans, Context)>);

impl Span<'_> {
    /// A part of this one.
    pub(crate) fn part(&self, name: &'static str, kind: SpanKind) -> Self {
        Self(self.0.as_ref().map(|(spans, context)| {
            let builder = spans.tracer.span_builder(name).with_kind(kind);
            let span = spans.tracer.build_with_context(builder, context);
            (*spans, context.with_span(span))
        }))
    }

    /// Does something within: what is logged meanwhile carries the trace.
    /// No `async fn`: that would keep room for `work` twice, and calls are moved with the room they take.
    pub(crate) fn around<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        match &self.0 {
            Some((_, context)) => Either::Left(work.with_context(context.clone())),
            None => Either::Right(work),
        }
    }

    /// The headers by which the next one continues the trace.
    pub(crate) fn headers(&self) -> Option<HeaderMap> {
        let (spans, context) = self.0.as_ref()?;
        let mut headers = Written(HeaderMap::with_capacity(2));
        spans.format.inject_context(context, &mut headers);
        Some(headers.0)
    }

    /// By which rules the call was allowed.
    pub(crate) fn allowed(&self, permits: &Permits) {
        if let Some((_, context)) = &self.0
            && let Some(permit) = permits.iter().next()
        {
            let rule = match permit.rule() {
                RuleRef::Connect => "connect".to_owned(),
                RuleRef::Rule(number) => number.to_string(),
                RuleRef::None => "none".to_owned(),
            };
            context.span().set_attribute(KeyValue::new("portcullis.rule", rule));
        }
    }

    /// It is over.
    pub(crate) fn ended(self, outcome: &'static str) {
        if let Some((_, context)) = self.0 {
            let span = context.span();
            span.set_attribute(KeyValue::new("portcullis.outcome", outcome));
            if outcome != ANSWERED && outcome != ALLOWED {
                span.set_attribute(KeyValue::new("error.type", outcome));
            }
            span.end();
        }
    }

    /// The call is over.
    pub(crate) fn served(self, served: Result<Response<Body>, Refused>) -> Result<Response<Body>, Refused> {
        match &served {
            Ok(response) => {
                if let Some((_, context)) = &self.0 {
                    let status = i64::from(response.status().as_u16());
                    context.span().set_attribute(KeyValue::new("http.response.status_code", status));
                }
                self.ended(ANSWERED);
            }
            Err(refused) => self.ended(refused.refusal.reason()),
        }
        served
    }
}

impl Inner {
    /// The span of a call.
    pub(crate) fn span_of(&self, headers: &HeaderMap, call: &Call, server: &str) -> Span<'_> {
        Span(self.settings.spans.as_deref().map(|spans| {
            let (around, link) = spans.around_call(headers, call);
            // What MCP gave no meaning is a text of the caller's.
            let is_theirs = matches!(call.aim, Aim::Method(_) | Aim::Unknown);
            let method = if is_theirs { "unknown" } else { &*call.method };
            let target = call.aim.object().filter(|name| is_plain(name));
            let target = target.zip(target_key(&call.aim));
            let name = match target {
                Some((name, _)) => format!("{method} {name}"),
                None => method.to_owned(),
            };
            let mut said = vec![
                KeyValue::new("mcp.method.name", method.to_owned()),
                KeyValue::new("portcullis.server", server.to_owned()),
            ];
            said.extend(target.map(|(name, key)| KeyValue::new(key, name.to_owned())));
            let builder = spans.tracer.span_builder(name).with_kind(SpanKind::Server);
            let builder = builder.with_attributes(said).with_links(link.into_iter().collect());
            let span = spans.tracer.build_with_context(builder, &around);
            (spans, around.with_span(span))
        }))
    }

    /// The span of a request without a message.
    pub(crate) fn span_of_verb(&self, headers: &HeaderMap, verb: &'static str, server: &str) -> Span<'_> {
        Span(self.settings.spans.as_deref().map(|spans| {
            let around = spans.context_of(headers);
            let said = vec![
                KeyValue::new("http.request.method", verb),
                KeyValue::new("portcullis.server", server.to_owned()),
            ];
            let builder = spans.tracer.span_builder(verb).with_kind(SpanKind::Server);
            let span = spans.tracer.build_with_context(builder.with_attributes(said), &around);
            (spans, around.with_span(span))
        }))
    }
}

/// Resources are left out: a URI may hold what is nobody's business.
fn target_key(aim: &Aim) -> Option<&'static str> {
    match aim {
        Aim::CallTool(_) | Aim::Task(_) => Some("gen_ai.tool.name"),
        Aim::GetPrompt(_) | Aim::CompletePrompt(_) => Some("gen_ai.prompt.name"),
        Aim::CompleteResource(_)
        | Aim::Connect
        | Aim::Initialize
        | Aim::List
        | Aim::Listen(_)
        | Aim::Method(_)
        | Aim::ReadResource(_)
        | Aim::Unknown
        | Aim::WatchResource(_) => None,
    }
}

/// A name as MCP wants tools to be named (2025-11-25, "Tool Names"), and none that could be a token of anybody.
fn is_plain(name: &str) -> bool {
    name.len() <= LONGEST_NAME
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte))
        && !name.starts_with("eyJ")
        && !may_hold_ours(name)
}

/// A header that stands once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        (None | Some(_), _) => None,
    }
}

/// What a request or a message says of its trace.
struct Carried<'a> {
    parent: Option<&'a str>,
    state: Option<&'a str>,
}

impl Extractor for Carried<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => self.parent,
            "tracestate" => self.state,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

struct Written(HeaderMap);

impl Injector for Written {
    fn set(&mut self, key: &str, value: String) {
        let name = [TRACEPARENT, TRACESTATE].into_iter().find(|name| name.as_str() == key);
        if let (Some(name), false) = (name, value.is_empty())
            && let Ok(value) = HeaderValue::try_from(value)
        {
            self.0.insert(name, value);
        }
    }
}

//! One method of one address, and what its handler's own type says of it: the right that it needs, and what it reads.

use super::input::{FleetText, Input};
use super::operator::{Operator, Right, RightName};
use super::page::Paging;
use super::path::{Named, NamedPart};
use crate::app::App;
use axum::extract::State;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use std::sync::Arc;

/// One method of one address.
pub(super) struct Route {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// What it does, in a few words.
    pub(super) summary: &'static str,
    pub(super) right: RightName,
    pub(super) reads: fn(&mut SchemaGenerator) -> Vec<Part>,
    pub(super) answer: Answer,
    /// Its answer has an `ETag`.
    pub(super) is_tagged: bool,
    /// It takes `If-Match`.
    pub(super) takes_if_match: bool,
    /// It takes an `Idempotency-Key`.
    pub(super) takes_key: bool,
    pub(super) handler: MethodRouter<Arc<App>>,
}

/// Something that a handler reads from a request.
pub(super) enum Part {
    /// A body of this media type.
    Body(&'static str, Schema),
    /// Parameters of the query. Whether it is a list, with `limit` and `cursor`.
    Query(Schema),
    /// The variable segments of the path.
    Segments,
}

/// What a good answer is.
pub(super) enum Answer {
    /// JSON, with this status.
    Json(u16, fn(&mut SchemaGenerator) -> Schema),
    /// Status 204.
    Nothing,
    /// A fleet file.
    Toml,
}

/// Arguments of a handler that begin with the operator, who is therefore asked for before anything else is read.
pub(super) trait FirstIsOperator {
    /// What the handler is for.
    const RIGHT: RightName;

    /// What the handler reads.
    fn reads(schemas: &mut SchemaGenerator) -> Vec<Part>;
}

/// An argument of a handler.
pub(super) trait Argument {
    /// What it reads of the request.
    fn part(schemas: &mut SchemaGenerator) -> Option<Part>;
}

impl Argument for State<Arc<App>> {
    fn part(_: &mut SchemaGenerator) -> Option<Part> {
        None
    }
}

impl Argument for Named {
    fn part(_: &mut SchemaGenerator) -> Option<Part> {
        Some(Part::Segments)
    }
}

impl Argument for NamedPart {
    fn part(_: &mut SchemaGenerator) -> Option<Part> {
        Some(Part::Segments)
    }
}

impl Argument for FleetText {
    fn part(schemas: &mut SchemaGenerator) -> Option<Part> {
        Some(Part::Body("application/toml", schemas.subschema_for::<String>()))
    }
}

impl<T: JsonSchema> Argument for Input<T> {
    fn part(schemas: &mut SchemaGenerator) -> Option<Part> {
        Some(Part::Body("application/json", schemas.subschema_for::<T>()))
    }
}

impl<F: JsonSchema> Argument for Paging<F> {
    fn part(schemas: &mut SchemaGenerator) -> Option<Part> {
        Some(Part::Query(F::json_schema(schemas)))
    }
}

macro_rules! first_is_operator {
    ($($argument:ident)*) => {
        impl<M, R: Right, $($argument: Argument),*> FirstIsOperator for (M, Operator<R>, $($argument),*) {
            const RIGHT: RightName = R::NAME;

            fn reads(schemas: &mut SchemaGenerator) -> Vec<Part> {
                let parts: [Option<Part>; _] = [$($argument::part(schemas)),*];
                parts.into_iter().flatten().collect()
            }
        }
    };
}

first_is_operator!(A);
first_is_operator!(A B);
first_is_operator!(A B C);
first_is_operator!(A B C D);

impl Route {
    /// Answers with this as JSON.
    pub(super) fn answers<T: JsonSchema>(mut self, status: u16) -> Self {
        self.answer = Answer::Json(status, SchemaGenerator::subschema_for::<T>);
        self
    }

    /// Answers with a fleet file.
    pub(super) fn answers_toml(mut self) -> Self {
        self.answer = Answer::Toml;
        self
    }

    /// Answers with an `ETag`: the handler gives something `Tagged`, or sets it.
    pub(super) fn tagged(mut self) -> Self {
        self.is_tagged = true;
        self
    }

    /// Takes `If-Match`: the handler asks what the operator `means`.
    pub(super) fn if_match(mut self) -> Self {
        self.takes_if_match = true;
        self
    }

    /// Takes an `Idempotency-Key`: the handler writes by the operator's `once`.
    pub(super) fn once(mut self) -> Self {
        self.takes_key = true;
        self
    }
}

/// Answers 204, unless said otherwise.
fn route<H, T>(
    method: (&'static str, MethodFilter),
    path: &'static str,
    summary: &'static str,
    handler: H,
) -> Route
where
    H: Handler<T, Arc<App>>,
    T: FirstIsOperator + 'static,
{
    let (method, filter) = method;
    Route {
        method,
        path,
        summary,
        right: T::RIGHT,
        reads: T::reads,
        answer: Answer::Nothing,
        is_tagged: false,
        takes_if_match: false,
        takes_key: false,
        handler: on(filter, handler),
    }
}

pub(super) fn delete<H, T>(path: &'static str, summary: &'static str, handler: H) -> Route
where
    H: Handler<T, Arc<App>>,
    T: FirstIsOperator + 'static,
{
    route(("DELETE", MethodFilter::DELETE), path, summary, handler)
}

pub(super) fn get<H, T>(path: &'static str, summary: &'static str, handler: H) -> Route
where
    H: Handler<T, Arc<App>>,
    T: FirstIsOperator + 'static,
{
    route(("GET", MethodFilter::GET), path, summary, handler)
}

pub(super) fn patch<H, T>(path: &'static str, summary: &'static str, handler: H) -> Route
where
    H: Handler<T, Arc<App>>,
    T: FirstIsOperator + 'static,
{
    route(("PATCH", MethodFilter::PATCH), path, summary, handler)
}

pub(super) fn post<H, T>(path: &'static str, summary: &'static str, handler: H) -> Route
where
    H: Handler<T, Arc<App>>,
    T: FirstIsOperator + 'static,
{
    route(("POST", MethodFilter::POST), path, summary, handler)
}

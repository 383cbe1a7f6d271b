//! From an upstream's answer to what the caller gets: lists filtered, sessions tied, streams watched.

mod events;

use crate::Inner;
use crate::bounds::room;
use crate::bounds::slots::Slot;
use crate::decide::authorize::policy_of;
use crate::decide::circumstances::{InMessage, arguments_of};
use crate::decide::permitted::Allowed;
use crate::decide::pins::Look;
use crate::decide::refusal::Refusal;
use crate::filter::cache_scope::private;
use crate::filter::list::{Reader, Undecodable};
use crate::known::caller::Caller;
use crate::known::snapshot::Known;
use crate::known::tasks::{MayBegin, Tasks};
use crate::message::answer::{Answer, UpstreamFailure, is_response_to};
use crate::message::call::{Aim, Call, Kind};
use crate::message::events::BrokenOff;
use crate::message::headers::{Era, SESSION_ID};
use crate::message::rpc::{code, rpc_error};
use crate::record::account::Account;
use crate::record::ledger::Recorded;
use crate::stream::{Closing, Hearing, Outgoing, Pace, Replay, Resumable, Watch};
use axum::body::Body;
use bytes::Bytes;
use events::looked_at;
use futures_util::stream::BoxStream;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use portcullis_domain::condition::Circumstances;
use portcullis_domain::policy::ServerPolicy;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;

type Events = BoxStream<'static, Result<Bytes, BrokenOff>>;

/// What must be known to deliver an answer.
pub(crate) struct Delivery<'a> {
    caller: &'a Caller,
    call: &'a Call,
    era: Era,
    session: Option<&'a str>,
    is_alone: bool,
    slot: Slot,
    recorded: &'a mut Recorded,
    /// Where conditions ask for them.
    arguments: Option<InMessage>,
    /// Whether its answer may be a task.
    may_begin: Option<MayBegin>,
    /// Whether it asks for the tools from the first on.
    lists_tools: bool,
}

impl<'a> Delivery<'a> {
    pub(crate) fn of(
        allowed: &Allowed<'a>,
        slot: Slot,
        recorded: &'a mut Recorded,
        tasks: &Arc<Tasks>,
    ) -> Self {
        let Allowed { caller, call, era, session, is_alone, .. } = *allowed;
        let asked_for = policy_of(caller).is_ok_and(ServerPolicy::asks_for_arguments);
        let arguments = asked_for.then(|| arguments_of(call, &allowed.body));
        let may_begin = MayBegin::of(tasks, caller, (call, era, &allowed.body), asked_for);
        let lists_tools = call.method == "tools/list" && !has_cursor(&allowed.body);
        Self { caller, call, era, session, is_alone, slot, recorded, arguments, may_begin, lists_tools }
    }

    /// Whether the caller can go on elsewhere with a stream that answers it: it has a session, and the answer stands alone.
    fn is_resumable(&self) -> bool {
        self.is_alone && self.session.is_some()
    }
}

impl Inner {
    pub(crate) async fn deliver(
        &self,
        answer: Answer,
        delivery: Delivery<'_>,
    ) -> Result<Response<Body>, Refusal> {
        let (Some(id), Kind::Request) = (&delivery.call.id, delivery.call.kind) else {
            // Whatever an upstream says to what wants no answer is not passed on.
            return Ok(self.acknowledged(answer, &delivery));
        };
        match answer {
            Answer::Accepted => Err(Refusal::Upstream(UpstreamFailure::Garbled)),
            Answer::Refused { status, body } => Ok(self.refused(status, body, &delivery)),
            Answer::Json { body, session } => {
                let body = self.answer_body(body, id, &delivery)?;
                let session = self.tie(session, &delivery)?;
                let body = room::keeping(delivery.slot, body);
                Ok(with_session(json(StatusCode::OK, body), session))
            }
            Answer::Events { events, session } => {
                let session = self.tie(session, &delivery)?;
                let question = self.question(session.as_deref(), id, &delivery);
                let body = if delivery.call.aim == Aim::List {
                    self.filtered_events(events, (id, question), delivery).await?
                } else {
                    self.stream(events, (id.clone(), question), delivery)
                };
                Ok(with_session(event_stream(body), session))
            }
        }
    }

    fn acknowledged(&self, answer: Answer, delivery: &Delivery<'_>) -> Response<Body> {
        match answer {
            Answer::Refused { status, body } => self.refused(status, body, delivery),
            Answer::Accepted | Answer::Events { .. } | Answer::Json { .. } => empty(StatusCode::ACCEPTED),
        }
    }

    /// A 4xx of the upstream: its JSON-RPC error if it has one (clients negotiate by them), else a sentence of ours.
    fn refused(&self, status: StatusCode, body: Option<Bytes>, delivery: &Delivery<'_>) -> Response<Body> {
        let server = &delivery.caller.door.server;
        if let (StatusCode::NOT_FOUND, Some(session)) = (status, delivery.session) {
            self.forget_session(server.id, session);
        }
        let body = body.unwrap_or_else(|| {
            let sentence = format!("server {} refused the message", server.name);
            let id = delivery.call.id.as_deref();
            rpc_error(code::UPSTREAM_FAILED, &sentence, id, None).into()
        });
        json(status, body)
    }

    /// Ties the session that an `initialize` began to its principal; other answers name no new one.
    fn tie(&self, session: Option<String>, delivery: &Delivery<'_>) -> Result<Option<String>, Refusal> {
        let Some(id) = session.filter(|_| delivery.era == Era::Sessions) else {
            return Ok(None);
        };
        if delivery.call.aim != Aim::Initialize {
            return Ok(Some(id).filter(|id| delivery.session == Some(id)));
        }
        let Caller { principal, door, .. } = delivery.caller;
        self.sessions
            .begin(door.server.id, &id, principal)
            .map_err(|_| Refusal::Upstream(UpstreamFailure::Session))?;
        Ok(Some(id))
    }

    /// The body of the one answer to the request `id`.
    fn answer_body(&self, body: Bytes, id: &RawValue, delivery: &Delivery<'_>) -> Result<Bytes, Refusal> {
        let garbled = || Refusal::Upstream(UpstreamFailure::Garbled);
        if delivery.call.aim != Aim::List {
            if !is_response_to(&body, id) {
                return Err(garbled());
            }
            if is_cached(delivery.call)
                && let Some(anew) =
                    private(&body).map_err(UpstreamFailure::from).map_err(Refusal::Upstream)?
            {
                drop(body);
                return self.held(delivery.caller, anew);
            }
            if let Some(may_begin) = &delivery.may_begin {
                may_begin.look_at(&body).map_err(|_| garbled())?;
            }
            return Ok(body);
        }
        let server = delivery.caller.door.server.id;
        let filtered = self.read_now(delivery.caller, delivery.lists_tools, |reader, known| {
            self.lists.filtered(&body, id, reader, (known, server))
        })?;
        drop(body);
        self.held(delivery.caller, filtered)
    }

    /// Reads lists for a caller by what is known now: that may be more than when they were asked for, for an upstream takes its
    /// time. `is_whole` as of [`Pinboard::take`](crate::decide::pins::Pinboard::take).
    fn read_now<T>(
        &self,
        caller: &Caller,
        is_whole: bool,
        read: impl FnOnce(&Reader<'_>, &Arc<Known>) -> Result<T, Undecodable>,
    ) -> Result<T, Refusal> {
        let Caller { principal, door, .. } = caller;
        let known = self.knowledge.known().ok_or(Refusal::Stale)?;
        let policy = known.policy_of(door).ok_or(Refusal::UnknownServer)?;
        let look = Look::new(self.pins.of(&known, door).ok_or(Refusal::UnknownServer)?);
        let standpoint = policy.standpoint(principal, &self.circumstances_now(caller));
        let reader = Reader { policy, principal, tasks: &self.tasks, standpoint, look: &look };
        let found = read(&reader, &known).map_err(UpstreamFailure::from).map_err(Refusal::Upstream)?;
        drop(reader);
        self.pins.take(look, is_whole);
        Ok(found)
    }

    fn circumstances_now(&self, caller: &Caller) -> Circumstances<'static> {
        Circumstances { now: (self.settings.clock)(), ..caller.circumstances() }
    }

    /// What is answered by a stream, if it is asked within a session, or begins one.
    fn question(&self, began: Option<&str>, id: &RawValue, delivery: &Delivery<'_>) -> Option<Resumable> {
        let session = delivery.session.or(began)?;
        let what = (&delivery.call.aim, delivery.arguments.as_ref());
        let Caller { principal, door, .. } = delivery.caller;
        Resumable::of(&self.asked, (principal, door.server.id, session), id, what)
    }

    fn stream(
        &self,
        events: Events,
        (id, question): (Box<RawValue>, Option<Resumable>),
        delivery: Delivery<'_>,
    ) -> Body {
        let is_resumable = delivery.is_resumable();
        let aim = delivery.call.aim.clone();
        let is_endless = matches!(aim, Aim::Listen(_));
        let events = if is_endless {
            self.heard_by(delivery.caller, events, None)
        } else if is_cached(delivery.call) {
            self.heard_meanwhile(delivery.caller, self.kept_private(delivery.caller, events))
        } else {
            self.heard_meanwhile(delivery.caller, looked_at(events, delivery.may_begin))
        };
        let outgoing = Outgoing {
            events,
            watch: self.watch(delivery.caller, (aim, is_endless), delivery.arguments),
            hearing: Hearing::of_answer(Some(id), delivery.era),
            is_resumable,
            question,
            account: delivery.recorded.opens(&self.settings.clock),
            slot: delivery.slot,
            pace: Pace::default(),
        };
        outgoing.into_body()
    }

    /// A stream that answers no request: what a session has to say, and of this session, if it is, what it has said already.
    pub(crate) fn session_stream(
        &self,
        (caller, replayed): (&Caller, Option<&str>),
        events: Events,
        slot: Slot,
        recorded: &mut Recorded,
    ) -> Response<Body> {
        let replay = replayed.map(|session| Replay::of(&self.asked, caller.door.server.id, session));
        let hearing = Hearing::of_session(replay.is_some());
        let heard = self.heard_by(caller, events, replay);
        self.endless(caller, heard, (hearing, slot, recorded.opens(&self.settings.clock)))
    }

    /// Events of ours that answer no request, for as long as the caller may be connected.
    pub(crate) fn endless(
        &self,
        caller: &Caller,
        events: Events,
        (hearing, slot, account): (Hearing, Slot, Account),
    ) -> Response<Body> {
        let outgoing = Outgoing {
            events,
            watch: self.watch(caller, (Aim::Connect, true), None),
            hearing,
            is_resumable: true,
            question: None,
            account,
            slot,
            pace: Pace::default(),
        };
        event_stream(outgoing.into_body())
    }

    pub(crate) fn watch(
        &self,
        caller: &Caller,
        (aim, is_endless): (Aim, bool),
        arguments: Option<InMessage>,
    ) -> Watch {
        let (changes, closing) = (self.knowledge.changes(), self.closing.subscribe());
        let now = (self.settings.clock)();
        // An answer that begins in the second of its decision, with nothing heard since, need not be looked at again in it. What
        // is heard from here on is a change.
        let is_decided =
            !is_endless && *closing.borrow() != Closing::Now && self.knowledge.is_as_it_was(caller, now);
        Watch {
            knowledge: Arc::clone(&self.knowledge),
            pins: Arc::clone(&self.pins),
            clock: Arc::clone(&self.settings.clock),
            door: Arc::clone(&caller.door),
            token: Arc::clone(&caller.token),
            aim,
            address: caller.address,
            arguments,
            is_endless,
            changes,
            closing,
            holds_until: is_decided.then_some(now + Duration::from_secs(1)),
        }
    }
}

/// Whether a request asks for a later page than the first.
fn has_cursor(request: &[u8]) -> bool {
    let request: serde_json::Value = serde_json::from_slice(request).unwrap_or_default();
    !request["params"]["cursor"].is_null()
}

/// Whether clients may keep the answer (2026-07-28 "Caching"); lists are rewritten by their filter.
fn is_cached(call: &Call) -> bool {
    matches!(call.aim, Aim::ReadResource(_)) || call.method == "server/discover"
}

pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

pub(crate) fn json(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, const { HeaderValue::from_static("application/json") });
    headers.insert(header::CACHE_CONTROL, const { HeaderValue::from_static("no-store") });
    response
}

pub(crate) fn event_stream(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, const { HeaderValue::from_static("text/event-stream") });
    headers.insert(header::CACHE_CONTROL, const { HeaderValue::from_static("no-store") });
    // To a proxy in front of us: keep nothing back.
    headers.insert(
        const { HeaderName::from_static("x-accel-buffering") },
        const { HeaderValue::from_static("no") },
    );
    response
}

fn with_session(mut response: Response<Body>, session: Option<String>) -> Response<Body> {
    if let Some(id) = session.and_then(|id| HeaderValue::try_from(id).ok()) {
        response.headers_mut().insert(SESSION_ID, id);
    }
    response
}

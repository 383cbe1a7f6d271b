//! From an upstream's answer to what the caller gets: lists filtered, sessions tied, streams watched.

use crate::Inner;
use crate::answer::{Answer, UpstreamFailure, is_response_to};
use crate::authenticate::Caller;
use crate::call::{Aim, Call, Kind};
use crate::circumstances::InMessage;
use crate::error::{Refusal, code, rpc_error};
use crate::events::{self, BrokenOff};
use crate::exchange::{Allowed, policy_of};
use crate::headers::{Era, LAST_EVENT_ID, SESSION_ID};
use crate::ledger::Recorded;
use crate::list::{self, Reader};
use crate::pins::Look;
use crate::room::NoRoom;
use crate::stream::{Hearing, Outgoing, Pace, Slot, Watch};
use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use portcullis_domain::condition::Circumstances;
use portcullis_domain::policy::ServerPolicy;
use serde_json::value::RawValue;
use std::sync::Arc;

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
    /// Whether it asks for the tools from the first on.
    lists_tools: bool,
}

impl<'a> Delivery<'a> {
    pub(crate) fn of(allowed: &Allowed<'a>, slot: Slot, recorded: &'a mut Recorded) -> Self {
        let Allowed { caller, call, era, session, is_alone, .. } = *allowed;
        let asked_for = policy_of(caller).is_ok_and(ServerPolicy::asks_for_arguments);
        let arguments = asked_for.then(|| InMessage(allowed.body.clone()));
        let lists_tools = call.method == "tools/list" && !has_cursor(&allowed.body);
        Self { caller, call, era, session, is_alone, slot, recorded, arguments, lists_tools }
    }

    fn reader<'r>(&'r self, look: &'r Look<'r>) -> Result<Reader<'r>, Refusal> {
        Ok(Reader {
            policy: policy_of(self.caller)?,
            principal: &self.caller.principal,
            circumstances: self.caller.circumstances(),
            look,
        })
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
                Ok(with_session(json(StatusCode::OK, body), session))
            }
            Answer::Events { events, session } => {
                let session = self.tie(session, &delivery)?;
                let body = if delivery.call.aim == Aim::List {
                    self.filtered_events(events, id, &delivery).await?
                } else {
                    self.stream(events, Some(id.clone()), delivery)
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
            self.sessions.end(server.id, session);
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
            return if is_response_to(&body, id) { Ok(body) } else { Err(garbled()) };
        }
        let look = Look::new(self.pins_of(delivery.caller)?);
        let body = list::filtered(&body, delivery.reader(&look)?).map_err(|_| garbled())?;
        self.pins.take(look, delivery.lists_tools);
        if !is_response_to(&body, id) {
            return Err(garbled());
        }
        self.held(delivery.caller, body)
    }

    /// The events up to the answer, read whole, because the list in it is filtered.
    async fn filtered_events(
        &self,
        mut events: Events,
        id: &RawValue,
        delivery: &Delivery<'_>,
    ) -> Result<Body, Refusal> {
        let garbled = || Refusal::Upstream(UpstreamFailure::Garbled);
        let look = Look::new(self.pins_of(delivery.caller)?);
        let reader = delivery.reader(&look)?;
        let most = self.settings.limits.answer_bytes;
        let collect = async {
            let mut written: Vec<u8> = Vec::new();
            while let Some(event) = events.next().await {
                let event = event.map_err(|_| garbled())?;
                let (event, message) = filtered_event(event, reader).map_err(|_| garbled())?;
                written.extend_from_slice(&event);
                if written.len() > most {
                    return Err(garbled());
                }
                if message.is_some_and(|message| is_response_to(&message, id)) {
                    return self.held(delivery.caller, written).map(Body::from);
                }
            }
            Err(garbled())
        };
        let collected = tokio::time::timeout(self.patience(delivery.caller), collect).await;
        self.pins.take(look, delivery.lists_tools);
        collected.map_err(|_| Refusal::Upstream(UpstreamFailure::Late))?
    }

    /// A list that was made here needs room as the one that it was made from.
    fn held(&self, caller: &Caller, list: Vec<u8>) -> Result<Bytes, Refusal> {
        let held = self.room.of(&caller.principal.subject).hold(list.into());
        held.map_err(|NoRoom| Refusal::Upstream(UpstreamFailure::NoRoom))
    }

    fn stream(&self, events: Events, id: Option<Box<RawValue>>, delivery: Delivery<'_>) -> Body {
        let aim = delivery.call.aim.clone();
        let is_endless = matches!(aim, Aim::Listen(_));
        let outgoing = Outgoing {
            events,
            watch: self.watch(delivery.caller, (aim, is_endless), delivery.arguments),
            hearing: Hearing { id, era: delivery.era, replays: false, has_event_id: false },
            is_resumable: delivery.is_alone && delivery.session.is_some(),
            account: delivery.recorded.opens(&self.settings.clock),
            slot: delivery.slot,
            pace: Pace::default(),
        };
        outgoing.into_body()
    }

    /// A stream that answers no request: what a session has to say. Lists may be replayed on it, and are filtered.
    pub(crate) fn session_stream(
        &self,
        (caller, headers): (&Caller, &HeaderMap),
        events: Events,
        slot: Slot,
        recorded: &mut Recorded,
    ) -> Response<Body> {
        let knowledge = Arc::clone(&self.knowledge);
        let door = Arc::clone(&caller.door);
        let principal = caller.principal.clone();
        let pins = Arc::clone(&self.pins);
        let (clock, address) = (Arc::clone(&self.settings.clock), caller.address);
        let filtered = events.map(move |event| {
            let known = knowledge.known().ok_or(BrokenOff)?;
            let policy = known.policy_of(&door).ok_or(BrokenOff)?;
            let circumstances = Circumstances { now: clock(), address, arguments: None };
            let look = Look::new(pins.of(&known, &door).ok_or(BrokenOff)?);
            let reader = Reader { policy, principal: &principal, circumstances, look: &look };
            let (event, _) = filtered_event(event?, reader).map_err(|_| BrokenOff)?;
            pins.take(look, false);
            Ok(event)
        });
        let outgoing = Outgoing {
            events: filtered.boxed(),
            watch: self.watch(caller, (Aim::Connect, true), None),
            hearing: Hearing {
                id: None,
                era: Era::Sessions,
                replays: headers.contains_key(LAST_EVENT_ID),
                has_event_id: false,
            },
            is_resumable: true,
            account: recorded.opens(&self.settings.clock),
            slot,
            pace: Pace::default(),
        };
        event_stream(outgoing.into_body())
    }

    fn watch(&self, caller: &Caller, (aim, is_endless): (Aim, bool), arguments: Option<InMessage>) -> Watch {
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
            changes: self.knowledge.changes(),
            closing: self.closing.subscribe(),
            holds_until: None,
        }
    }
}

/// Whether a request asks for a later page than the first.
fn has_cursor(request: &[u8]) -> bool {
    let request: serde_json::Value = serde_json::from_slice(request).unwrap_or_default();
    !request["params"]["cursor"].is_null()
}

/// The event with any list in it filtered, and the message that it carries.
fn filtered_event(event: Bytes, reader: Reader<'_>) -> Result<(Bytes, Option<Vec<u8>>), list::Undecodable> {
    let data = events::read(&event).data;
    if data.iter().all(u8::is_ascii_whitespace) {
        return Ok((event, None));
    }
    let message = list::filtered(&data, reader)?;
    Ok((events::with_data(&event, &message), Some(message)))
}

pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

pub(crate) fn json(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    set(&mut response, header::CONTENT_TYPE, "application/json");
    set(&mut response, header::CACHE_CONTROL, "no-store");
    response
}

pub(crate) fn event_stream(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    set(&mut response, header::CONTENT_TYPE, "text/event-stream");
    set(&mut response, header::CACHE_CONTROL, "no-store");
    let unbuffered = HeaderName::from_static("x-accel-buffering");
    set(&mut response, unbuffered, "no");
    response
}

fn set(response: &mut Response<Body>, name: HeaderName, value: &'static str) {
    let value = HeaderValue::from_static(value);
    response.headers_mut().insert(name, value);
}

fn with_session(mut response: Response<Body>, session: Option<String>) -> Response<Body> {
    if let Some(id) = session.and_then(|id| HeaderValue::try_from(id).ok()) {
        response.headers_mut().insert(SESSION_ID, id);
    }
    response
}

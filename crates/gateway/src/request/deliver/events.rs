//! What of an upstream's events is the caller's, looked at as it is said: lists filtered, notices cut, answers that are told again
//! decided about again.

use super::{Delivery, Events};
use crate::Inner;
use crate::bounds::room::{Held, NoRoom, Share, keeping};
use crate::decide::pins::{Look, Pinboard};
use crate::decide::refusal::Refusal;
use crate::filter::cache_scope::{names_scope, private};
use crate::filter::list::{self, Reader, Undecodable};
use crate::filter::notices::{Hearer, may_hear};
use crate::known::caller::Caller;
use crate::known::door::Door;
use crate::known::state::Knowledge;
use crate::known::tasks::{MayBegin, Tasks};
use crate::message::answer::UpstreamFailure;
use crate::message::events::{self, BrokenOff};
use crate::message::rpc::{code, rpc_error};
use crate::settings::Clock;
use crate::stream::{Heard, Hearing, Replay, Resumable, ToldAgain, WITHDRAWN};
use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt as _;
use portcullis_domain::condition::Circumstances;
use portcullis_domain::principal::Principal;
use serde_json::value::RawValue;
use std::net::IpAddr;
use std::sync::Arc;

/// What stands for an event that is not the caller's to hear.
const NOT_THEIRS: Bytes = Bytes::new();

/// In the place of an answer about whose question nothing can be decided.
const FORGOTTEN: &str = "the answer cannot be told again: what was asked is not known any more";

/// Who listens to a stream, whatever is known when something is said.
struct Listener {
    knowledge: Arc<Knowledge>,
    door: Arc<Door>,
    principal: Arc<Principal>,
    pins: Arc<Pinboard>,
    tasks: Arc<Tasks>,
    clock: Clock,
    address: Option<IpAddr>,
    share: Share,
}

impl Listener {
    fn circumstances(&self) -> Circumstances<'static> {
        Circumstances { now: (self.clock)(), address: self.address, arguments: None }
    }

    /// What of an event of a long stream is theirs.
    fn hear(&self, event: Bytes, replay: Option<&Replay>) -> Result<Bytes, BrokenOff> {
        let known = self.knowledge.known().ok_or(BrokenOff)?;
        let policy = known.policy_of(&self.door).ok_or(BrokenOff)?;
        let circumstances = self.circumstances();
        let pins = || self.pins.of(&known, &self.door).ok_or(BrokenOff);
        let look = Look::new(pins()?);
        let (principal, tasks) = (&*self.principal, &*self.tasks);
        let standpoint = policy.standpoint(principal, &circumstances);
        let reader = Reader { policy, principal, tasks, standpoint, look: &look };
        let (event, message) = filtered_event(event, &reader).map_err(|_| BrokenOff)?;
        drop(reader);
        // What a list shows is held at once, and counts for what is told with it.
        self.pins.take(look, false);
        let Some(message) = message else { return Ok(event) };
        let event = self.share.hold(event).map_err(|NoRoom| BrokenOff)?;
        if !may_hear(&message, &Hearer { policy, principal, tasks }, &circumstances) {
            return Ok(NOT_THEIRS);
        }
        let Some(replay) = replay else { return Ok(event) };
        Ok(match replay.judge(&message, (policy, &pins()?), principal, &circumstances) {
            ToldAgain::AsItIs => event,
            ToldAgain::Nobodys => NOT_THEIRS,
            // Whoever asked would wait for ever.
            ToldAgain::Forgotten(id) => {
                events::with_data(&event, &rpc_error(code::UNAVAILABLE, FORGOTTEN, Some(&id), None))
            }
            ToldAgain::Withdrawn(id) => {
                events::with_data(&event, &rpc_error(code::UNAUTHENTICATED, WITHDRAWN, Some(&id), None))
            }
        })
    }

    /// Whether they may have what an event of an answer is about.
    fn may_hear(&self, event: &[u8]) -> Result<bool, BrokenOff> {
        let data = events::read(event).data;
        if data.iter().all(u8::is_ascii_whitespace) {
            return Ok(true);
        }
        let known = self.knowledge.known().ok_or(BrokenOff)?;
        let policy = known.policy_of(&self.door).ok_or(BrokenOff)?;
        let hearer = Hearer { policy, principal: &self.principal, tasks: &self.tasks };
        Ok(may_hear(&data, &hearer, &self.circumstances()))
    }
}

impl Inner {
    fn listener(&self, caller: &Caller) -> Listener {
        Listener {
            knowledge: Arc::clone(&self.knowledge),
            door: Arc::clone(&caller.door),
            principal: Arc::clone(&caller.principal),
            pins: Arc::clone(&self.pins),
            tasks: Arc::clone(&self.tasks),
            clock: Arc::clone(&self.settings.clock),
            address: caller.address,
            share: self.room.of(&caller.principal.subject),
        }
    }

    /// What of a long stream is for the caller to hear at the moment when it is said. Lists may be replayed on it, and are
    /// filtered; so may answers.
    pub(super) fn heard_by(&self, caller: &Caller, events: Events, replay: Option<Replay>) -> Events {
        let listener = self.listener(caller);
        events.map(move |event| listener.hear(event?, replay.as_ref())).boxed()
    }

    /// What is for the caller to hear while an answer is made.
    pub(super) fn heard_meanwhile(&self, caller: &Caller, events: Events) -> Events {
        let listener = self.listener(caller);
        let heard = events.map(move |event| {
            let event = event?;
            Ok(if listener.may_hear(&event)? { event } else { NOT_THEIRS })
        });
        heard.boxed()
    }

    /// The same events, kept for nobody else.
    pub(super) fn kept_private(&self, caller: &Caller, events: Events) -> Events {
        let share = self.room.of(&caller.principal.subject);
        let private = events.map(move |event| {
            let event = event?;
            let data = events::read(&event).data;
            let anew = match private(&data) {
                Ok(Some(anew)) => anew,
                Ok(None) => return Ok(event),
                Err(_) if names_scope(&data) => return Err(BrokenOff),
                // No message: nobody asked for it, whatever it is.
                Err(_) => return Ok(NOT_THEIRS),
            };
            let rewritten = events::with_data(&event, &anew);
            drop(event);
            share.hold(rewritten).map_err(|NoRoom| BrokenOff)
        });
        private.boxed()
    }

    /// The events up to the answer, read whole, because the list in it is filtered; or as far as they go, where the caller can
    /// go on with them elsewhere: servers of 2025-11-25 may close a stream and be asked again.
    pub(super) async fn filtered_events(
        &self,
        events: Events,
        (id, question): (&RawValue, Option<Resumable>),
        delivery: Delivery<'_>,
    ) -> Result<Body, Refusal> {
        let caller = delivery.caller;
        let nothing = self.room.of(&caller.principal.subject).nothing();
        let mut list = Listed::new(Hearing::of_answer(Some(id.to_owned()), delivery.era), nothing);
        let collected =
            tokio::time::timeout(self.patience(caller), list.collect(events, self, &delivery)).await;
        collected.unwrap_or(Err(Refusal::Upstream(UpstreamFailure::Late)))?;
        if let Some(question) = question.filter(|_| list.hearing.has_event_id) {
            question.remember();
        }
        let mut account = delivery.recorded.opens(&self.settings.clock);
        account.is_whole(list.events, list.written.len(), list.left_out);
        let body = list.held.with(list.written.into());
        Ok(Body::from(keeping((delivery.slot, account), body)))
    }
}

impl Inner {
    /// What of an event beside a list, or of the list, is for the caller to hear now; nothing, if nothing is.
    fn theirs(&self, event: Bytes, caller: &Caller, is_whole: bool) -> Result<Option<Bytes>, Refusal> {
        self.read_now(caller, is_whole, |reader, _| {
            let (event, message) = filtered_event(event, reader)?;
            let Reader { policy, principal, tasks, .. } = *reader;
            let hearer = Hearer { policy, principal, tasks };
            let is_theirs =
                message.is_none_or(|message| may_hear(&message, &hearer, &self.circumstances_now(caller)));
            Ok(Some(event).filter(|event| is_theirs && !event.is_empty()))
        })
    }
}

/// The events of an answer that is a list.
struct Listed {
    hearing: Hearing,
    written: Vec<u8>,
    held: Held,
    events: u64,
    left_out: u64,
}

impl Listed {
    fn new(hearing: Hearing, held: Held) -> Self {
        Self { hearing, written: Vec::new(), held, events: 0, left_out: 0 }
    }

    /// Up to the answer; or to the end, where that may be before it.
    async fn collect(
        &mut self,
        mut events: Events,
        gateway: &Inner,
        delivery: &Delivery<'_>,
    ) -> Result<(), Refusal> {
        while let Some(event) = events.next().await {
            let event = event.map_err(|BrokenOff| Refusal::Upstream(UpstreamFailure::Garbled))?;
            let heard = self.hearing.hear(&event);
            let theirs = match heard {
                Heard::Unasked => None,
                Heard::Answer => gateway.theirs(event, delivery.caller, delivery.lists_tools)?,
                Heard::Meanwhile => gateway.theirs(event, delivery.caller, false)?,
            };
            let Some(event) = theirs else {
                self.left_out += 1;
                continue;
            };
            self.take(&event, gateway.settings.limits.answer_bytes).map_err(Refusal::Upstream)?;
            if heard == Heard::Answer {
                return Ok(());
            }
        }
        if delivery.is_resumable() && self.hearing.has_event_id {
            Ok(())
        } else {
            Err(Refusal::Upstream(UpstreamFailure::BrokeOff))
        }
    }

    fn take(&mut self, event: &[u8], most: usize) -> Result<(), UpstreamFailure> {
        let length = self.written.len() + event.len();
        if length > most {
            return Err(UpstreamFailure::TooLarge);
        }
        self.held.cover(length).map_err(|NoRoom| UpstreamFailure::NoRoom)?;
        self.written.extend_from_slice(event);
        self.events += 1;
        Ok(())
    }
}

/// The same events, where one of them may begin a task.
pub(super) fn looked_at(events: Events, may_begin: Option<MayBegin>) -> Events {
    let Some(may_begin) = may_begin else { return events };
    let looked_at = events.map(move |event| {
        let event = event?;
        may_begin.look_at(&events::read(&event).data).map_err(|_| BrokenOff)?;
        Ok(event)
    });
    looked_at.boxed()
}

/// The event with any list in it filtered, and the message that it carries.
fn filtered_event(event: Bytes, reader: &Reader<'_>) -> Result<(Bytes, Option<Vec<u8>>), Undecodable> {
    let data = events::read(&event).data;
    if data.iter().all(u8::is_ascii_whitespace) {
        return Ok((event, None));
    }
    let message = list::filtered(&data, reader)?;
    Ok((events::with_data(&event, &message), Some(message)))
}

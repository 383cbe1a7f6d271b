//! A permit counts for the moment in which it was given (PC-45). Between the decision about a message and its way to the upstream
//! others may be waited for: messages of the same batch, whoever gives out the credential, an upstream that wants another one.
//! So whatever goes out shows a [`Current`], and of what is no longer of this moment that is got by deciding again.

use crate::Inner;
use crate::decide::authorize::{Permits, authorize_connection, policy_of};
use crate::decide::circumstances::arguments_of;
use crate::decide::refusal::Refusal;
use crate::known::caller::Caller;
use crate::message::call::Call;
use crate::message::headers::Era;
use crate::survey::Probe;
use bytes::Bytes;
use http::HeaderMap;
use std::sync::Arc;

/// A call that may be made.
pub(crate) struct Allowed<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) call: &'a Call,
    pub(crate) era: Era,
    pub(crate) session: Option<&'a str>,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) trace: Option<HeaderMap>,
    pub(crate) body: Bytes,
    /// Whether its answer is answered alone, and not with those of a batch.
    pub(crate) is_alone: bool,
}

/// What was permitted, by whom it was asked for, and what it was: enough to decide again.
pub(crate) struct Permitted<'a> {
    permits: Permits,
    caller: &'a Caller,
    /// The caller as of the last decision, if that was not the first.
    anew: Option<Box<Caller>>,
    /// Nothing for our own look at a server: it is nobody's, so nobody can lose the right to it.
    what: Option<What<'a>>,
}

/// What was decided about.
enum What<'a> {
    Connection,
    Message { call: &'a Call, era: Era, body: Bytes },
}

/// Permitted now. Used up by what goes out with it.
pub(crate) struct Current<'p> {
    pub(crate) caller: &'p Caller,
    #[expect(dead_code, reason = "without them there is nothing to show")]
    permits: &'p Permits,
}

impl<'a> Permitted<'a> {
    pub(crate) fn message(permits: Permits, allowed: &Allowed<'a>) -> Self {
        let what = What::Message { call: allowed.call, era: allowed.era, body: allowed.body.clone() };
        Self { permits, caller: allowed.caller, anew: None, what: Some(what) }
    }

    /// To be connected at all: GET and DELETE.
    pub(crate) fn connection(permits: Permits, caller: &'a Caller) -> Self {
        Self { permits, caller, anew: None, what: Some(What::Connection) }
    }

    pub(crate) fn survey(probe: &Probe, caller: &'a Caller) -> Self {
        Self { permits: Permits::of_survey(probe), caller, anew: None, what: None }
    }

    /// The same, permitted now. Costs next to nothing if it is still the second of the decision and nothing was heard since.
    pub(crate) async fn now(&mut self, gateway: &Inner) -> Result<Current<'_>, Refusal> {
        let decided_for = self.anew.as_deref().unwrap_or(self.caller);
        if let Some(what) = &self.what
            && !gateway.is_of_this_moment(decided_for)
        {
            // Rare, and it takes much room, which every call would keep.
            let anew = Box::pin(gateway.caller_now(decided_for)).await?;
            let permits = what.decide(gateway, &anew)?;
            // Such a decision must be on the disk before anything goes out, and the one that stands there was not meant to be.
            if permits.is_strict() && !self.permits.is_strict() {
                return Err(Refusal::RulesChanged);
            }
            self.permits = permits;
            self.anew = Some(Box::new(anew));
        }
        let caller = self.anew.as_deref().unwrap_or(self.caller);
        Ok(Current { caller, permits: &self.permits })
    }
}

impl What<'_> {
    fn decide(&self, gateway: &Inner, caller: &Caller) -> Result<Permits, Refusal> {
        match self {
            Self::Connection => {
                let rules = (policy_of(caller)?, &gateway.pins_of(caller)?);
                authorize_connection(rules, &caller.principal, &caller.circumstances())
                    .map_err(Refusal::Denied)
            }
            Self::Message { call, era, body } => {
                gateway.permits(caller, call, *era, &arguments_of(call, body))
            }
        }
    }
}

impl Inner {
    /// The caller as of now, if that may be another than before: a body may take its time, and what was believed before it came
    /// may have ended since (PC-45).
    pub(crate) async fn still(&self, caller: &Caller) -> Result<Option<Caller>, Refusal> {
        let now = (self.settings.clock)();
        if self.knowledge.is_as_it_was(caller, now) {
            return Ok(None);
        }
        let known = self.knowledge.known().ok_or(Refusal::Stale)?;
        let ready = self.knowledge.ready((&known, &caller.door), &caller.token, now, || Ok(())).await;
        ready.map_err(Refusal::Disbelieved)?;
        // Somebody may have been asked, and taken their time.
        let (now, news) = ((self.settings.clock)(), self.knowledge.news());
        let known = self.knowledge.known().filter(|_| self.knowledge.is_fresh(now)).ok_or(Refusal::Stale)?;
        let believed = self.knowledge.believe(&known, &caller.door, &caller.token, now);
        let principal = believed.map_err(Refusal::Disbelieved)?;
        let (token, door) = (Arc::clone(&caller.token), Arc::clone(&caller.door));
        Ok(Some(Caller { principal, token, door, known, now, news, address: caller.address }))
    }

    /// The caller as of now, whether that is another than before or not.
    pub(crate) async fn caller_now(&self, caller: &Caller) -> Result<Caller, Refusal> {
        Ok(self.still(caller).await?.unwrap_or_else(|| caller.clone()))
    }

    /// Whether what was decided about this caller was decided in this second, by what is known now.
    fn is_of_this_moment(&self, caller: &Caller) -> bool {
        self.knowledge.is_of_this_moment(caller, (self.settings.clock)())
    }
}

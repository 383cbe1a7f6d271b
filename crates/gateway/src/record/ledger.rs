//! What the pipeline writes into the spool, and when: decisions before anything goes upstream, outcomes after.

use crate::Inner;
use crate::decide::authorize::Permits;
use crate::decide::refusal::Refusal;
use crate::decide::refused::Refused;
use crate::known::caller::Caller;
use crate::record::account::Account;
use crate::record::figures::{ANSWERED, OfServer};
use crate::record::spool::{Decided, Durability, Ended, Judgement, Reserved, What};
use crate::settings::Clock;
use axum::body::Body;
use http::Response;
use std::sync::Arc;
use tokio::time::Instant;

/// A decision in the spool that waits for its outcome.
pub(crate) struct Recorded {
    call: String,
    began: Instant,
    /// Gone to the account of the stream that answers the call, if one does.
    reserved: Option<Reserved>,
    counted: Arc<OfServer>,
}

impl Recorded {
    /// The call was complete then, and has just been decided about.
    pub(crate) fn decided_since(&self, since: Instant) {
        self.counted.decided(self.began.duration_since(since));
    }

    /// The upstream began to answer, or will not.
    pub(crate) fn upstream_answered(&self) {
        self.counted.upstream(self.began.elapsed());
    }

    /// A stream answers the call: the record says how it ended when it is over.
    pub(crate) fn opens(&mut self, clock: &Clock) -> Account {
        let (call, counted) = (self.call.clone(), Arc::clone(&self.counted));
        Account::open((call, self.reserved.take()), counted, Arc::clone(clock), self.began)
    }
}

impl Inner {
    /// The decision, in the spool before a byte goes upstream; with room for the outcome.
    pub(crate) async fn record(
        &self,
        caller: &Caller,
        permits: &Permits,
        what: What<'_>,
    ) -> Result<Recorded, Refusal> {
        let call = self.unique();
        let durability = if permits.is_strict() { Durability::Strict } else { Durability::Usual };
        let decided = Decided {
            at: caller.now,
            call: &call,
            principal: &caller.principal,
            agent: caller.known.agent_name(&caller.principal),
            policy: caller.known.number,
            server: &caller.door.server,
            what,
            address: caller.address,
            judgement: Judgement::Allowed(permits),
        };
        match self.spool.decided(&decided, durability).await {
            Ok(reserved) => {
                let began = Instant::now();
                let counted = self.counters.of(caller.door.server.name.as_str());
                Ok(Recorded { call, began, reserved: Some(reserved), counted })
            }
            Err(failure) => {
                tracing::error!(error = &failure as &dyn std::error::Error, "nothing is served");
                Err(Refusal::Spool)
            }
        }
    }

    /// The outcome, beside its decision; that of a stream follows when it is over.
    pub(crate) fn conclude(
        &self,
        recorded: Recorded,
        delivered: Result<Response<Body>, Refusal>,
    ) -> Result<Response<Body>, Refusal> {
        let (status, how) = match &delivered {
            Ok(response) => (response.status(), ANSWERED),
            Err(refusal) => (refusal.status(), refusal.reason()),
        };
        recorded.counted.ended(how);
        let Some(reserved) = recorded.reserved else {
            return delivered;
        };
        let ended = Ended {
            at: (self.settings.clock)(),
            call: &recorded.call,
            status: status.as_u16(),
            how,
            took: recorded.began.elapsed(),
            stream: None,
        };
        if let Err(failure) = reserved.ended(&ended) {
            let error = &failure as &dyn std::error::Error;
            tracing::error!(error, "an outcome could not be recorded");
        }
        delivered
    }

    pub(crate) fn record_refusal(&self, caller: &Caller, refused: &Refused) {
        let reason = refused.refusal.reason();
        let server = caller.door.server.name.as_str();
        if let Refusal::TooOften(_) = *refused.refusal {
            // PC-53: counted. Whoever calls too often must fill neither the record nor the log.
            self.counters.of(server).ended(reason);
            return;
        }
        tracing::info!(reason, server, client = caller.principal.client_id.as_str(), "refused");
        if refused.is_recorded {
            return;
        }
        self.counters.of(server).ended(reason);
        let decided = Decided {
            at: caller.now,
            call: &self.unique(),
            principal: &caller.principal,
            agent: caller.known.agent_name(&caller.principal),
            policy: caller.known.number,
            server: &caller.door.server,
            what: What {
                method: &refused.method,
                object: refused.object.as_deref(),
                object_kind: refused.object_kind,
            },
            address: caller.address,
            judgement: Judgement::Refused {
                reason,
                needed: refused.refusal.needed(),
                condition: refused.refusal.condition(),
            },
        };
        if let Err(failure) = self.spool.refused(&decided) {
            let error = &failure as &dyn std::error::Error;
            tracing::error!(error, "a refusal could not be recorded");
        }
    }
}

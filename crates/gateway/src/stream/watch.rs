//! Whether an open stream may go on: looked at when news comes, when time is up, and before each event, which costs two
//! comparisons as long as nothing happened.

use crate::decide::authorize::is_still_allowed;
use crate::decide::circumstances::InMessage;
use crate::decide::pins::Pinboard;
use crate::known::disbelief::Disbelief;
use crate::known::door::Door;
use crate::known::state::Knowledge;
use crate::message::call::Aim;
use crate::settings::Clock;
use portcullis_domain::condition::{Arguments, Circumstances};
use portcullis_oauth::jwt::TokenRefusal;
use portcullis_oauth::time::Timestamp;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Nobody looks oftener than this only because time passes.
const SHORTEST: Duration = Duration::from_millis(250);

/// How far the gateway's going down has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Closing {
    /// Not at all.
    Open,
    /// Streams that end at nobody's word are ended; answers may still be completed.
    Draining,
    /// Everything ends.
    Now,
}

/// Why a stream ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// The token's life: a new one may go on.
    Expired,
    GoingDown,
    /// Another issuer would have to say that the token is still good, and does not.
    IssuerAway,
    /// Policy, pins or a condition allow it no more.
    NotAllowed,
    /// The token is no longer believed.
    Revoked,
    /// What the gateway knows is too old to decide by.
    Stale,
}

/// What an open stream is asked again.
pub(crate) struct Watch {
    pub(crate) knowledge: Arc<Knowledge>,
    pub(crate) clock: Clock,
    pub(crate) pins: Arc<Pinboard>,
    pub(crate) door: Arc<Door>,
    pub(crate) token: Arc<str>,
    pub(crate) aim: Aim,
    pub(crate) address: Option<IpAddr>,
    /// Kept where a condition asks for them; what begins to ask later ends the stream.
    pub(crate) arguments: Option<InMessage>,
    /// Whether it ends at nobody's word.
    pub(crate) is_endless: bool,
    pub(crate) changes: watch::Receiver<u64>,
    pub(crate) closing: watch::Receiver<Closing>,
    /// Until when the last look holds if no news comes; `None` before the first.
    pub(crate) holds_until: Option<Timestamp>,
}

impl Watch {
    /// Whether the stream may go on now.
    pub(crate) async fn look(&mut self) -> Result<(), Over> {
        let now = (self.clock)();
        if self.holds(now) {
            return Ok(());
        }
        self.changes.mark_unchanged();
        let closing = *self.closing.borrow_and_update();
        if closing == Closing::Now || (self.is_endless && closing == Closing::Draining) {
            return Err(Over::GoingDown);
        }
        self.ready(now).await;
        self.holds_until = Some(self.allowed_until(now)?);
        Ok(())
    }

    /// Returns when it must end. May be dropped at any moment.
    pub(crate) async fn over(&mut self) -> Over {
        loop {
            if let Err(over) = self.look().await {
                return over;
            }
            let due = self.due();
            tokio::select! {
                () = self.news() => {}
                () = tokio::time::sleep(due) => {}
            }
        }
    }

    fn holds(&self, now: Timestamp) -> bool {
        self.holds_until.is_some_and(|until| !until.has_passed(now))
            && !self.changes.has_changed().unwrap_or(true)
            && !self.closing.has_changed().unwrap_or(true)
    }

    /// Returns when there is news. May be dropped at any moment.
    pub(crate) async fn news(&mut self) {
        // Who would tell news is gone with the gateway: that is news, too.
        tokio::select! {
            _changed_or_gone = self.changes.changed() => self.holds_until = None,
            _changed_or_gone = self.closing.changed() => self.holds_until = None,
        }
    }

    /// How long the last look holds if no news comes.
    pub(crate) fn due(&self) -> Duration {
        let now = (self.clock)();
        self.holds_until.map_or(SHORTEST, |until| until.since(now).max(SHORTEST))
    }

    /// Whoever issued the token is asked again where that is due; what is not known then is not believed.
    async fn ready(&self, now: Timestamp) {
        if let Some(known) = self.knowledge.known()
            && known.ask_again(&self.door, now).is_some()
        {
            // Asking takes much room, and every open stream would keep it.
            let asked = self.knowledge.ready((&known, &self.door), &self.token, now, || Ok(()));
            let _judged_next = Box::pin(asked).await;
        }
    }

    /// Until when nothing but news can end the stream.
    fn allowed_until(&self, now: Timestamp) -> Result<Timestamp, Over> {
        if !self.knowledge.is_fresh(now) {
            return Err(Over::Stale);
        }
        let known = self.knowledge.known().ok_or(Over::Stale)?;
        let policy = known.policy_of(&self.door).ok_or(Over::NotAllowed)?;
        let principal =
            self.knowledge.believe(&known, &self.door, &self.token, now).map_err(|why| match why {
                Disbelief::Token(TokenRefusal::Expired) => Over::Expired,
                Disbelief::IssuerAway => Over::IssuerAway,
                Disbelief::NotActive | Disbelief::Revoked | Disbelief::Token(_) | Disbelief::Unchecked(_) => {
                    Over::Revoked
                }
            })?;
        let arguments = self.arguments.as_ref().map(|arguments| arguments as &dyn Arguments);
        let circumstances = Circumstances { now, address: self.address, arguments };
        let pins = self.pins.of(&known, &self.door).ok_or(Over::NotAllowed)?;
        if !is_still_allowed((policy, &pins), &principal, &self.aim, &circumstances) {
            return Err(Over::NotAllowed);
        }
        let token_ends = principal.expires_at + known.leeway();
        let ends = policy.end_of(&principal).map_or(token_ends, |end| end.min(token_ends));
        let ask_again = known.ask_again(&self.door, now).unwrap_or(ends);
        let stale = self.knowledge.stale_at() + Duration::from_secs(1);
        Ok(ends.min(stale).min(ask_again).min(next_minute(now)))
    }
}

/// Windows of time open and close at whole minutes (PC-24).
fn next_minute(now: Timestamp) -> Timestamp {
    Timestamp::from_seconds((now.seconds().div_euclid(60) + 1) * 60)
}

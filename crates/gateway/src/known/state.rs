//! What the gateway knows: one snapshot, swapped atomically, the revocations beside it, and how fresh both are.

mod revocations;

use crate::bounds::rates::TooOften;
use crate::known::caller::Caller;
use crate::known::disbelief::Disbelief;
use crate::known::door::Door;
use crate::known::external::Believed;
use crate::known::feed_error::FeedError;
use crate::known::snapshot::{Known, Means};
use arc_swap::{ArcSwap, ArcSwapOption};
use portcullis_domain::id::ConnectionId;
use portcullis_domain::principal::{Principal, Revocation};
use portcullis_domain::snapshot::{Snapshot, Update};
use portcullis_oauth::issuer::Issuer;
use portcullis_oauth::jwt::Expected;
use portcullis_oauth::time::Timestamp;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

use revocations::Revocations;

/// Everything that is known; updates come one at a time.
pub(crate) struct Knowledge {
    issuer: Issuer,
    assertion_kid: String,
    max_staleness: Duration,
    means: Means,
    known: ArcSwapOption<Known>,
    revocations: ArcSwap<Revocations>,
    as_of: AtomicI64,
    feeding: Mutex<()>,
    changed: watch::Sender<u64>,
    news: AtomicU64,
}

impl Knowledge {
    pub(crate) fn new(issuer: Issuer, assertion_kid: String, max_staleness: Duration, means: Means) -> Self {
        Self {
            issuer,
            assertion_kid,
            max_staleness,
            means,
            known: ArcSwapOption::empty(),
            revocations: ArcSwap::default(),
            as_of: AtomicI64::new(i64::MIN),
            feeding: Mutex::new(()),
            changed: watch::Sender::new(0),
            news: AtomicU64::new(0),
        }
    }

    /// The current snapshot.
    pub(crate) fn known(&self) -> Option<Arc<Known>> {
        self.known.load_full()
    }

    /// Told after every update; open streams ask again whether they may.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The moment at which what is known becomes too old to decide by.
    pub(crate) fn stale_at(&self) -> Timestamp {
        Timestamp::from_seconds(self.as_of.load(Ordering::Acquire)) + self.max_staleness
    }

    /// How long ago the newest update was made; none if there was none.
    pub(crate) fn age(&self, now: Timestamp) -> Option<Duration> {
        let as_of = self.as_of.load(Ordering::Acquire);
        (as_of != i64::MIN).then(|| now.since(Timestamp::from_seconds(as_of)))
    }

    /// Whether calls may be decided now. News from a future further away than news may be old mean that our clock was set
    /// back: how old they are is not known then.
    pub(crate) fn is_fresh(&self, now: Timestamp) -> bool {
        let as_of = Timestamp::from_seconds(self.as_of.load(Ordering::Acquire));
        self.known.load().is_some() && now <= self.stale_at() && as_of <= now + self.max_staleness
    }

    /// How often there was news. To be read before anybody is believed: what comes meanwhile is then news again.
    pub(crate) fn news(&self) -> u64 {
        self.news.load(Ordering::Acquire)
    }

    /// Whether the caller was believed in this second, by what is known now.
    pub(crate) fn is_of_this_moment(&self, caller: &Caller, now: Timestamp) -> bool {
        let known = self.known.load();
        now == caller.now
            && self.news() == caller.news
            && known.as_ref().is_some_and(|known| Arc::ptr_eq(known, &caller.known))
            && self.is_fresh(now)
    }

    /// Whether asking again who calls must find what it found before: it is the same second, nothing was heard since, and
    /// nobody else has a say.
    pub(crate) fn is_as_it_was(&self, caller: &Caller, now: Timestamp) -> bool {
        self.is_of_this_moment(caller, now) && caller.known.trusts.at(caller.door.server.id).is_none()
    }

    /// Who presents `token` to `door` now: a token that was let in before.
    pub(crate) fn believe(
        &self,
        known: &Known,
        door: &Door,
        token: &str,
        now: Timestamp,
    ) -> Result<Arc<Principal>, Disbelief> {
        self.believe_if((known, door), token, now, || Ok(()))
    }

    /// Who presents `token` to `door` now; `may_check` is asked before the signature of one that was never seen is checked.
    pub(crate) fn believe_if(
        &self,
        (known, door): (&Known, &Door),
        token: &str,
        now: Timestamp,
        may_check: impl FnOnce() -> Result<(), TooOften>,
    ) -> Result<Arc<Principal>, Disbelief> {
        let mut may_check = Some(may_check);
        let mut may_check = || may_check.take().map_or(Ok(()), |may_check| may_check());
        if let Some(trust) = known.trusts.at(door.server.id) {
            match trust.believe(known.here(door, now), token, &mut may_check)? {
                Believed::Own => {}
                Believed::Other(principal) => return self.unless_revoked(Arc::new(principal), (known, door)),
            }
        }
        let expected = Expected {
            issuer: &known.issuer,
            audience: door.server.canonical_uri.as_str(),
            now,
            leeway: known.leeway,
            max_life: known.max_life,
        };
        let verified = known.verifier.verify_if(token, &expected, may_check);
        let principal = verified.map_err(Disbelief::Unchecked)?.map_err(Disbelief::Token)?;
        self.unless_revoked(principal, (known, door))
    }

    /// Whether a person's connection to a third party ended.
    pub(crate) fn has_ended(&self, connection: ConnectionId) -> bool {
        self.revocations.load().has_ended(connection)
    }

    fn unless_revoked(
        &self,
        principal: Arc<Principal>,
        (known, door): (&Known, &Door),
    ) -> Result<Arc<Principal>, Disbelief> {
        if self.revocations.load().concern(&principal, door.server.id, known.leeway) {
            Err(Disbelief::Revoked)
        } else {
            Ok(principal)
        }
    }

    /// To be awaited before a token is judged: where others' tokens count, their issuer may have to be asked.
    pub(crate) async fn ready(
        &self,
        (known, door): (&Known, &Door),
        token: &str,
        now: Timestamp,
        may_check: impl FnOnce() -> Result<(), TooOften>,
    ) -> Result<(), Disbelief> {
        match known.trusts.at(door.server.id) {
            None => Ok(()),
            Some(trust) => trust.ready(known.here(door, now), token, may_check).await,
        }
    }

    /// Takes an update, or changes nothing.
    pub(crate) fn feed(&self, bytes: &[u8], now: Timestamp) -> Result<(), FeedError> {
        let update: Update = serde_json::from_slice(bytes).map_err(FeedError::Malformed)?;
        let _one_at_a_time = self.feeding.lock().unwrap_or_else(PoisonError::into_inner);
        // What comes ahead is followed by everything.
        let tells_nothing = matches!(update, Update::Ahead { .. } | Update::Fresh { .. });
        let taken = self.take(update, now);
        // Also of one that was refused: it may have been taken in part.
        self.news.fetch_add(1, Ordering::Release);
        // Once, and when all of it is there: every open stream looks again.
        if !tells_nothing {
            self.changed.send_modify(|_| ());
        }
        taken
    }

    fn take(&self, update: Update, now: Timestamp) -> Result<(), FeedError> {
        let before = self.known.load_full();
        let as_of = match update {
            Update::Ahead { revocations } => {
                self.take_revocations(&revocations, now);
                return Ok(());
            }
            Update::Fresh { number, as_of } => {
                match number.cmp(&self.heard_of()) {
                    std::cmp::Ordering::Less => return Err(FeedError::Older),
                    std::cmp::Ordering::Equal if before.is_some() => {}
                    std::cmp::Ordering::Equal | std::cmp::Ordering::Greater => {
                        return Err(FeedError::Missed);
                    }
                }
                as_of
            }
            Update::Full { snapshot, revocations, as_of } => {
                let known = self.prepared(&snapshot, before.as_deref())?;
                // Revocations first: no request may meet the new snapshot without them.
                self.take_revocations(&revocations, now);
                self.known.store(Some(Arc::new(known)));
                self.hear_of(snapshot.number);
                as_of
            }
            Update::Agents { after, number, agents, revocations, as_of } => {
                // Disbelief is taken at once, whatever comes of the rest.
                self.take_revocations(&revocations, now);
                let before = before.filter(|_| after == self.heard_of() && after < number);
                let known = before.and_then(|before| before.with_agents(&agents, number));
                self.known.store(Some(Arc::new(known.ok_or(FeedError::Missed)?)));
                self.hear_of(number);
                as_of
            }
            Update::Revoked { number, revocations, as_of } => {
                // Disbelief is taken at once, whatever the order: it only ever refuses more.
                self.take_revocations(&revocations, now);
                if before.is_none() {
                    return Err(FeedError::Missed);
                }
                self.hear_of(number.max(self.heard_of()));
                as_of
            }
        };
        // A clock ahead of ours must not keep us believing longer than we would ourselves.
        let as_of = as_of.min(now).seconds();
        let latest_possible = (now + self.max_staleness).seconds();
        // It only grows, except that what was heard in a future that our clock no longer believes in is forgotten.
        let grown = |before: i64| Some(if before > latest_possible { as_of } else { before.max(as_of) });
        let _always_taken = self.as_of.fetch_update(Ordering::AcqRel, Ordering::Acquire, grown);
        Ok(())
    }

    /// Nothing is known any more, and nobody is believed.
    pub(crate) fn forget(&self) {
        let _one_at_a_time = self.feeding.lock().unwrap_or_else(PoisonError::into_inner);
        self.known.store(None);
        self.as_of.store(i64::MIN, Ordering::Release);
        self.changed.send_replace(0);
    }

    /// The position in the feed up to which everything was heard.
    fn heard_of(&self) -> u64 {
        *self.changed.borrow()
    }

    /// Notes it; nobody is woken.
    fn hear_of(&self, number: u64) {
        self.changed.send_if_modified(|heard| {
            *heard = number;
            false
        });
    }

    fn prepared(&self, snapshot: &Snapshot, before: Option<&Known>) -> Result<Known, FeedError> {
        if snapshot.issuer != self.issuer {
            return Err(FeedError::Issuer);
        }
        if snapshot.keys.keys.iter().any(|key| key.kid == self.assertion_kid) {
            return Err(FeedError::AssertionKeyAmongAccessKeys);
        }
        if self.heard_of() > snapshot.number {
            return Err(FeedError::Older);
        }
        // Counted on after each update, and one is taken at a time.
        Known::new((snapshot, self.news()), before, &self.means)
    }

    fn take_revocations(&self, new: &[Revocation], now: Timestamp) {
        let log = self.revocations.load().with(new, now);
        self.revocations.store(Arc::new(log));
    }
}

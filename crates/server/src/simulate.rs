//! `policy simulate` (PC-26): every recorded call of a period is decided again, by today's fleet and by a changed one, with
//! the one decision function; what they decide differently is what the change would do to those who really call.
//!
//! Nothing is guessed. Where the answer hangs on what the record does not hold, the call is counted apart.

mod judge;
mod planned;

pub(crate) use judge::Facts;
use judge::Verdict;

use crate::app::App;
use crate::calls::{self, Call, Sources};
use crate::fault::Fault;
use judge::{Judges, Unknowable};
use portcullis_domain::fleet::Fleet;
use portcullis_oauth::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// More different changes than this are counted, but not listed.
const MOST_CHANGES: usize = 10_000;

/// What a changed fleet would do.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Simulation {
    /// How many calls of the period were decided again.
    pub(crate) calls: u64,
    /// Nothing differs for these.
    pub(crate) unchanged: u64,
    /// What differs, the most frequent first.
    pub(crate) changes: Vec<Change>,
    /// Calls whose change is not listed because there are too many different ones.
    pub(crate) unlisted: u64,
    /// The answer would hang on what was not recorded: arguments, an address, or a name that was cut.
    pub(crate) undecidable: u64,
    /// Whoever called, or the server, is not there any more today.
    pub(crate) gone: u64,
    /// Refused for what is no matter of the fleet: an unreadable message, an unapproved tool, too many calls.
    pub(crate) other: u64,
    /// Lines of the record that could not be read.
    pub(crate) unreadable: u64,
}

/// Calls that would be decided differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Change {
    /// What happens to them.
    pub(crate) effect: Effect,
    /// `agent ci-bot`, `user alice`
    pub(crate) who: String,
    /// The server's name.
    pub(crate) server: String,
    /// The tool, prompt or resource, or the method of what belongs to being connected.
    pub(crate) what: String,
    /// How often it was called.
    pub(crate) count: u64,
    /// What today's fleet says.
    pub(crate) before: String,
    /// What the changed one says: the rule or condition.
    pub(crate) after: String,
}

/// What a change does to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Effect {
    /// Refused, and asking again cannot help.
    Refused,
    /// Refused with the token that it was made with; the caller may have one that opens it.
    NeedsScope,
    /// Allowed, and was not.
    Allowed,
}

/// Decides the calls since then again.
pub(crate) async fn simulate(app: &Arc<App>, fleet: &Fleet, since: Timestamp) -> Result<Simulation, Fault> {
    app.catch_up().await;
    let now = app.clock.now();
    let facts = Facts::read(app).await?;
    let today = app.current.load_full();
    let planned = planned::snapshot(&today.snapshot, fleet, now, &mut app.entropy.rng());
    let is_same = planned == today.snapshot;
    let before = Judges::of(&today.snapshot).map_err(|_| Fault::Shape("the registered fleet"))?;
    let after = Judges::of(&planned).map_err(|_| Fault::Shape("the planned fleet"))?;
    let data = app.config.data.clone();
    let replayed = tokio::task::spawn_blocking(move || {
        let mut replay =
            Replay { facts, before, after, is_same, groups: BTreeMap::new(), found: Simulation::default() };
        let lost =
            calls::each(&Sources::of(&data)?, (since, now + std::time::Duration::from_secs(1)), |call| {
                replay.call(&call);
            })?;
        replay.found.unreadable = lost;
        Ok::<_, std::io::Error>(replay.end())
    });
    let replayed = replayed.await.map_err(|_| Fault::Shape("the record of calls"))?;
    replayed.map_err(|error| {
        tracing::error!(error = %error, "the record of calls cannot be read");
        Fault::Shape("the record of calls")
    })
}

type Group = (Effect, String, String, String, String, String);

struct Replay {
    facts: Facts,
    before: Judges,
    after: Judges,
    /// Nothing is changed at all.
    is_same: bool,
    groups: BTreeMap<Group, u64>,
    found: Simulation,
}

impl Replay {
    fn call(&mut self, call: &Call) {
        if judge::is_other(call) {
            self.found.other += 1;
            return;
        }
        self.found.calls += 1;
        match self.judged(call) {
            Err(Unknowable::Gone) => self.found.gone += 1,
            Err(Unknowable::Undecidable) => self.found.undecidable += 1,
            Ok(None) => self.found.unchanged += 1,
            Ok(Some(group)) => {
                if self.groups.len() < MOST_CHANGES || self.groups.contains_key(&group) {
                    *self.groups.entry(group).or_default() += 1;
                } else {
                    self.found.unlisted += 1;
                }
            }
        }
    }

    fn judged(&self, call: &Call) -> Result<Option<Group>, Unknowable> {
        let known = self.facts.of(call)?;
        let (before, after) = match (self.before.judge(call, &known), self.after.judge(call, &known)) {
            (Ok(before), Ok(after)) => (before, after),
            // What it was about was not recorded; in the same fleet it is the same all the same.
            (Err(_), _) | (_, Err(_)) if self.is_same => return Ok(None),
            (Err(why), _) | (_, Err(why)) => return Err(why),
        };
        if before.is_like(&after) && self.before.asks_the_same_as(&self.after, call, &known) {
            return Ok(None);
        }
        let (Some(before), Some(after)) = (before.known(), after.known()) else {
            return Err(Unknowable::Undecidable);
        };
        let effect = match (&before, &after) {
            (Verdict::Allowed, Verdict::Allowed)
            | (Verdict::Refused(_) | Verdict::NeedsScope(_), Verdict::Refused(_) | Verdict::NeedsScope(_)) => {
                return Ok(None);
            }
            (Verdict::Refused(_) | Verdict::NeedsScope(_), Verdict::Allowed) => Effect::Allowed,
            (Verdict::Allowed, Verdict::Refused(_)) => Effect::Refused,
            (Verdict::Allowed, Verdict::NeedsScope(_)) => Effect::NeedsScope,
        };
        let what = call.object.clone().unwrap_or_else(|| call.method.clone());
        Ok(Some((effect, known.who, call.server_name.clone(), what, before.to_string(), after.to_string())))
    }

    fn end(mut self) -> Simulation {
        let change = |((effect, who, server, what, before, after), count)| Change {
            effect,
            who,
            server,
            what,
            count,
            before,
            after,
        };
        self.found.changes = self.groups.into_iter().map(change).collect();
        // Stable: within one count, in the order of the groups.
        self.found.changes.sort_by_key(|change| (change.effect, std::cmp::Reverse(change.count)));
        self.found
    }
}

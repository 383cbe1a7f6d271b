//! Pins where calls are decided (PC-33): a tool is called, and listed, only while it is as it was approved.
//!
//! What is seen to differ, by whomever, is held on this node at once, for everybody, and until somebody approves it anew: an
//! upstream that shows one thing to one and another to others, or changes back, does not get its tool free again. The control
//! room is told through a bounded queue that no call waits for.

mod look;

pub(crate) use look::Look;

use crate::known::door::Door;
use crate::known::snapshot::Known;
use crate::settings::Clock;
use arc_swap::{ArcSwap, Guard};
use portcullis_domain::id::ServerId;
use portcullis_domain::pins::{Digest, Pin, PinnedTools, SeenTool, Sighting, Standing};
use portcullis_domain::policy::Operation;
use portcullis_oauth::time::Timestamp;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// Sightings that wait for the control room.
const WAITING: usize = 8;

/// What was told is told again after this: the control room may have missed it.
const TELL_AGAIN: Duration = Duration::from_mins(10);

/// The most definitions of one server that are told within that time, however often its upstream changes its mind.
const MOST_TOLD: usize = 4096;

/// The tools that an operation needs are as they were approved. Only [`ServerPins::admit`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AsPinned(());

/// Why a tool is not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unpinned {
    /// It was seen to differ from what was approved.
    Changed,
    /// Nobody approved it.
    NotApproved,
}

/// A look at a whole list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// What is not as it was approved; everything where nothing is pinned yet.
    pub sighting: Sighting,
    /// The names of all tools.
    pub names: BTreeSet<String>,
}

/// Everything that this node saw.
pub(crate) struct Pinboard {
    drifts: ArcSwap<Drifts>,
    told: Mutex<HashMap<ServerId, Told>>,
    clock: Clock,
    news: mpsc::Sender<Sighting>,
    unread: Mutex<Option<mpsc::Receiver<Sighting>>>,
}

/// Tools that were seen to differ, with the approval that they differed from.
#[derive(Clone, Default)]
struct Drifts {
    tools: HashMap<ServerId, HashMap<String, u64>>,
    /// How often there was news.
    count: u64,
}

/// What the control room was told of one server.
struct Told {
    since: Timestamp,
    definitions: HashSet<(String, Digest, u64)>,
}

/// The pins of one server at one moment, with what this node saw.
pub(crate) struct ServerPins<'a> {
    server: ServerId,
    tools: &'a PinnedTools,
    drifts: Guard<Arc<Drifts>>,
}

impl Pinboard {
    pub(crate) fn new(clock: Clock) -> Self {
        let (news, unread) = mpsc::channel(WAITING);
        let unread = Mutex::new(Some(unread));
        Self { drifts: ArcSwap::default(), told: Mutex::default(), clock, news, unread }
    }

    /// What waits for the control room; once.
    pub(crate) fn sightings(&self) -> Option<mpsc::Receiver<Sighting>> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The pins of a server; `None` if it is not behind this gateway any more.
    pub(crate) fn of<'a>(&self, known: &'a Known, door: &Door) -> Option<ServerPins<'a>> {
        let server = door.server.id;
        Some(ServerPins { server, tools: known.pinned_tools(server)?, drifts: self.drifts.load() })
    }

    /// These pins, with what this node saw.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn of_tools<'a>(&self, server: ServerId, tools: &'a PinnedTools) -> ServerPins<'a> {
        ServerPins { server, tools, drifts: self.drifts.load() }
    }

    /// Takes in what a list showed. `is_whole`: it was asked for from its beginning; whether it went to its end, the look knows.
    pub(crate) fn take(&self, look: Look<'_>, is_whole: bool) {
        let found = look.found();
        self.hold(found.server, &found.drifted);
        let whole = is_whole && !found.goes_on;
        // Before the first sight a part says nothing: what is pinned is all of it.
        if !found.tools.is_empty() && (whole || !found.is_first) {
            self.tell(Sighting { server: found.server, whole, tools: found.tools });
        }
    }

    /// Takes in a whole list that we asked for ourselves. Whoever asked tells the control room.
    pub(crate) fn surveyed(&self, look: Look<'_>) -> Survey {
        let found = look.found();
        self.hold(found.server, &found.drifted);
        let sighting = Sighting { server: found.server, whole: true, tools: found.tools };
        Survey { sighting, names: found.names }
    }

    fn hold(&self, server: ServerId, drifted: &[(String, u64)]) {
        let held = self.drifts.load();
        let is_news = |(tool, approval): &&(String, u64)| !held.has(server, tool, *approval);
        let news: Vec<_> = drifted.iter().filter(is_news).collect();
        if news.is_empty() {
            return;
        }
        for (tool, _) in &news {
            tracing::warn!(server = %server, tool, "a tool changed since it was approved: it is not called any more");
        }
        self.drifts.rcu(|drifts| {
            let mut drifts = Drifts::clone(drifts);
            drifts.count += 1;
            let of_server = drifts.tools.entry(server).or_default();
            of_server.extend(news.iter().map(|(tool, approval)| (tool.clone(), *approval)));
            drifts
        });
    }

    fn tell(&self, sighting: Sighting) {
        let now = (self.clock)();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Told { since: now, definitions: HashSet::new() };
        let told = told.entry(sighting.server).or_insert_with(fresh);
        if (told.since + TELL_AGAIN).has_passed(now) {
            *told = fresh();
        }
        let news: Vec<_> =
            sighting.tools.iter().map(key).filter(|key| !told.definitions.contains(key)).collect();
        if news.is_empty() || told.definitions.len() + news.len() > MOST_TOLD {
            return;
        }
        // What finds no room is told when it is seen again.
        if self.news.try_send(sighting).is_ok() {
            told.definitions.extend(news);
        }
    }
}

fn key(seen: &SeenTool) -> (String, Digest, u64) {
    (seen.name.clone(), seen.definition.digest(), seen.approval)
}

impl Drifts {
    fn has(&self, server: ServerId, tool: &str, approval: u64) -> bool {
        self.tools.get(&server).and_then(|tools| tools.get(tool)).is_some_and(|seen| *seen == approval)
    }
}

impl ServerPins<'_> {
    /// Whether the operation needs no tool, or one that is as it was approved.
    pub(crate) fn admit(&self, operation: Operation<'_>) -> Result<AsPinned, Unpinned> {
        let Operation::Tool(name) = operation else {
            return Ok(AsPinned(()));
        };
        match self.tools.standing(name) {
            Standing::Free => Ok(AsPinned(())),
            Standing::Pinned(pin) if !self.has_drifted(name, pin) => Ok(AsPinned(())),
            Standing::Pinned(_) | Standing::Held(_) => Err(Unpinned::Changed),
            Standing::NotApproved => Err(Unpinned::NotApproved),
        }
    }

    fn has_drifted(&self, tool: &str, pin: Pin) -> bool {
        self.drifts.has(self.server, tool, pin.approval)
    }
}

//! Which programs run, and for whom, and how many there may be.

use super::child::{Child, Owner};
use super::desk::{End, Kind};
use super::rests::{Rests, Spoke};
use super::{Bounds, StdioFailure};
use crate::known::caller::is_probe;
use crate::settings::{Program, Secrets};
use portcullis_domain::id::ServerId;
use portcullis_domain::principal::Principal;
use portcullis_domain::registry::Server;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::time::Instant;

pub(super) struct Pool {
    state: Mutex<State>,
    bounds: Bounds,
    secrets: Secrets,
}

#[derive(Default)]
struct State {
    started: u64,
    /// Everything that runs, what is ending too.
    running: HashMap<u64, Arc<Child>>,
    /// What serves a session, by its id.
    sessions: HashMap<String, u64>,
    /// What serves a principal without sessions.
    stateless: HashMap<Owner, u64>,
    rests: Rests,
    closed: bool,
}

/// What is asked to run.
pub(super) struct Wanted<'a> {
    pub(super) server: &'a Server,
    pub(super) principal: &'a Principal,
    pub(super) program: &'a Program,
}

/// What would have to go before anything can be started.
enum Start {
    Done(Arc<Child>),
    Waits(Arc<Child>),
}

impl Pool {
    pub(super) fn new(bounds: Bounds, secrets: Secrets) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), bounds, secrets })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The program that serves the principal in the revision without sessions; started when there is none.
    pub(super) async fn shared(self: &Arc<Self>, wanted: &Wanted<'_>) -> Result<Arc<Child>, StdioFailure> {
        self.run(wanted, Kind::Stateless, None).await
    }

    /// The same, if it runs.
    pub(super) fn running(&self, wanted: &Wanted<'_>) -> Option<Arc<Child>> {
        let owner = Owner::of(wanted.server, wanted.principal);
        self.state().shared(&owner)
    }

    /// A program for a new session.
    pub(super) async fn begin(
        self: &Arc<Self>,
        wanted: &Wanted<'_>,
        session: &str,
    ) -> Result<Arc<Child>, StdioFailure> {
        self.run(wanted, Kind::Session, Some(session)).await
    }

    /// The program that serves a session.
    pub(super) fn session(&self, session: &str) -> Option<Arc<Child>> {
        let state = self.state();
        let child = state.running.get(state.sessions.get(session)?)?;
        (!child.is_ended()).then(|| Arc::clone(child))
    }

    /// The program is used no more, but for what it is doing: the next message starts another.
    pub(super) fn retire(&self, child: &Arc<Child>) {
        let mut state = self.state();
        state.leave(child);
        if child.idle_since().is_some() {
            child.stop();
        }
    }

    /// Ends everything, and starts nothing more. Returns when nothing runs.
    pub(super) async fn close(&self) {
        let running: Vec<_> = {
            let mut state = self.state();
            state.closed = true;
            state.running.values().cloned().collect()
        };
        for child in &running {
            child.stop();
        }
        for child in &running {
            child.gone().await;
        }
    }

    /// How many programs run, those that are ending too.
    pub(super) fn count(&self) -> usize {
        self.state().running.len()
    }

    async fn run(
        self: &Arc<Self>,
        wanted: &Wanted<'_>,
        kind: Kind,
        session: Option<&str>,
    ) -> Result<Arc<Child>, StdioFailure> {
        for _ in 0..3 {
            match self.try_run(wanted, kind, session)? {
                Start::Done(child) => return Ok(child),
                Start::Waits(leaving) => {
                    leaving.stop();
                    leaving.gone().await;
                }
            }
        }
        Err(StdioFailure::TooManyPrograms)
    }

    fn try_run(
        self: &Arc<Self>,
        wanted: &Wanted<'_>,
        kind: Kind,
        session: Option<&str>,
    ) -> Result<Start, StdioFailure> {
        let owner = Owner::of(wanted.server, wanted.principal);
        // Held while the program is started: two requests of one principal start one program.
        let mut state = self.state();
        if state.closed {
            return Err(StdioFailure::Ended);
        }
        if kind == Kind::Stateless
            && let Some(child) = state.shared(&owner)
        {
            if child.program == *wanted.program {
                return Ok(Start::Done(child));
            }
            // The machine's configuration changed since.
            state.leave(&child);
            child.stop();
        }
        let (is_served, now) = (state.serves(owner.server), Instant::now());
        let may_start = state.rests.may_start(&owner, is_served, now);
        may_start.map_err(|wait| StdioFailure::Resting { seconds: wait.as_secs() + 1 })?;
        if let Some(leaving) = state.in_the_way(&owner, &self.bounds)? {
            return Ok(Start::Waits(leaving));
        }
        state.rests.started(&owner, is_served, now);
        let child = self.start(&mut state, wanted, kind)?;
        let number = state.started;
        match session {
            Some(session) => state.sessions.insert(session.to_owned(), number),
            None => state.stateless.insert(owner, number),
        };
        Ok(Start::Done(child))
    }

    fn start(
        self: &Arc<Self>,
        state: &mut State,
        wanted: &Wanted<'_>,
        kind: Kind,
    ) -> Result<Arc<Child>, StdioFailure> {
        let started = Child::start(
            kind,
            wanted.program,
            wanted.server,
            wanted.principal,
            (&self.bounds, &self.secrets),
        );
        let (child, upkeep) = match started {
            Ok(started) => started,
            Err(error) if is_our_lack(&error) => {
                tracing::error!(server.name = %wanted.server.name, error = %error, "no program can be started now");
                return Err(StdioFailure::TooManyPrograms);
            }
            Err(error) => {
                let owner = Owner::of(wanted.server, wanted.principal);
                tracing::error!(server.name = %wanted.server.name, error = %error, "a program cannot be started");
                state.rests.failed(owner, Duration::ZERO, Spoke::Never, Instant::now());
                return Err(StdioFailure::CannotStart);
            }
        };
        state.started += 1;
        let number = state.started;
        state.running.insert(number, Arc::clone(&child));
        let pool = Arc::downgrade(self);
        tokio::spawn(look_after(pool, number, Arc::clone(&child), upkeep));
        Ok(child)
    }
}

/// The machine has no descriptor, process or memory left: the program is not to blame, and need not rest.
fn is_our_lack(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let lacks = [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| lacks.contains(&errno))
}

async fn look_after(pool: Weak<Pool>, number: u64, child: Arc<Child>, upkeep: super::child::Upkeep) {
    let began = Instant::now();
    let leave = |why: End| {
        if let Some(pool) = pool.upgrade() {
            let mut state = pool.state();
            state.leave(&child);
            match why {
                End::Exited | End::Garbled | End::Hung => {
                    let (owner, spoke) = (child.owner.clone(), child.spoke());
                    state.rests.failed(owner, began.elapsed(), spoke, Instant::now());
                }
                End::Idle | End::Stopped => {}
            }
        }
    };
    upkeep.run(leave).await;
    if let Some(pool) = pool.upgrade() {
        pool.state().running.remove(&number);
    }
}

impl State {
    fn shared(&self, owner: &Owner) -> Option<Arc<Child>> {
        let child = self.running.get(self.stateless.get(owner)?)?;
        (!child.is_ended()).then(|| Arc::clone(child))
    }

    /// Nothing finds the program any more.
    fn leave(&mut self, child: &Arc<Child>) {
        let running = &self.running;
        let stays = |number: &u64| running.get(number).is_some_and(|other| !Arc::ptr_eq(other, child));
        self.sessions.retain(|_, number| stays(number));
        self.stateless.retain(|_, number| stays(number));
    }

    /// Whether a program of the server runs and has said something.
    fn serves(&self, server: ServerId) -> bool {
        let of_server = |child: &&Arc<Child>| child.owner.server == server && !child.is_ended();
        self.running.values().filter(of_server).any(|child| child.spoke() == Spoke::Once)
    }

    /// Which idle program must go before another may start for this owner; refused when none may go.
    fn in_the_way(&self, owner: &Owner, bounds: &Bounds) -> Result<Option<Arc<Child>>, StdioFailure> {
        // By subject alone: whoever can register clients has as many of them as they like.
        let same_subject = |child: &Owner| child.subject == owner.subject;
        let of_subject = |child: &&Arc<Child>| same_subject(&child.owner);
        // Our own looks are few, and no caller's share.
        let has_share = !is_probe(&owner.subject);
        if has_share && self.running.values().filter(of_subject).count() >= bounds.per_subject {
            // Of their own, what they have not used for longest: clients forget to end their sessions.
            return self.idlest(|child| same_subject(&child.owner)).map(Some);
        }
        let of_server = |child: &&Arc<Child>| child.owner.server == owner.server;
        if self.running.values().filter(of_server).count() >= bounds.per_server {
            let may_go = |child: &Child| child.owner.server == owner.server && child.kind == Kind::Stateless;
            return self.idlest(may_go).map(Some);
        }
        if self.running.len() >= bounds.total {
            return self.idlest(|child| child.kind == Kind::Stateless).map(Some);
        }
        Ok(None)
    }

    fn idlest(&self, may_go: impl Fn(&Child) -> bool) -> Result<Arc<Child>, StdioFailure> {
        self.running
            .values()
            .filter(|child| may_go(child))
            .filter_map(|child| Some((child.idle_since()?, child)))
            .min_by_key(|(since, _)| *since)
            .map(|(_, child)| Arc::clone(child))
            .ok_or(StdioFailure::TooManyPrograms)
    }
}

#[cfg(test)]
mod tests {
    use super::is_our_lack;
    use rustix::io::Errno;
    use std::io::Error;

    #[test]
    fn dos_09_what_the_machine_lacks_is_no_failure_of_a_program() {
        for lack in [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM] {
            assert!(is_our_lack(&lack.into()), "{lack}");
        }
        for fault in [Errno::NOENT, Errno::ACCESS, Errno::NOEXEC] {
            assert!(!is_our_lack(&fault.into()), "{fault}");
        }
        assert!(!is_our_lack(&Error::other("no number")));
    }
}

//! When a program that failed may be started again: for whom it failed, and, where it is the program that is broken and not
//! what somebody said to it, for anybody.

use super::child::Owner;
use portcullis_domain::id::ServerId;
use portcullis_domain::principal::Subject;
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tokio::time::Instant;

/// A program that ran for so long did not fail at its start.
const GOOD_RUN: Duration = Duration::from_secs(10);

/// What the second failure in a row costs; each further one doubles it.
const FIRST_REST: Duration = Duration::from_millis(200);
/// The same of a program that is broken for everybody.
const FIRST_REST_OF_ALL: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);

/// Beyond so many remembered failures, those that matter no more are dropped.
const REMEMBERED_FAILURES: usize = 1024;

/// A program that ended without a word for so many people and agents is broken: one of them alone could have broken theirs.
const WITNESSES: usize = 3;

/// Whether a program ever said anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoke {
    Never,
    Once,
}

#[derive(Default)]
pub(super) struct Rests {
    owners: HashMap<Owner, Failures>,
    servers: HashMap<ServerId, Broken>,
}

#[derive(Clone, Copy)]
struct Failures {
    in_a_row: u32,
    rest_until: Instant,
}

#[derive(Default)]
struct Broken {
    witnesses: HashSet<Subject>,
    rest: Option<Rest>,
}

#[derive(Clone, Copy)]
struct Rest {
    length: Duration,
    until: Instant,
    /// Whether one was started since, to find out.
    is_tried: bool,
}

impl Rests {
    /// Whether one may be started for this owner, or how long not; `is_served` says whether another one of the server works.
    pub(super) fn may_start(&self, owner: &Owner, is_served: bool, now: Instant) -> Result<(), Duration> {
        let own = self.owners.get(owner).map(|failures| failures.rest_until);
        let everybodys = self.servers.get(&owner.server).filter(|_| !is_served);
        let everybodys = everybodys.and_then(|broken| broken.rest).map(|rest| rest.until);
        match own.into_iter().chain(everybodys).max() {
            Some(until) if now < until => Err(until - now),
            Some(_) | None => Ok(()),
        }
    }

    /// One is started: if the program is broken, this one finds out whether it still is, and others wait.
    pub(super) fn started(&mut self, owner: &Owner, is_served: bool, now: Instant) {
        if is_served {
            self.servers.remove(&owner.server);
        }
        if let Some(rest) = self.servers.get_mut(&owner.server).and_then(|broken| broken.rest.as_mut()) {
            (rest.is_tried, rest.until) = (true, now + rest.length);
        }
    }

    /// It ended by itself after so long, or could not be started.
    pub(super) fn failed(&mut self, owner: Owner, lived: Duration, spoke: Spoke, now: Instant) {
        match spoke {
            Spoke::Once => drop(self.servers.remove(&owner.server)),
            Spoke::Never => self.broken(&owner, now),
        }
        if self.owners.len() >= REMEMBERED_FAILURES {
            self.owners.retain(|_, failures| now < failures.rest_until);
        }
        let failures = self.owners.entry(owner).or_insert(Failures { in_a_row: 0, rest_until: now });
        failures.in_a_row = if lived >= GOOD_RUN { 1 } else { failures.in_a_row.saturating_add(1) };
        // The first failure costs nothing: the next call starts another program.
        failures.rest_until = now + failures.rest();
    }

    fn broken(&mut self, owner: &Owner, now: Instant) {
        let broken = self.servers.entry(owner.server).or_default();
        if broken.witnesses.len() < WITNESSES {
            broken.witnesses.insert(owner.subject.clone());
        }
        if broken.witnesses.len() < WITNESSES {
            return;
        }
        let length = match broken.rest {
            None => FIRST_REST_OF_ALL,
            Some(rest) if rest.is_tried => (rest.length * 2).min(LONGEST_REST),
            // Of those that were started before it was known.
            Some(_) => return,
        };
        broken.rest = Some(Rest { length, until: now + length, is_tried: false });
    }
}

impl Failures {
    fn rest(self) -> Duration {
        match self.in_a_row {
            0 | 1 => Duration::ZERO,
            more => FIRST_REST.saturating_mul(1 << (more - 2).min(10)).min(LONGEST_REST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(name: &str) -> Owner {
        let client: portcullis_oauth::client::ClientId = name.parse().unwrap();
        Owner { server: ServerId::from_bytes([7; 16]), subject: Subject::Agent(client.clone()), client }
    }

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn start(rests: &mut Rests, owner: &Owner, is_served: bool, now: Instant) -> Result<(), Duration> {
        rests.may_start(owner, is_served, now)?;
        rests.started(owner, is_served, now);
        Ok(())
    }

    #[tokio::test]
    async fn dos_09_a_failure_is_paid_by_whom_it_happened_to() {
        let (mut rests, now) = (Rests::default(), Instant::now());
        rests.failed(owner("a"), Duration::ZERO, Spoke::Once, now);
        assert_eq!(start(&mut rests, &owner("a"), false, now), Ok(()), "the first costs nothing");
        for rest in [200, 400, 800] {
            rests.failed(owner("a"), Duration::ZERO, Spoke::Once, now);
            assert_eq!(start(&mut rests, &owner("a"), false, now), Err(ms(rest)));
            assert_eq!(start(&mut rests, &owner("b"), false, now), Ok(()));
        }
        rests.failed(owner("a"), GOOD_RUN, Spoke::Once, now);
        assert_eq!(start(&mut rests, &owner("a"), false, now), Ok(()));
    }

    #[tokio::test]
    async fn dos_09_a_program_that_is_broken_for_everybody_is_started_by_one_at_a_time() {
        let (mut rests, mut now) = (Rests::default(), Instant::now());
        for name in ["a", "a", "a", "b"] {
            rests.failed(owner(name), Duration::ZERO, Spoke::Never, now);
        }
        assert_eq!(start(&mut rests, &owner("x"), false, now), Ok(()), "two could have broken theirs");
        // A crowd that came before anything was known.
        for number in 0..100 {
            rests.failed(owner(&format!("c{number}")), Duration::ZERO, Spoke::Never, now);
        }
        for rest in [1000, 2000, 4000, 8000] {
            assert_eq!(start(&mut rests, &owner("x"), false, now), Err(ms(rest)));
            now += ms(rest);
            let started = (0..100)
                .filter(|number| start(&mut rests, &owner(&format!("d{number}")), false, now).is_ok());
            assert_eq!(started.count(), 1);
            rests.failed(owner("d0"), Duration::ZERO, Spoke::Never, now);
            rests.owners.clear();
        }
        assert_eq!(start(&mut rests, &owner("x"), true, now), Ok(()), "it works for somebody");
        assert_eq!(start(&mut rests, &owner("y"), false, now), Ok(()));
    }
}

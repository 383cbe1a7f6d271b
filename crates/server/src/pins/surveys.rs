//! What the surveys of this node came to: when, or why not, and which tools there were.

use portcullis_domain::id::ServerId;
use portcullis_gateway::{Survey, SurveyFailure};
use portcullis_oauth::time::Timestamp;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The first wait after a failure; it doubles up to the usual one.
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// Every server that was surveyed since this process started.
#[derive(Debug, Default)]
pub(crate) struct Surveys(Mutex<HashMap<ServerId, Entry>>);

#[derive(Debug)]
struct Entry {
    next: Instant,
    failures: u32,
    surveyed: Surveyed,
}

/// How the surveys of one server went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Surveyed {
    /// The last good one.
    pub(crate) at: Option<Timestamp>,
    /// The tools of the last good one.
    pub(crate) names: Option<BTreeSet<String>>,
    /// Why the last one failed, if it did.
    pub(crate) failure: Option<SurveyFailure>,
}

/// What a survey changed that is worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    Failing,
    Nothing,
    Recovered,
}

impl Surveys {
    fn entries(&self) -> MutexGuard<'_, HashMap<ServerId, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it went with this server; nothing if it was not surveyed yet.
    pub(crate) fn of(&self, server: ServerId) -> Surveyed {
        self.entries().get(&server).map(|entry| entry.surveyed.clone()).unwrap_or_default()
    }

    /// Those that are to be surveyed now. Servers that are not asked about are forgotten.
    pub(crate) fn due(&self, servers: &[ServerId], now: Instant) -> Vec<ServerId> {
        let mut entries = self.entries();
        entries.retain(|server, _| servers.contains(server));
        let is_due = |server: &&ServerId| entries.get(server).is_none_or(|entry| entry.next <= now);
        servers.iter().filter(is_due).copied().collect()
    }

    /// Takes in how a survey went; the next one is after `every`, or sooner if it failed for the first times.
    pub(crate) fn went(
        &self,
        server: ServerId,
        outcome: &Result<Survey, SurveyFailure>,
        (at, now, every): (Timestamp, Instant, Duration),
    ) -> News {
        let mut entries = self.entries();
        let entry = entries.entry(server).or_insert_with(|| Entry {
            next: now,
            failures: 0,
            surveyed: Surveyed::default(),
        });
        let was_failing = entry.failures > 0;
        match outcome {
            Ok(survey) => {
                entry.failures = 0;
                entry.next = now + every;
                entry.surveyed = Surveyed { at: Some(at), names: Some(survey.names.clone()), failure: None };
                if was_failing { News::Recovered } else { News::Nothing }
            }
            Err(failure) => {
                let wait = FIRST_WAIT.saturating_mul(1 << entry.failures.min(16)).min(every);
                entry.failures = entry.failures.saturating_add(1);
                entry.next = now + wait;
                entry.surveyed.failure = Some(*failure);
                if was_failing { News::Nothing } else { News::Failing }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_domain::pins::Sighting;

    #[tokio::test]
    async fn pc_33_a_failing_server_is_asked_again_but_makes_no_storm() {
        let surveys = Surveys::default();
        let (id, start) = (ServerId::from_bytes([1; 16]), Instant::now());
        let (at, every) = (Timestamp::from_seconds(5), Duration::from_mins(5));
        assert_eq!(surveys.due(&[id], start), [id]);
        let mut now = start;
        let mut asked = 0;
        while now < start + Duration::from_hours(1) {
            if surveys.due(&[id], now) == [id] {
                let news = surveys.went(id, &Err(SurveyFailure::Late), (at, now, every));
                assert_eq!(news, if asked == 0 { News::Failing } else { News::Nothing });
                asked += 1;
            }
            now += Duration::from_secs(1);
        }
        assert!((12..=24).contains(&asked), "{asked}");
        assert_eq!(surveys.of(id).failure, Some(SurveyFailure::Late));
        let sighting = Sighting { server: id, whole: true, tools: vec![] };
        let good = Ok(Survey { sighting, names: BTreeSet::from(["a".to_owned()]) });
        assert_eq!(surveys.went(id, &good, (at, now, every)), News::Recovered);
        assert_eq!(surveys.went(id, &good, (at, now, every)), News::Nothing);
        assert_eq!((surveys.of(id).at, surveys.of(id).failure), (Some(at), None));
        assert!(surveys.due(&[id], now).is_empty() && surveys.due(&[], now).is_empty());
        assert_eq!(surveys.due(&[id], now), [id], "a server that was gone is new");
    }
}

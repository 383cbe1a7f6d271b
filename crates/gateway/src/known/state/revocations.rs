//! What is no longer believed, although its tokens have not expired (PC-45).

use portcullis_domain::id::{ConnectionId, ServerId, SessionId, TokenId};
use portcullis_domain::principal::{Principal, Revocation, RevokedTarget, Subject};
use portcullis_oauth::time::Timestamp;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::Arc;
use std::time::Duration;

/// An entry is kept this much longer than its last token lives: leeway, and clocks that differ.
const MARGIN: Duration = Duration::from_mins(5);

/// So many that of a million entries a part is copied in no time.
const PARTS: usize = 256;

/// An expiring log. One log shares with the next all its parts but those that something was added to.
#[derive(Clone)]
pub(crate) struct Revocations {
    parts: Vec<Arc<Part>>,
    hasher: RandomState,
    /// The part that is swept next.
    next: usize,
}

/// There may be very many sessions and tokens, so of them nothing is kept but until when they count, and no room is left
/// between them.
#[derive(Clone, Default)]
struct Part {
    sessions: Ends<SessionId>,
    tokens: Ends<TokenId>,
    others: HashMap<RevokedTarget, Entry>,
}

/// In the order of their ids, each once.
#[derive(Clone)]
struct Ends<Id>(Vec<(Id, End)>);

/// Seconds since 1970. One beyond them all never ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct End(u32);

#[derive(Clone, Copy)]
struct Entry {
    at: Timestamp,
    until: Timestamp,
}

impl Default for Revocations {
    fn default() -> Self {
        Self { parts: vec![Arc::default(); PARTS], hasher: RandomState::new(), next: 0 }
    }
}

impl Revocations {
    /// This log with `new` added, and with some of what nobody can present any more left out: all of it, after as many
    /// additions as there are parts.
    pub(crate) fn with(&self, new: &[Revocation], now: Timestamp) -> Self {
        let mut log = self.clone();
        let mut new: Vec<_> = new.iter().map(|new| (self.place_of(&new.target), new)).collect();
        new.sort_by_key(|(place, _)| *place);
        for of_part in new.chunk_by(|(one, _), (next, _)| one == next) {
            let (place, _) = of_part[0];
            Arc::make_mut(&mut log.parts[place]).add(of_part.iter().map(|(_, new)| *new));
        }
        let swept = &mut log.parts[log.next];
        if swept.holds_what_is_over(now) {
            Arc::make_mut(swept).sweep(now);
        }
        log.next = (log.next + 1) % PARTS;
        log
    }

    /// Whether a connection ended, so that no copy of its tokens counts.
    pub(crate) fn has_ended(&self, connection: ConnectionId) -> bool {
        let target = RevokedTarget::Connection(connection);
        self.parts[self.place_of(&target)].others.contains_key(&target)
    }

    /// Whether the token that speaks for `principal` on `server` is revoked, itself or with what it hangs from. The clock by
    /// which another issuer says when it made a token may be `leeway` ahead of ours.
    pub(crate) fn concern(&self, principal: &Principal, server: ServerId, leeway: Duration) -> bool {
        let ahead = match &principal.subject {
            Subject::External { .. } => leeway,
            Subject::Agent(_) | Subject::User(_) => Duration::ZERO,
        };
        let up_to = |target: RevokedTarget| {
            let entry = self.parts[self.place_of(&target)].others.get(&target);
            entry.is_some_and(|entry| principal.issued_at <= entry.at + ahead)
        };
        let Principal { token, session, .. } = principal;
        self.parts[self.place(token)].tokens.contain(token)
            || self.parts[self.place(session)].sessions.contain(session)
            || up_to(RevokedTarget::All)
            || up_to(RevokedTarget::Server(server))
            || match &principal.subject {
                // Its client is none of ours either.
                Subject::External { .. } => false,
                Subject::User(user) => {
                    up_to(RevokedTarget::User(*user))
                        || up_to(RevokedTarget::Client(principal.client_id.clone()))
                }
                Subject::Agent(client) => up_to(RevokedTarget::Client(client.clone())),
            }
    }

    fn place_of(&self, target: &RevokedTarget) -> usize {
        match target {
            RevokedTarget::Session(session) => self.place(session),
            RevokedTarget::Token(token) => self.place(token),
            RevokedTarget::All
            | RevokedTarget::Client(_)
            | RevokedTarget::Connection(_)
            | RevokedTarget::Server(_)
            | RevokedTarget::User(_) => self.place(target),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "any part of a hash is as good")]
    fn place(&self, key: &impl Hash) -> usize {
        self.hasher.hash_one(key) as usize % PARTS
    }
}

impl Part {
    fn add<'r>(&mut self, new: impl Iterator<Item = &'r Revocation>) {
        let (mut sessions, mut tokens) = (Vec::new(), Vec::new());
        for revocation in new {
            let end = End::of(revocation.until);
            match &revocation.target {
                RevokedTarget::Session(session) => sessions.push((*session, end)),
                RevokedTarget::Token(token) => tokens.push((*token, end)),
                target @ (RevokedTarget::All
                | RevokedTarget::Client(_)
                | RevokedTarget::Connection(_)
                | RevokedTarget::Server(_)
                | RevokedTarget::User(_)) => {
                    let entry = Entry { at: revocation.at, until: revocation.until };
                    let known = self.others.entry(target.clone()).or_insert(entry);
                    known.at = known.at.max(entry.at);
                    known.until = known.until.max(entry.until);
                }
            }
        }
        self.sessions.add(&sessions);
        self.tokens.add(&tokens);
    }

    fn holds_what_is_over(&self, now: Timestamp) -> bool {
        self.sessions.hold_what_is_over(now)
            || self.tokens.hold_what_is_over(now)
            || self.others.values().any(|entry| is_over(entry.until, now))
    }

    fn sweep(&mut self, now: Timestamp) {
        self.sessions.sweep(now);
        self.tokens.sweep(now);
        self.others.retain(|_, entry| !is_over(entry.until, now));
    }
}

impl<Id> Default for Ends<Id> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<Id: Copy + Ord> Ends<Id> {
    fn contain(&self, id: &Id) -> bool {
        self.0.binary_search_by_key(id, |(id, _)| *id).is_ok()
    }

    /// Of what is there twice the later end counts.
    fn add(&mut self, new: &[(Id, End)]) {
        if new.is_empty() {
            return;
        }
        self.0.reserve_exact(new.len());
        self.0.extend_from_slice(new);
        self.0.sort_by_key(|(id, end)| (*id, Reverse(*end)));
        self.0.dedup_by_key(|(id, _)| *id);
        self.0.shrink_to_fit();
    }

    fn hold_what_is_over(&self, now: Timestamp) -> bool {
        self.0.iter().any(|(_, end)| end.is_over(now))
    }

    fn sweep(&mut self, now: Timestamp) {
        self.0.retain(|(_, end)| !end.is_over(now));
        self.0.shrink_to_fit();
    }
}

impl End {
    fn of(until: Timestamp) -> Self {
        Self(u32::try_from(until.seconds().max(0)).unwrap_or(u32::MAX))
    }

    fn is_over(self, now: Timestamp) -> bool {
        self.0 != u32::MAX && is_over(Timestamp::from_seconds(self.0.into()), now)
    }
}

fn is_over(until: Timestamp, now: Timestamp) -> bool {
    (until + MARGIN).has_passed(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_domain::id::{SessionId, TokenId, UserId};

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    const HERE: ServerId = ServerId::from_bytes([4; 16]);

    const LEEWAY: Duration = Duration::from_secs(30);

    fn principal(issued_at: Timestamp) -> Principal {
        Principal {
            subject: Subject::User(UserId::from_bytes([1; 16])),
            client_id: "cli_1".parse().unwrap(),
            session: SessionId::from_bytes([2; 16]),
            token: TokenId::from_bytes([3; 16]),
            scopes: "a".parse().unwrap(),
            roles: vec![],
            issued_at,
            expires_at: NOW + Duration::from_mins(15),
        }
    }

    fn revoked(target: RevokedTarget) -> Revocations {
        let revocation = Revocation { target, at: NOW, until: NOW + Duration::from_mins(15) };
        Revocations::default().with(&[revocation], NOW)
    }

    #[test]
    fn pc_45_each_kind_of_revocation_ends_what_hangs_from_it() {
        let before = principal(NOW);
        let after = principal(NOW + Duration::from_secs(1));
        for (target, ends_later_ones) in [
            (RevokedTarget::Token(before.token), true),
            (RevokedTarget::Session(before.session), true),
            (RevokedTarget::All, false),
            (RevokedTarget::Server(HERE), false),
            (RevokedTarget::Client("cli_1".parse().unwrap()), false),
            (RevokedTarget::User(UserId::from_bytes([1; 16])), false),
        ] {
            let log = revoked(target.clone());
            assert!(log.concern(&before, HERE, LEEWAY), "{target:?}");
            assert_eq!(log.concern(&after, HERE, LEEWAY), ends_later_ones, "{target:?}");
        }
        for other in [
            RevokedTarget::Token(TokenId::from_bytes([9; 16])),
            RevokedTarget::Server(ServerId::from_bytes([9; 16])),
            RevokedTarget::Session(SessionId::from_bytes([9; 16])),
            RevokedTarget::Client("cli_2".parse().unwrap()),
            RevokedTarget::User(UserId::from_bytes([9; 16])),
        ] {
            assert!(!revoked(other).concern(&before, HERE, LEEWAY));
        }
    }

    #[test]
    fn pc_45_a_token_of_an_issuer_whose_clock_is_ahead_does_not_outlive_a_revocation() {
        let theirs = |at: u64| Principal {
            subject: Subject::External { issuer: "https://idp.test".parse().unwrap(), subject: "1".into() },
            ..principal(NOW + Duration::from_secs(at))
        };
        for target in [RevokedTarget::All, RevokedTarget::Server(HERE)] {
            let log = revoked(target);
            assert!([0, 1, 30].into_iter().all(|at| log.concern(&theirs(at), HERE, LEEWAY)));
            assert!(!log.concern(&theirs(31), HERE, LEEWAY));
            assert!(!log.concern(&principal(NOW + Duration::from_secs(1)), HERE, LEEWAY), "our own clock");
        }
    }

    #[test]
    fn pc_45_entries_are_kept_until_no_token_can_be_meant() {
        let log = revoked(RevokedTarget::Token(TokenId::from_bytes([3; 16])));
        let at_end = NOW + Duration::from_mins(16);
        assert!(log.with(&[], at_end).concern(&principal(NOW), HERE, LEEWAY));
        let long_after = NOW + Duration::from_mins(15) + MARGIN;
        let swept = (0..PARTS).fold(log, |log, _| log.with(&[], long_after));
        assert!(!swept.concern(&principal(NOW), HERE, LEEWAY));
    }

    #[test]
    fn pc_45_of_what_is_revoked_twice_the_later_end_counts() {
        let (soon, late) = (NOW + Duration::from_mins(15), NOW + Duration::from_hours(1));
        let at_once = NOW + Duration::from_mins(30);
        for target in
            [RevokedTarget::Token(principal(NOW).token), RevokedTarget::Session(principal(NOW).session)]
        {
            for ends in [[soon, late], [late, soon]] {
                let [one, other] = ends.map(|until| Revocation { target: target.clone(), at: NOW, until });
                let together = Revocations::default().with(&[one.clone(), other.clone()], NOW);
                for log in [together, Revocations::default().with(&[one], NOW).with(&[other], NOW)] {
                    let swept = (0..PARTS).fold(log, |log, _| log.with(&[], at_once));
                    assert!(swept.concern(&principal(NOW), HERE, LEEWAY), "{target:?} {ends:?}");
                }
            }
        }
    }

    #[test]
    fn pc_45_of_very_many_entries_few_are_copied_and_each_counts() {
        let session = |number: u32| {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            SessionId::from_bytes(bytes)
        };
        let revoked = |number| Revocation {
            target: RevokedTarget::Session(session(number)),
            at: NOW,
            until: Timestamp::from_seconds(i64::MAX),
        };
        let many: Vec<_> = (0..10_000).map(revoked).collect();
        let log = Revocations::default().with(&many, NOW);
        let more = log.with(&[revoked(10_000)], NOW);
        let shared = log.parts.iter().zip(&more.parts).filter(|(one, other)| Arc::ptr_eq(one, other));
        assert_eq!(shared.count(), PARTS - 1);
        let of = |number| Principal { session: session(number), ..principal(NOW) };
        assert!((0..=10_000).all(|number| more.concern(&of(number), HERE, LEEWAY)));
        assert!(
            !log.concern(&of(10_000), HERE, LEEWAY) && !more.concern(&of(10_001), HERE, LEEWAY),
            "the log of before is what it was"
        );
    }
}

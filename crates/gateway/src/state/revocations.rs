//! What is no longer believed, although its tokens have not expired (PC-45).

use portcullis_domain::id::ConnectionId;
use portcullis_domain::principal::{Principal, Revocation, RevokedTarget, Subject};
use portcullis_oauth::time::Timestamp;
use std::collections::HashMap;
use std::time::Duration;

/// An entry is kept this much longer than its last token lives: leeway, and clocks that differ.
const MARGIN: Duration = Duration::from_mins(5);

/// An expiring log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Revocations {
    entries: HashMap<RevokedTarget, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: Timestamp,
    until: Timestamp,
}

impl Revocations {
    /// This log with `new` added and what nobody can present any more left out.
    pub(crate) fn with(&self, new: &[Revocation], now: Timestamp) -> Self {
        let mut entries = self.entries.clone();
        entries.retain(|_, entry| !(entry.until + MARGIN).has_passed(now));
        for revocation in new {
            let entry = Entry { at: revocation.at, until: revocation.until };
            entries
                .entry(revocation.target.clone())
                .and_modify(|known| {
                    known.at = known.at.max(entry.at);
                    known.until = known.until.max(entry.until);
                })
                .or_insert(entry);
        }
        Self { entries }
    }

    /// Whether a connection ended, so that no copy of its tokens counts.
    pub(crate) fn has_ended(&self, connection: ConnectionId) -> bool {
        self.entries.contains_key(&RevokedTarget::Connection(connection))
    }

    /// Whether the token that speaks for `principal` is revoked, itself or with what it hangs from.
    pub(crate) fn concern(&self, principal: &Principal) -> bool {
        let up_to = |target: RevokedTarget| {
            self.entries.get(&target).is_some_and(|entry| principal.issued_at <= entry.at)
        };
        let ever = |target: RevokedTarget| self.entries.contains_key(&target);
        ever(RevokedTarget::Token(principal.token))
            || ever(RevokedTarget::Session(principal.session))
            || up_to(RevokedTarget::All)
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_domain::id::{SessionId, TokenId, UserId};

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

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
            (RevokedTarget::Client("cli_1".parse().unwrap()), false),
            (RevokedTarget::User(UserId::from_bytes([1; 16])), false),
        ] {
            let log = revoked(target.clone());
            assert!(log.concern(&before), "{target:?}");
            assert_eq!(log.concern(&after), ends_later_ones, "{target:?}");
        }
        for other in [
            RevokedTarget::Token(TokenId::from_bytes([9; 16])),
            RevokedTarget::Session(SessionId::from_bytes([9; 16])),
            RevokedTarget::Client("cli_2".parse().unwrap()),
            RevokedTarget::User(UserId::from_bytes([9; 16])),
        ] {
            assert!(!revoked(other).concern(&before));
        }
    }

    #[test]
    fn pc_45_entries_are_kept_until_no_token_can_be_meant() {
        let log = revoked(RevokedTarget::Token(TokenId::from_bytes([3; 16])));
        let at_end = NOW + Duration::from_mins(16);
        assert!(log.with(&[], at_end).concern(&principal(NOW)));
        let long_after = NOW + Duration::from_mins(15) + MARGIN;
        assert!(!log.with(&[], long_after).concern(&principal(NOW)));
    }
}

//! Removing what is past its end. Each rule says what must be gone before.

use crate::connection::{Dialect, Value};
use crate::error::Error;
use crate::statements::statements;
use crate::tx::Tx;
use std::time::Duration;

/// A lost answer is asked for within seconds; clocks of nodes may differ.
const OPERATIONS_KEPT: Duration = Duration::from_hours(24);

/// An unused code keeps its flow from being answered again; flows live for minutes.
const CODES_KEPT: Duration = Duration::from_hours(24);

/// Whoever repeats a change by its key does it within this.
const ANSWERS_KEPT: Duration = Duration::from_hours(24);

/// AS-DCR-08
const UNUSED_CLIENTS_KEPT: Duration = Duration::from_hours(30 * 24);

/// Whoever follows the feed by differences has read a change within this ([`Tx::purge`] does not know how far anybody is).
pub(crate) const CHANGES_KEPT: Duration = Duration::from_hours(1);

statements! {
    // In this order: what hangs from something goes before it. $1 is when it must have ended.
    PURGE_BROWSER_SESSIONS =
        "DELETE FROM browser_session WHERE ends_at <= $1";
    PURGE_SECRETS =
        "DELETE FROM client_secret WHERE expires_at <= $1";
    PURGE_FAMILIES =
        "DELETE FROM family WHERE session_id IN (SELECT id FROM session WHERE ends_at <= $1)";
    PURGE_SESSIONS =
        "DELETE FROM session WHERE ends_at <= $1 AND id NOT IN (SELECT session_id FROM family)";
    PURGE_UNUSED_CODES =
        "DELETE FROM code WHERE redeemed_as IS NULL AND expires_at <= $1";
    // AS-CODE-03: as long as its session may live, a code that is presented again revokes it.
    PURGE_USED_CODES =
        "DELETE FROM code WHERE expires_at <= $1 AND redeemed_as IS NOT NULL
         AND redeemed_as NOT IN (SELECT id FROM session)";
    PURGE_REVOCATIONS =
        "DELETE FROM revocation WHERE until <= $1";
    // The newest number stays, whatever it says: numbers of snapshots do not go backwards.
    PURGE_REVOKED_CHANGES =
        "DELETE FROM change WHERE until <= $1 AND number < (SELECT MAX(number) FROM change)";
    // Of changes that say `look again` the newest of its kind says all, to whoever reads everything anew.
    PURGE_OTHER_CHANGES =
        "DELETE FROM change WHERE until IS NULL AND at <= $1
         AND number < (SELECT MAX(newer.number) FROM change AS newer WHERE newer.kind = change.kind)";
    PURGE_GRANTS =
        "DELETE FROM user_grant WHERE revoked AND updated_at <= $1
         AND id NOT IN (SELECT grant_id FROM session WHERE grant_id IS NOT NULL)
         AND id NOT IN (SELECT grant_id FROM code)";
    // Marked by the loss of its row of uses, which nobody can touch from then on; the next two remove the rest.
    PURGE_CLIENT_USES =
        "DELETE FROM client_use WHERE used_at <= $1
         AND client_id IN (SELECT id FROM client WHERE kind = 'self_registered')
         AND client_id NOT IN (SELECT client_id FROM session)
         AND client_id NOT IN (SELECT client_id FROM code)
         AND client_id NOT IN (SELECT client_id FROM user_grant)";
    PURGE_CLIENT_SECRETS =
        "DELETE FROM client_secret WHERE created_at <= $1 AND client_id NOT IN (SELECT client_id FROM client_use)";
    PURGE_CLIENTS =
        "DELETE FROM client WHERE created_at <= $1 AND id NOT IN (SELECT client_id FROM client_use)";
    PURGE_ANSWERED =
        "DELETE FROM answered WHERE at <= $1";
    PURGE_CONNECTING =
        "DELETE FROM upstream_connecting WHERE expires_at <= $1";
    PURGE_OPERATIONS for Postgres =
        "DELETE FROM operation WHERE at <= $1";
}

impl Tx {
    /// Removes rows that are past their end; how many.
    pub async fn purge(&mut self) -> Result<u64, Error> {
        let now = self.now();
        let mut rules = vec![
            (PURGE_BROWSER_SESSIONS, now),
            (PURGE_SECRETS, now),
            (PURGE_FAMILIES, now),
            (PURGE_SESSIONS, now),
            (PURGE_UNUSED_CODES, now - CODES_KEPT),
            (PURGE_USED_CODES, now),
            (PURGE_REVOCATIONS, now),
            (PURGE_REVOKED_CHANGES, now),
            (PURGE_OTHER_CHANGES, now - CHANGES_KEPT),
            (PURGE_GRANTS, now - UNUSED_CLIENTS_KEPT),
            (PURGE_CLIENT_USES, now - UNUSED_CLIENTS_KEPT),
            (PURGE_CLIENT_SECRETS, now - UNUSED_CLIENTS_KEPT),
            (PURGE_CLIENTS, now - UNUSED_CLIENTS_KEPT),
            (PURGE_ANSWERED, now - ANSWERS_KEPT),
            (PURGE_CONNECTING, now),
        ];
        if self.connection.dialect() == Dialect::Postgres {
            rules.push((PURGE_OPERATIONS, now - OPERATIONS_KEPT));
        }
        let mut purged = 0;
        for (sql, before) in rules {
            purged += self.connection.execute(sql, &[Value::from(before)]).await?;
        }
        Ok(purged)
    }
}

//! The change feed: changes of registry, keys and revocations, numbered in the order of their commits.

use crate::connection::{Dialect, values};
use crate::error::Error;
use crate::housekeeping::CHANGES_KEPT;
use crate::reader::Reader;
use crate::row::{Row, json};
use crate::statements::statements;
use crate::tx::Tx;
use portcullis_domain::principal::Revocation;
use portcullis_oauth::client::ClientId;
use portcullis_oauth::time::Timestamp;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Grows with every change; whoever has read up to a number has seen all that are smaller.
    pub number: u64,
    /// What changed.
    pub kind: ChangeKind,
}

/// What a change is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// These agents and nothing else of the registry: new, changed or gone.
    Agents(Vec<ClientId>),
    /// A key was added.
    Keys,
    /// Anything of servers, agents, roles or their access.
    Registry,
    /// Something is no longer believed.
    Revoked(Revocation),
}

/// How far somebody has followed the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Everything up to this number.
    pub number: u64,
    /// Whatever came later was committed after this moment.
    pub as_of: Timestamp,
}

impl Heard {
    /// Whether [`Reader::changes_after`] this number still says all that came later: what was purged is older. Half of the
    /// time: clocks of nodes may differ. Not when the clock was set back, for then how long it is since is not known.
    pub fn can_follow(self, now: Timestamp) -> bool {
        self.as_of <= now && now < self.as_of + CHANGES_KEPT / 2
    }
}

/// Of more agents the feed does not say which: whoever follows reads the registry anew.
const FEW: usize = 16;

statements! {
    CHANGES_AFTER =
        "SELECT number, kind, body FROM change WHERE number > $1 ORDER BY number";
    LATEST =
        "SELECT MAX(number) AS number FROM change";
    CHANGED_AT =
        "SELECT at FROM change WHERE number = $1";
    LATEST_OF_REGISTRY =
        "SELECT MAX(number) AS number FROM change WHERE kind = 'registry'";
    // SQLite: there is one writer at a time, so numbers are taken in the order of commits.
    APPEND for Sqlite =
        "INSERT INTO change (at, kind, body, until) VALUES ($1, $2, $3, $4) RETURNING number";
    // PostgreSQL: the lock is held until after COMMIT, and the number is taken under it, so a smaller number can never
    // appear after a larger one. It is the last thing that a transaction does, so that it is held for a short while.
    LOCK for Postgres =
        "SELECT pg_advisory_xact_lock(7813557249410)";
    APPEND_LOCKED for Postgres =
        "INSERT INTO change (number, at, kind, body, until) VALUES (nextval('change_number'), $1, $2, $3, $4)
         RETURNING number";
    // PostgreSQL: what is issued by a registry is committed before that changes for whoever would lose it. Those who issue
    // share the lock, who takes something away has it alone; both take it before any row, so that nobody meets head-on.
    HOLD_REGISTRY for Postgres =
        "SELECT pg_advisory_xact_lock_shared(7813557249411)";
    TAKE_REGISTRY for Postgres =
        "SELECT pg_advisory_xact_lock(7813557249411)";
}

impl Reader<'_> {
    /// Every change after `number`, in order.
    pub async fn changes_after(&mut self, number: u64) -> Result<Vec<Change>, Error> {
        let rows = self.connection.rows(CHANGES_AFTER, values![number]).await?;
        rows.into_iter().map(read).collect()
    }

    /// Whether [`Reader::changes_after`] this number still says all that came after it.
    pub async fn can_follow(&mut self, number: u64, now: Timestamp) -> Result<bool, Error> {
        if number == self.latest_change().await? {
            return Ok(true);
        }
        let Some(row) = self.connection.row(CHANGED_AT, values![number]).await? else {
            return Ok(false);
        };
        // All that came after it is younger still, and so was not purged. Half of the time: clocks of nodes may differ.
        let at = row.named("change", number).time("at")?;
        Ok(at > now - CHANGES_KEPT / 2)
    }

    /// The number of the newest change; 0 before the first.
    pub async fn latest_change(&mut self) -> Result<u64, Error> {
        let Some(row) = self.connection.row(LATEST, values![]).await? else {
            return Ok(0);
        };
        let number = row.named("change", "newest").int_or_none("number")?;
        Ok(number.unwrap_or(0))
    }
}

impl Reader<'_> {
    /// The number of the newest change of the registry; 0 before the first.
    pub async fn latest_registry_change(&mut self) -> Result<u64, Error> {
        let Some(row) = self.connection.row(LATEST_OF_REGISTRY, values![]).await? else {
            return Ok(0);
        };
        let number = row.named("change", "newest of the registry").int_or_none("number")?;
        Ok(number.unwrap_or(0))
    }
}

fn read(row: Row) -> Result<Change, Error> {
    let number: u64 = row.int("number")?;
    let row = row.named("change", number);
    let kind = match row.text("kind")?.as_str() {
        "keys" => ChangeKind::Keys,
        "registry" => match row.json_or_none("body")? {
            Some(agents) => ChangeKind::Agents(agents),
            None => ChangeKind::Registry,
        },
        "revoked" => ChangeKind::Revoked(row.json("body")?),
        _ => return Err(row.corrupt("kind")),
    };
    Ok(Change { number, kind })
}

/// Where the whole registry has to be read, nobody needs to hear of agents.
fn summed_up(mut changes: Vec<ChangeKind>) -> Vec<ChangeKind> {
    let is_everything = changes.contains(&ChangeKind::Registry);
    for change in &mut changes {
        if matches!(change, ChangeKind::Agents(agents) if is_everything || agents.len() > FEW) {
            *change = ChangeKind::Registry;
        }
    }
    let mut seen = false;
    changes.retain(|change| *change != ChangeKind::Registry || !std::mem::replace(&mut seen, true));
    changes
}

impl Tx {
    /// Whether the registry is still the one that was read at this number of the feed. If it is, it does not change before
    /// COMMIT for whoever takes it ([`Tx::take_registry`]). On SQLite there is one writer at a time.
    pub async fn holds_registry(&mut self, number: u64) -> Result<bool, Error> {
        if self.connection.dialect() == Dialect::Postgres {
            self.connection.rows(HOLD_REGISTRY, values![]).await?;
        }
        Ok(self.read().latest_registry_change().await? <= number)
    }

    /// Waits until everything that is being issued by the registry of today is committed; nothing more is, before COMMIT.
    pub async fn take_registry(&mut self) -> Result<(), Error> {
        if self.connection.dialect() == Dialect::Postgres {
            self.connection.rows(TAKE_REGISTRY, values![]).await?;
        }
        Ok(())
    }

    /// Notes that an agent is new, another or gone.
    pub(crate) fn agent_changed(&mut self, client: &ClientId) {
        for change in &mut self.changes {
            if let ChangeKind::Agents(agents) = change {
                if agents.len() <= FEW && !agents.contains(client) {
                    agents.push(client.clone());
                }
                return;
            }
        }
        self.changes.push(ChangeKind::Agents(vec![client.clone()]));
    }

    /// Writes what the transaction changed, last of all; the newest number, if there is one.
    pub(crate) async fn write_changes(&mut self) -> Result<Option<u64>, Error> {
        let changes = summed_up(std::mem::take(&mut self.changes));
        let append = match self.connection.dialect() {
            Dialect::Sqlite => APPEND,
            Dialect::Postgres if changes.is_empty() => return Ok(None),
            Dialect::Postgres => {
                self.connection.rows(LOCK, values![]).await?;
                APPEND_LOCKED
            }
        };
        let mut newest = None;
        for change in &changes {
            let (kind, body, until) = match change {
                ChangeKind::Agents(agents) => ("registry", Some(json(agents)?), None),
                ChangeKind::Keys => ("keys", None, None),
                ChangeKind::Registry => ("registry", None, None),
                ChangeKind::Revoked(revocation) => {
                    ("revoked", Some(json(revocation)?), Some(revocation.until))
                }
            };
            let values = values![self.now(), kind, body, until];
            let row = self.connection.row(append, values).await?;
            let row = row.ok_or_else(|| Error::unavailable("an insertion gave no row"))?;
            newest = Some(row.named("change", "new").int("number")?);
        }
        Ok(newest)
    }
}

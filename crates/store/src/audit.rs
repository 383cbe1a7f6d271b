//! Audit events: appended in the transaction of what they record, never changed (PC-50).

use crate::connection::values;
use crate::error::Error;
use crate::reader::Reader;
use crate::row::{Row, json};
use crate::statements::statements;
use crate::tx::Tx;
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_domain::id::{ServerId, SessionId, UserId};
use portcullis_oauth::client::ClientId;
use portcullis_oauth::time::Timestamp;

/// One search: what it is led by, in which direction. `$1` is what leads; every other filter counts if it is not NULL.
macro_rules! search {
    ($leads:literal, $order:literal) => {
        concat!(
            "SELECT number, at, body FROM audit WHERE ",
            $leads,
            " AND number > $2 AND number < $3 AND at >= $4 AND at < $5
              AND (CAST($6 AS TEXT) IS NULL OR kind = $6)
              AND (CAST($7 AS TEXT) IS NULL OR client_id = $7)
              AND (CAST($8 AS TEXT) IS NULL OR user_id = $8)
              AND (CAST($9 AS TEXT) IS NULL OR server_id = $9)
              AND (CAST($10 AS TEXT) IS NULL OR session_id = $10)
              AND (CAST($11 AS TEXT) IS NULL OR outcome = $11)
              AND (CAST($12 AS TEXT) IS NULL OR actor = $12)
             ORDER BY number ",
            $order,
            " LIMIT $13"
        )
    };
}

statements! {
    INSERT =
        "INSERT INTO audit (at, kind, outcome, actor, client_id, user_id, server_id, session_id, body)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    RECORDS_AFTER = "SELECT number, at, body FROM audit WHERE number > $1 ORDER BY number LIMIT $2";
    // The narrowest filter leads, since the engines take one index.
    BY_SESSION = search!("session_id = $1", "ASC");
    BY_SESSION_NEWEST = search!("session_id = $1", "DESC");
    BY_USER = search!("user_id = $1", "ASC");
    BY_USER_NEWEST = search!("user_id = $1", "DESC");
    BY_CLIENT = search!("client_id = $1", "ASC");
    BY_CLIENT_NEWEST = search!("client_id = $1", "DESC");
    BY_SERVER = search!("server_id = $1", "ASC");
    BY_SERVER_NEWEST = search!("server_id = $1", "DESC");
    BY_KIND = search!("kind = $1", "ASC");
    BY_KIND_NEWEST = search!("kind = $1", "DESC");
    ANY = search!("CAST($1 AS TEXT) IS NULL", "ASC");
    ANY_NEWEST = search!("CAST($1 AS TEXT) IS NULL", "DESC");
    // What was written last has, within these, the latest time, whatever the clocks of nodes say.
    LATEST_TIME =
        "SELECT MAX(at) AS at FROM audit WHERE number > (SELECT MAX(number) FROM audit) - 1000";
}

/// Which records are asked for; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// What happened.
    pub kind: Option<Kind>,
    /// Allowed (true) or refused.
    pub allowed: Option<bool>,
    /// Who did it: an id, or `operator`, `system` or `stranger`.
    pub actor: Option<String>,
    /// The client it was about, or that did it.
    pub client: Option<ClientId>,
    /// The person it was about, or who did it.
    pub user: Option<UserId>,
    /// The server it was about.
    pub server: Option<ServerId>,
    /// The session it was about.
    pub session: Option<SessionId>,
    /// Not before this.
    pub since: Option<Timestamp>,
    /// Before this.
    pub until: Option<Timestamp>,
}

/// Where a page of records begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditOrder {
    /// The newest first, those with smaller numbers than this.
    Newest {
        /// The last one seen.
        before: Option<u64>,
    },
    /// The oldest first, those with larger numbers than this.
    Oldest {
        /// The last one seen.
        after: u64,
    },
}

/// One record.
pub type AuditRecord = (u64, Timestamp, Event);

impl Reader<'_> {
    /// Up to `limit` records after `number`, in the order of their numbers. To show pages of them; on PostgreSQL a
    /// transaction that is still open can yet add one with a smaller number.
    pub async fn audit_after(&mut self, number: u64, limit: u32) -> Result<Vec<AuditRecord>, Error> {
        let rows = self.connection.rows(RECORDS_AFTER, values![number, limit]).await?;
        rows.into_iter().map(read).collect()
    }

    /// Up to `limit` records that a search finds (PC-52).
    pub async fn audit_page(
        &mut self,
        filter: &AuditFilter,
        order: AuditOrder,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, Error> {
        let (leads, oldest, newest) = leading(filter);
        let (sql, after, before) = match order {
            AuditOrder::Newest { before } => (newest, None, before),
            AuditOrder::Oldest { after } => (oldest, Some(after), None),
        };
        let values = values![
            leads,
            after.unwrap_or(0),
            before.unwrap_or(u64::MAX),
            filter.since.unwrap_or(Timestamp::from_seconds(i64::MIN)),
            filter.until.unwrap_or(Timestamp::from_seconds(i64::MAX)),
            filter.kind.map(word),
            text(filter.client.as_ref()),
            text(filter.user),
            text(filter.server),
            text(filter.session),
            filter.allowed.map(|allowed| outcome_word(allowed).to_owned()),
            filter.actor.clone(),
            limit,
        ];
        let rows = self.connection.rows(sql, values).await?;
        rows.into_iter().map(read).collect()
    }

    /// When the latest of the newest records was written.
    pub(crate) async fn latest_record_at(&mut self) -> Result<Option<Timestamp>, Error> {
        let row = self.connection.row(LATEST_TIME, values![]).await?;
        row.map_or(Ok(None), |row| row.named("audit", "newest").time_or_none("at"))
    }
}

/// What leads the search, and its two statements.
fn leading(filter: &AuditFilter) -> (Option<String>, &'static str, &'static str) {
    if let Some(session) = filter.session {
        (Some(session.to_string()), BY_SESSION, BY_SESSION_NEWEST)
    } else if let Some(user) = filter.user {
        (Some(user.to_string()), BY_USER, BY_USER_NEWEST)
    } else if let Some(client) = &filter.client {
        (Some(client.to_string()), BY_CLIENT, BY_CLIENT_NEWEST)
    } else if let Some(server) = filter.server {
        (Some(server.to_string()), BY_SERVER, BY_SERVER_NEWEST)
    } else if let Some(kind) = filter.kind {
        (Some(word(kind)), BY_KIND, BY_KIND_NEWEST)
    } else {
        (None, ANY, ANY_NEWEST)
    }
}

fn read(row: Row) -> Result<AuditRecord, Error> {
    let number: u64 = row.int("number")?;
    let row = row.named("audit", number);
    Ok((number, row.time("at")?, row.json("body")?))
}

fn text(value: Option<impl ToString>) -> Option<String> {
    value.map(|value| value.to_string())
}

/// The stable text of a kind.
fn word(kind: Kind) -> String {
    kind.to_string()
}

const fn outcome_word(allowed: bool) -> &'static str {
    if allowed { "allowed" } else { "refused" }
}

impl Tx {
    /// Writes one more audit event, beside the one of [`Tx::record`].
    pub async fn also(&mut self, event: &Event) -> Result<(), Error> {
        let (actor, by_client, by_user) = match &event.actor {
            Actor::Client(id) => (id.to_string(), Some(id), None),
            Actor::User(id) => (id.to_string(), None, Some(*id)),
            Actor::Operator => ("operator".to_owned(), None, None),
            Actor::System => ("system".to_owned(), None, None),
            Actor::Stranger => ("stranger".to_owned(), None, None),
        };
        let values = values![
            self.now(),
            word(event.kind),
            outcome_word(matches!(event.outcome, Outcome::Allowed)),
            actor,
            text(event.client.as_ref().or(by_client)),
            text(event.user.or(by_user)),
            text(event.server),
            text(event.session),
            json(event)?,
        ];
        self.connection.execute(INSERT, values).await?;
        Ok(())
    }
}

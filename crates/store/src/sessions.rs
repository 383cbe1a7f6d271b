//! Sessions: runs of agents, and what must be alive for one to begin.

use crate::connection::{Dialect, Value, values};
use crate::error::Error;
use crate::reader::Reader;
use crate::row::Row;
use crate::statements::statements;
use crate::tx::Tx;
use portcullis_domain::builtin;
use portcullis_domain::grant::{Session, SessionOwner};
use portcullis_domain::id::{GrantId, ServerId, SessionId, UserId};
use portcullis_domain::principal::{Revocation, RevokedTarget};
use portcullis_oauth::client::ClientId;
use portcullis_oauth::time::Timestamp;

statements! {
    SESSION =
        "SELECT id, client_id, user_id, grant_id, server_id, resource, scopes, started_at, ends_at, revoked
         FROM session WHERE id = $1";
    LIVE_SESSIONS =
        "SELECT id, client_id, user_id, grant_id, server_id, resource, scopes, started_at, ends_at, revoked
         FROM session WHERE NOT revoked AND ends_at > $1 AND id < $2 ORDER BY id DESC LIMIT $3";
    INSERT_SESSION =
        "INSERT INTO session (id, client_id, user_id, grant_id, server_id, resource, scopes, started_at, ends_at, revoked)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    REVOKE_SESSION =
        "UPDATE session SET revoked = TRUE WHERE id = $1 AND NOT revoked";
    REVOKE_FAMILIES =
        "UPDATE family SET revoked = TRUE WHERE session_id = $1 AND NOT revoked";
    LIVE_SESSIONS_OF_CLIENT =
        "SELECT id, ends_at FROM session WHERE client_id = $1 AND NOT revoked ORDER BY id";
    LIVE_SESSIONS_OF_GRANT =
        "SELECT id, ends_at FROM session WHERE grant_id = $1 AND NOT revoked ORDER BY id";
    LIVE_SESSIONS_OF_SERVER =
        "SELECT id, ends_at FROM session WHERE server_id = $1 AND NOT revoked ORDER BY id";
    LIVE_SESSIONS_OF_USER =
        "SELECT id, ends_at FROM session WHERE user_id = $1 AND NOT revoked ORDER BY id";

    COUNT_OF_CLIENT =
        "SELECT COUNT(*) AS n FROM session WHERE client_id = $1 AND NOT revoked AND ends_at > $2";
    COUNT_OF_SERVER =
        "SELECT COUNT(*) AS n FROM session WHERE server_id = $1 AND NOT revoked AND ends_at > $2";

    // What hangs from something may only be added while that is alive and cannot die before COMMIT: whoever ends it
    // waits for us and then sees what we added, or we wait and then see that it ended. SQLite has one writer.
    HOLD_CLIENT for Sqlite = "SELECT id FROM client WHERE id = $1 AND NOT disabled";
    HOLD_GRANT for Sqlite = "SELECT id FROM user_grant WHERE id = $1 AND NOT revoked";
    HOLD_SERVER for Sqlite = "SELECT id FROM server WHERE id = $1";
    HOLD_SESSION for Sqlite = "SELECT id FROM session WHERE id = $1 AND NOT revoked";
    HOLD_USER for Sqlite = "SELECT id FROM account WHERE id = $1 AND NOT disabled";
    HOLD_CLIENT_LOCKED for Postgres = "SELECT id FROM client WHERE id = $1 AND NOT disabled FOR SHARE";
    HOLD_GRANT_LOCKED for Postgres = "SELECT id FROM user_grant WHERE id = $1 AND NOT revoked FOR SHARE";
    HOLD_SERVER_LOCKED for Postgres = "SELECT id FROM server WHERE id = $1 FOR SHARE";
    HOLD_SESSION_LOCKED for Postgres = "SELECT id FROM session WHERE id = $1 AND NOT revoked FOR SHARE";
    HOLD_USER_LOCKED for Postgres = "SELECT id FROM account WHERE id = $1 AND NOT disabled FOR SHARE";
}

/// Whose sessions.
pub(crate) enum Of<'a> {
    Client(&'a ClientId),
    Grant(GrantId),
    Server(ServerId),
    User(UserId),
}

impl Reader<'_> {
    /// A session, revoked or not.
    pub async fn session(&mut self, id: SessionId) -> Result<Option<Session>, Error> {
        let row = self.connection.row(SESSION, values![id]).await?;
        row.map(read).transpose()
    }

    /// Sessions that are alive, the newest first; those that began before `before`, if that is given.
    pub async fn live_sessions(
        &mut self,
        before: Option<SessionId>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Session>, Error> {
        // Ids are ordered by time, and none is this one.
        let before = before.unwrap_or(SessionId::from_bytes([0xff; 16]));
        let rows = self.connection.rows(LIVE_SESSIONS, values![now, before, limit]).await?;
        rows.into_iter().map(read).collect()
    }

    /// How many sessions of a client are alive.
    pub async fn live_sessions_of_client(&mut self, client: &ClientId, now: Timestamp) -> Result<u64, Error> {
        let row = self.connection.row(COUNT_OF_CLIENT, values![client, now]).await?;
        row.map_or(Ok(0), |row| row.named("session", client).int("n"))
    }

    /// How many sessions on a server are alive.
    pub async fn live_sessions_on(&mut self, server: ServerId, now: Timestamp) -> Result<u64, Error> {
        let row = self.connection.row(COUNT_OF_SERVER, values![server, now]).await?;
        row.map_or(Ok(0), |row| row.named("session", server).int("n"))
    }
}

pub(crate) fn read(row: Row) -> Result<Session, Error> {
    let id: SessionId = row.parsed("id")?;
    let row = row.named("session", id);
    let owner = match (row.parsed_or_none("user_id")?, row.parsed_or_none("grant_id")?) {
        (Some(user), Some(grant)) => SessionOwner::User { user, grant },
        (None, None) => SessionOwner::Agent,
        (Some(_), None) | (None, Some(_)) => return Err(row.corrupt("grant_id")),
    };
    Ok(Session {
        id,
        client_id: row.parsed("client_id")?,
        owner,
        server: row.parsed("server_id")?,
        resource: row.parsed("resource")?,
        scopes: row.parsed("scopes")?,
        started_at: row.time("started_at")?,
        ends_at: row.time("ends_at")?,
        revoked: row.bool("revoked")?,
    })
}

impl Tx {
    /// Begins a session. What it hangs from (client, server, user, grant) must be alive.
    pub async fn insert_session(&mut self, session: &Session) -> Result<(), Error> {
        let (user, grant) = match &session.owner {
            SessionOwner::Agent => (None, None),
            SessionOwner::User { user, grant } => (Some(*user), Some(*grant)),
        };
        // In the order in which those that end things lock them, so that nobody meets head-on.
        self.hold_client(&session.client_id).await?;
        if let Some(user) = user {
            self.hold_user(user).await?;
        }
        self.hold_server(session.server).await?;
        if let Some(grant) = grant {
            self.hold_grant(grant).await?;
        }
        let values = values![
            session.id,
            &session.client_id,
            user.map(|user| user.to_string()),
            grant.map(|grant| grant.to_string()),
            session.server,
            session.resource.as_str(),
            &session.scopes,
            session.started_at,
            session.ends_at,
            session.revoked,
        ];
        self.connection.execute(INSERT_SESSION, values).await?;
        Ok(())
    }

    /// Ends a session early, with its refresh tokens; none of its access tokens lives past `until`. False when it was
    /// ended before, or there is none.
    pub async fn revoke_session(&mut self, id: SessionId, until: Timestamp) -> Result<bool, Error> {
        if self.connection.execute(REVOKE_SESSION, values![id]).await? == 0 {
            return Ok(false);
        }
        self.connection.execute(REVOKE_FAMILIES, values![id]).await?;
        self.revoke(&Revocation { target: RevokedTarget::Session(id), at: self.now(), until }).await?;
        Ok(true)
    }

    /// Ends every session of a client; its tokens are refused whenever they were made, and none lives past `until`.
    pub async fn end_sessions_of_client(&mut self, client: &ClientId, until: Timestamp) -> Result<(), Error> {
        self.end_sessions_of(Of::Client(client), until).await.map(|_| ())
    }

    /// How many of them were alive.
    pub(crate) async fn end_sessions_of(&mut self, owner: Of<'_>, until: Timestamp) -> Result<u64, Error> {
        let (sql, value): (_, Value) = match owner {
            Of::Client(client) => (LIVE_SESSIONS_OF_CLIENT, client.into()),
            Of::Grant(grant) => (LIVE_SESSIONS_OF_GRANT, grant.into()),
            Of::Server(server) => (LIVE_SESSIONS_OF_SERVER, server.into()),
            Of::User(user) => (LIVE_SESSIONS_OF_USER, user.into()),
        };
        let mut alive = 0;
        for row in self.connection.rows(sql, &[value]).await? {
            let row = row.named("session", "by its owner");
            let was_over = row.time("ends_at")?.has_passed(self.now());
            if self.revoke_session(row.parsed("id")?, until).await? && !was_over {
                alive += 1;
            }
        }
        Ok(alive)
    }

    pub(crate) async fn hold_client(&mut self, id: &ClientId) -> Result<(), Error> {
        let sql = self.by_dialect(HOLD_CLIENT, HOLD_CLIENT_LOCKED);
        self.hold(sql, id.into(), "client_alive").await
    }

    pub(crate) async fn hold_grant(&mut self, id: GrantId) -> Result<(), Error> {
        let sql = self.by_dialect(HOLD_GRANT, HOLD_GRANT_LOCKED);
        self.hold(sql, id.into(), "grant_alive").await
    }

    pub(crate) async fn hold_server(&mut self, id: ServerId) -> Result<(), Error> {
        // Nobody removes it.
        if id == builtin::SERVER_ID {
            return Ok(());
        }
        let sql = self.by_dialect(HOLD_SERVER, HOLD_SERVER_LOCKED);
        self.hold(sql, id.into(), "server_alive").await
    }

    pub(crate) async fn hold_session(&mut self, id: SessionId) -> Result<(), Error> {
        let sql = self.by_dialect(HOLD_SESSION, HOLD_SESSION_LOCKED);
        self.hold(sql, id.into(), "session_alive").await
    }

    /// Nothing about the account changes before COMMIT. `Error::Conflict("user_alive")`: it is disabled, or there is none.
    pub async fn hold_user(&mut self, id: UserId) -> Result<(), Error> {
        let sql = self.by_dialect(HOLD_USER, HOLD_USER_LOCKED);
        self.hold(sql, id.into(), "user_alive").await
    }

    async fn hold(&mut self, sql: &'static str, id: Value, constraint: &'static str) -> Result<(), Error> {
        let row = self.connection.row(sql, &[id]).await?;
        row.map(|_| ()).ok_or(Error::Conflict(constraint))
    }

    fn by_dialect(&self, sqlite: &'static str, postgres: &'static str) -> &'static str {
        match self.connection.dialect() {
            Dialect::Sqlite => sqlite,
            Dialect::Postgres => postgres,
        }
    }
}

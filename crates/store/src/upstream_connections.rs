//! People's connections to third-party servers, whose OAuth client we are. What is sealed in a row opens only for its
//! server and person, by a key that is not in the database.
//!
//! Of several nodes that want to renew the tokens of one connection, the one that gets the lease does; what it was given
//! replaces what it had read, by a statement that names the version, and nobody uses it before.

pub(crate) mod connecting;
pub(crate) mod ending;

use crate::connection::{Value, values};
use crate::error::Error;
use crate::reader::Reader;
use crate::row::Row;
use crate::statements::statements;
use crate::tx::Tx;
use portcullis_domain::id::{ConnectionId, ServerId, UserId};
use portcullis_domain::principal::{Revocation, RevokedTarget};
use portcullis_oauth::time::Timestamp;
use std::fmt;

/// Whether a connection can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// It can.
    Connected,
    /// It ended; its issuer has still to be told.
    Ending,
    /// Its issuer does not know it any more: its person has to connect again.
    Expired,
}

impl ConnectionState {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "connected" => Some(Self::Connected),
            "ending" => Some(Self::Ending),
            "expired" => Some(Self::Expired),
            _ => None,
        }
    }
}

/// A connection as it is kept. Its `Debug` does not show what is sealed.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredConnection {
    /// It does not come back under this id.
    pub id: ConnectionId,
    /// To which server.
    pub server: ServerId,
    /// Whose.
    pub user: UserId,
    /// Whether it can be used.
    pub state: ConnectionState,
    /// Who issued its tokens.
    pub issuer: String,
    /// What they may do, as their issuer said.
    pub scopes: String,
    /// The tokens.
    pub sealed: Vec<u8>,
    /// Grows with each renewal.
    pub version: u64,
    /// When the person was there.
    pub connected_at: Timestamp,
    /// When the tokens were renewed.
    pub refreshed_at: Timestamp,
    /// Until then somebody has the right to renew them.
    pub lease_until: Option<Timestamp>,
}

impl fmt::Debug for StoredConnection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "StoredConnection({} {:?}, version {})", self.id, self.state, self.version)
    }
}

/// A connection to insert.
#[derive(Clone)]
pub struct NewConnection {
    /// New.
    pub id: ConnectionId,
    /// To which server.
    pub server: ServerId,
    /// Whose.
    pub user: UserId,
    /// Who issued its tokens.
    pub issuer: String,
    /// What they may do.
    pub scopes: String,
    /// The tokens.
    pub sealed: Vec<u8>,
}

/// Which connections are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionFilter {
    /// To this server only.
    pub server: Option<ServerId>,
    /// Of this person only.
    pub user: Option<UserId>,
    /// After the one with this id.
    pub after: Option<ConnectionId>,
}

/// The right to renew a connection, for a while, and what comes of it.
#[derive(Clone)]
pub struct Renewal {
    /// Which.
    pub id: ConnectionId,
    /// What was read; another one means that somebody was faster.
    pub version: u64,
    /// Who renews: nobody else has this text.
    pub lease: String,
}

/// From whom connections hang.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Holder {
    Server(ServerId),
    User(UserId),
}

statements! {
    CONNECTION_OF =
        "SELECT id, server_id, user_id, state, issuer, scopes, sealed, version, connected_at, refreshed_at,
                lease_until
         FROM upstream_connection WHERE server_id = $1 AND user_id = $2 AND state <> 'ending'";
    CONNECTION =
        "SELECT id, server_id, user_id, state, issuer, scopes, sealed, version, connected_at, refreshed_at,
                lease_until
         FROM upstream_connection WHERE id = $1";
    CONNECTIONS =
        "SELECT id, server_id, user_id, state, issuer, scopes, sealed, version, connected_at, refreshed_at,
                lease_until
         FROM upstream_connection
         WHERE state <> 'ending' AND id > $1
           AND (CAST($2 AS TEXT) IS NULL OR server_id = $2)
           AND (CAST($3 AS TEXT) IS NULL OR user_id = $3)
         ORDER BY id LIMIT $4";
    FORGET =
        "DELETE FROM upstream_connection WHERE server_id = $1 AND user_id = $2 AND state <> 'ending' RETURNING id";
    INSERT =
        "INSERT INTO upstream_connection (id, server_id, user_id, state, issuer, scopes, sealed, version,
                                          connected_at, refreshed_at, attempts)
         VALUES ($1, $2, $3, 'connected', $4, $5, $6, 1, $7, $7, 0)";
    LEASE =
        "UPDATE upstream_connection SET lease = $3, lease_until = $4
         WHERE id = $1 AND version = $2 AND state = 'connected' AND (lease_until IS NULL OR lease_until <= $5)";
    RENEWED =
        "UPDATE upstream_connection SET sealed = $4, scopes = $5, version = version + 1, refreshed_at = $6,
                                        lease = NULL, lease_until = NULL
         WHERE id = $1 AND version = $2 AND lease = $3 AND state = 'connected'";
    // It ended while it was renewed: its issuer is told of what it gave last.
    RENEWED_TOO_LATE =
        "UPDATE upstream_connection SET sealed = $2 WHERE id = $1 AND state = 'ending'";
    EXPIRED =
        "UPDATE upstream_connection SET state = 'expired', lease = NULL, lease_until = NULL
         WHERE id = $1 AND version = $2 AND lease = $3 AND state = 'connected'";
    GIVE_BACK =
        "UPDATE upstream_connection SET lease = NULL, lease_until = NULL WHERE id = $1 AND lease = $2";
}

impl Reader<'_> {
    /// A person's connection to a server, if it has not ended.
    pub async fn connection_of(
        &mut self,
        server: ServerId,
        user: UserId,
    ) -> Result<Option<StoredConnection>, Error> {
        let row = self.connection.row(CONNECTION_OF, values![server, user]).await?;
        row.map(read).transpose()
    }

    /// A connection, ended or not.
    pub async fn upstream_connection(&mut self, id: ConnectionId) -> Result<Option<StoredConnection>, Error> {
        let row = self.connection.row(CONNECTION, values![id]).await?;
        row.map(read).transpose()
    }

    /// Connections that have not ended, in the order of their ids.
    pub async fn connections(
        &mut self,
        filter: ConnectionFilter,
        limit: u32,
    ) -> Result<Vec<StoredConnection>, Error> {
        let values = values![
            filter.after.map(|id| id.to_string()).unwrap_or_default(),
            filter.server.map(|id| id.to_string()),
            filter.user.map(|id| id.to_string()),
            limit,
        ];
        let rows = self.connection.rows(CONNECTIONS, values).await?;
        rows.into_iter().map(read).collect()
    }
}

fn read(row: Row) -> Result<StoredConnection, Error> {
    let id: ConnectionId = row.parsed("id")?;
    let row = row.named("upstream_connection", id);
    let state = ConnectionState::parse(&row.text("state")?);
    Ok(StoredConnection {
        id,
        server: row.parsed("server_id")?,
        user: row.parsed("user_id")?,
        state: state.ok_or_else(|| row.corrupt("state"))?,
        issuer: row.text("issuer")?,
        scopes: row.text("scopes")?,
        sealed: row.bytes("sealed")?,
        version: row.int("version")?,
        connected_at: row.time("connected_at")?,
        refreshed_at: row.time("refreshed_at")?,
        lease_until: row.time_or_none("lease_until")?,
    })
}

impl Tx {
    /// Connects a person, who may sign in, to a server, which is there. What they had connected there before is forgotten,
    /// and no copy of its tokens is used past `until`.
    pub async fn connect(&mut self, new: &NewConnection, until: Timestamp) -> Result<(), Error> {
        self.hold_user(new.user).await?;
        self.hold_server(new.server).await?;
        for row in self.connection.rows(FORGET, values![new.server, new.user]).await? {
            let before: ConnectionId = row.named("upstream_connection", "before").parsed("id")?;
            self.end_copies(before, until).await?;
        }
        let values = values![
            new.id,
            new.server,
            new.user,
            &new.issuer,
            &new.scopes,
            new.sealed.as_slice(),
            self.now(),
        ];
        self.connection.execute(INSERT, values).await?;
        Ok(())
    }

    /// Takes the right to renew until `until`; false when somebody else has it, or was faster.
    pub async fn lease(&mut self, renewal: &Renewal, until: Timestamp) -> Result<bool, Error> {
        let Renewal { id, version, lease } = renewal;
        let values = values![*id, *version, lease, until, self.now()];
        Ok(self.connection.execute(LEASE, values).await? == 1)
    }

    /// Keeps what a renewal brought; false when the connection ended meanwhile, or another node was faster.
    pub async fn renewed(
        &mut self,
        renewal: &Renewal,
        (sealed, scopes): (&[u8], &str),
    ) -> Result<bool, Error> {
        let Renewal { id, version, lease } = renewal;
        let values = values![*id, *version, lease, sealed, scopes, self.now()];
        if self.connection.execute(RENEWED, values).await? == 1 {
            return Ok(true);
        }
        self.connection.execute(RENEWED_TOO_LATE, values![*id, sealed]).await?;
        Ok(false)
    }

    /// The issuer does not know the connection any more; false when it ended meanwhile, or another node was faster. No copy
    /// of its tokens is used past `until`.
    pub async fn expire(&mut self, renewal: &Renewal, until: Timestamp) -> Result<bool, Error> {
        let Renewal { id, version, lease } = renewal;
        let expired = self.connection.execute(EXPIRED, values![*id, *version, lease]).await? == 1;
        if expired {
            self.end_copies(*id, until).await?;
        }
        Ok(expired)
    }

    /// Gives the right to renew back: nothing came of it.
    pub async fn give_back(&mut self, renewal: &Renewal) -> Result<(), Error> {
        self.connection.execute(GIVE_BACK, values![renewal.id, &renewal.lease]).await?;
        Ok(())
    }

    async fn end_copies(&mut self, id: ConnectionId, until: Timestamp) -> Result<(), Error> {
        let target = RevokedTarget::Connection(id);
        self.revoke(&Revocation { target, at: self.now(), until }).await
    }
}

impl From<Holder> for Value {
    fn from(holder: Holder) -> Self {
        match holder {
            Holder::Server(server) => server.into(),
            Holder::User(user) => user.into(),
        }
    }
}

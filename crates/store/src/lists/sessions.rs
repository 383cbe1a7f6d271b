//! Sessions, by client, person or server.

use super::{By, text};
use crate::connection::values;
use crate::error::Error;
use crate::reader::Reader;
use crate::row::Row;
use crate::sessions;
use crate::statements::statements;
use portcullis_domain::grant::Session;
use portcullis_domain::id::{ServerId, SessionId, UserId};
use portcullis_domain::registry::Name;
use portcullis_oauth::client::ClientId;
use portcullis_oauth::time::Timestamp;

macro_rules! sessions {
    ($($those:literal),+) => {
        concat!(
            "SELECT session.id, session.client_id, session.user_id, session.grant_id, session.server_id,
                    session.resource, session.scopes, session.started_at, session.ends_at, session.revoked,
                    client.agent_name AS agent_name, client.name AS client_name, account.username AS username
             FROM session JOIN client ON client.id = session.client_id
                  LEFT JOIN account ON account.id = session.user_id
             WHERE ",
            $($those),+
        )
    };
}

macro_rules! list {
    ($leads:literal) => {
        sessions!(
            $leads,
            " AND session.id < $2
              AND (CAST($3 AS TEXT) IS NULL OR session.client_id = $3)
              AND (CAST($4 AS TEXT) IS NULL OR session.user_id = $4)
              AND (CAST($5 AS TEXT) IS NULL OR session.server_id = $5)
              AND (CAST($6 AS BIGINT) IS NULL OR (NOT session.revoked AND session.ends_at > $6))
             ORDER BY session.id DESC LIMIT $7"
        )
    };
}

statements! {
    OF_USER = list!("session.user_id = $1");
    OF_CLIENT = list!("session.client_id = $1");
    ON_SERVER = list!("session.server_id = $1");
    ANY = list!("CAST($1 AS TEXT) IS NULL");
    ONE = sessions!("session.id = $1");
}

/// Which sessions are asked for; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Through this client, or of this agent.
    pub client: Option<ClientId>,
    /// Of this person.
    pub user: Option<UserId>,
    /// On this server.
    pub server: Option<ServerId>,
    /// Alive at this moment.
    pub alive_at: Option<Timestamp>,
}

/// A session with the names of those whom it concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedSession {
    /// The session.
    pub session: Session,
    /// The agent whose it is.
    pub agent: Option<Name>,
    /// The person whose it is.
    pub username: Option<String>,
    /// What the client calls itself.
    pub client_name: Option<String>,
}

impl Reader<'_> {
    /// Up to `limit` sessions, the newest first; those that began before `before`, if that is given.
    pub async fn sessions_page(
        &mut self,
        filter: &SessionFilter,
        before: Option<SessionId>,
        limit: u32,
    ) -> Result<Vec<ListedSession>, Error> {
        let by = By { user: filter.user, client: filter.client.as_ref(), server: filter.server };
        let (leads, sql) = by.leading([OF_USER, OF_CLIENT, ON_SERVER, ANY]);
        let values = values![
            leads,
            // Ids are ordered by time, and none is this one.
            before.unwrap_or(SessionId::from_bytes([0xff; 16])),
            text(filter.client.as_ref()),
            text(filter.user),
            text(filter.server),
            filter.alive_at,
            limit,
        ];
        let rows = self.connection.rows(sql, values).await?;
        rows.into_iter().map(read).collect()
    }

    /// A session with its names, alive or not.
    pub async fn listed_session(&mut self, id: SessionId) -> Result<Option<ListedSession>, Error> {
        let row = self.connection.row(ONE, values![id]).await?;
        row.map(read).transpose()
    }
}

fn read(row: Row) -> Result<ListedSession, Error> {
    let row = row.named("session", "of a list");
    Ok(ListedSession {
        agent: row.parsed_or_none("agent_name")?,
        username: row.text_or_none("username")?,
        client_name: row.text_or_none("client_name")?,
        session: sessions::read(row)?,
    })
}

//! Grants, by person, client or server.

use super::{By, text};
use crate::connection::values;
use crate::error::Error;
use crate::reader::Reader;
use crate::row::Row;
use crate::statements::statements;
use portcullis_domain::id::{GrantId, ServerId, UserId};
use portcullis_oauth::client::ClientId;
use portcullis_oauth::scope::ScopeSet;
use portcullis_oauth::time::Timestamp;

macro_rules! grants {
    ($($those:literal),+) => {
        concat!(
            "SELECT user_grant.id, user_grant.user_id, user_grant.client_id, user_grant.server_id, user_grant.scopes,
                    user_grant.created_at, user_grant.updated_at, user_grant.revoked,
                    client.name AS client_name, account.username AS username
             FROM user_grant JOIN client ON client.id = user_grant.client_id
                  JOIN account ON account.id = user_grant.user_id
             WHERE ",
            $($those),+
        )
    };
}

macro_rules! list {
    ($leads:literal) => {
        grants!(
            $leads,
            " AND user_grant.id < $2
              AND (CAST($3 AS TEXT) IS NULL OR user_grant.user_id = $3)
              AND (CAST($4 AS TEXT) IS NULL OR user_grant.client_id = $4)
              AND (CAST($5 AS TEXT) IS NULL OR user_grant.server_id = $5)
              AND (NOT user_grant.revoked OR $6)
             ORDER BY user_grant.id DESC LIMIT $7"
        )
    };
}

statements! {
    OF_USER = list!("user_grant.user_id = $1");
    OF_CLIENT = list!("user_grant.client_id = $1");
    ON_SERVER = list!("user_grant.server_id = $1");
    ANY = list!("CAST($1 AS TEXT) IS NULL");
    ONE = grants!("user_grant.id = $1");
}

/// Which grants are asked for; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantFilter {
    /// Of this person.
    pub user: Option<UserId>,
    /// To this client.
    pub client: Option<ClientId>,
    /// On this server.
    pub server: Option<ServerId>,
    /// Those that were revoked too.
    pub revoked_too: bool,
}

/// A grant with the names of those whom it concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGrant {
    /// Which.
    pub id: GrantId,
    /// Who agreed.
    pub user: UserId,
    /// The same, by name.
    pub username: String,
    /// To whom.
    pub client: ClientId,
    /// What that one calls itself.
    pub client_name: Option<String>,
    /// On which server.
    pub server: ServerId,
    /// To what.
    pub scopes: ScopeSet,
    /// When it began.
    pub created_at: Timestamp,
    /// When it changed last.
    pub updated_at: Timestamp,
    /// It counts no more.
    pub revoked: bool,
}

impl Reader<'_> {
    /// Up to `limit` grants, the newest first; those that began before `before`, if that is given.
    pub async fn grants_page(
        &mut self,
        filter: &GrantFilter,
        before: Option<GrantId>,
        limit: u32,
    ) -> Result<Vec<ListedGrant>, Error> {
        let by = By { user: filter.user, client: filter.client.as_ref(), server: filter.server };
        let (leads, sql) = by.leading([OF_USER, OF_CLIENT, ON_SERVER, ANY]);
        let values = values![
            leads,
            // Ids are ordered by time, and none is this one.
            before.unwrap_or(GrantId::from_bytes([0xff; 16])),
            text(filter.user),
            text(filter.client.as_ref()),
            text(filter.server),
            filter.revoked_too,
            limit,
        ];
        let rows = self.connection.rows(sql, values).await?;
        rows.into_iter().map(read).collect()
    }

    /// A grant with its names, revoked or not.
    pub async fn listed_grant(&mut self, id: GrantId) -> Result<Option<ListedGrant>, Error> {
        let row = self.connection.row(ONE, values![id]).await?;
        row.map(read).transpose()
    }
}

fn read(row: Row) -> Result<ListedGrant, Error> {
    let id: GrantId = row.parsed("id")?;
    let row = row.named("user_grant", id);
    Ok(ListedGrant {
        id,
        user: row.parsed("user_id")?,
        username: row.text("username")?,
        client: row.parsed("client_id")?,
        client_name: row.text_or_none("client_name")?,
        server: row.parsed("server_id")?,
        scopes: row.parsed("scopes")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        revoked: row.bool("revoked")?,
    })
}

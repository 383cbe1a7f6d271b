//! Clients of every kind.

use crate::clients::{self, StoredClient};
use crate::connection::values;
use crate::error::Error;
use crate::reader::Reader;
use crate::row::Row;
use crate::statements::statements;
use portcullis_oauth::client::ClientId;
use portcullis_oauth::time::Timestamp;

statements! {
    // A client's key is its id; those that we make are ordered by time.
    CLIENTS_PAGE =
        "SELECT client.id, kind, agent_name, name, client_uri, redirect_uris, auth_method, grant_types, created_at,
                disabled, client_use.used_at AS used_at
         FROM client LEFT JOIN client_use ON client_use.client_id = client.id
         WHERE NOT disabled
           AND (CAST($1 AS TEXT) IS NULL OR client.id < $1)
           AND (CAST($2 AS TEXT) IS NULL OR kind = $2)
         ORDER BY client.id DESC LIMIT $3";
    CLIENT_USED =
        "SELECT used_at FROM client_use WHERE client_id = $1";
}

/// How clients came to be, to list those only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientSort {
    /// Of registered agents.
    Agent,
    /// Registered by the operator.
    Registered,
    /// Registered by themselves.
    SelfRegistered,
}

/// A client, without its secrets, and when it was used last.
#[derive(Clone, Debug)]
pub struct ListedClient {
    /// The client; its secrets are left out.
    pub client: StoredClient,
    /// To the hour.
    pub used_at: Option<Timestamp>,
}

impl Reader<'_> {
    /// Up to `limit` clients that are alive, in the order of their ids, the newest first; those after `after`.
    pub async fn clients_page(
        &mut self,
        sort: Option<ClientSort>,
        after: Option<&ClientId>,
        limit: u32,
    ) -> Result<Vec<ListedClient>, Error> {
        let kind = sort.map(|sort| match sort {
            ClientSort::Agent => "agent".to_owned(),
            ClientSort::Registered => "registered".to_owned(),
            ClientSort::SelfRegistered => "self_registered".to_owned(),
        });
        let values = values![super::text(after), kind, limit];
        let rows = self.connection.rows(CLIENTS_PAGE, values).await?;
        rows.into_iter().map(read).collect()
    }

    /// When a client was used last, to the hour.
    pub async fn client_used_at(&mut self, client: &ClientId) -> Result<Option<Timestamp>, Error> {
        let row = self.connection.row(CLIENT_USED, values![client]).await?;
        row.map(|row| row.named("client_use", client).time("used_at")).transpose()
    }
}

fn read(row: Row) -> Result<ListedClient, Error> {
    let id: ClientId = row.parsed("id")?;
    let row = row.named("client", id);
    Ok(ListedClient { used_at: row.time_or_none("used_at")?, client: clients::read(row)? })
}

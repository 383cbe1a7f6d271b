//! What users agreed to: client × server × scopes.

use crate::connection::values;
use crate::endings::Ended;
use crate::error::Error;
use crate::reader::Reader;
use crate::row::Row;
use crate::sessions;
use crate::statements::statements;
use crate::tx::Tx;
use portcullis_domain::id::{GrantId, ServerId, UserId};
use portcullis_oauth::client::ClientId;
use portcullis_oauth::scope::ScopeSet;
use portcullis_oauth::time::Timestamp;

/// A grant as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredGrant {
    /// Which.
    pub id: GrantId,
    /// All that was agreed to, at any time since it began.
    pub scopes: ScopeSet,
    /// It counts no more, and never will again.
    pub revoked: bool,
}

/// A grant to begin, where there is none.
#[derive(Clone, Copy, Debug)]
pub struct NewGrant<'a> {
    /// New.
    pub id: GrantId,
    /// Who agrees.
    pub user: UserId,
    /// To what this client does.
    pub client: &'a ClientId,
    /// On this server.
    pub server: ServerId,
}

statements! {
    LIVE_GRANT =
        "SELECT id, scopes, revoked FROM user_grant
         WHERE user_id = $1 AND client_id = $2 AND server_id = $3 AND NOT revoked";
    GRANT =
        "SELECT id, scopes, revoked FROM user_grant WHERE id = $1";
    // The update changes nothing, but it locks the row and gives its newest scopes.
    BEGIN_GRANT =
        "INSERT INTO user_grant (id, user_id, client_id, server_id, scopes, created_at, updated_at, revoked)
         VALUES ($1, $2, $3, $4, $5, $6, $6, FALSE)
         ON CONFLICT (user_id, client_id, server_id) WHERE NOT revoked
         DO UPDATE SET updated_at = user_grant.updated_at
         RETURNING id, scopes, revoked";
    WIDEN_GRANT =
        "UPDATE user_grant SET scopes = $2, updated_at = $3 WHERE id = $1";
    REVOKE_GRANT =
        "UPDATE user_grant SET revoked = TRUE, updated_at = $2 WHERE id = $1 AND NOT revoked";
    GRANTS_OF_SERVER =
        "SELECT id FROM user_grant WHERE server_id = $1 AND NOT revoked ORDER BY id";
    GRANTS_OF_CLIENT =
        "SELECT id FROM user_grant WHERE client_id = $1 AND NOT revoked ORDER BY id";
    EXPIRE_CODES =
        "UPDATE code SET expires_at = $2 WHERE grant_id = $1 AND redeemed_as IS NULL AND expires_at > $2";
}

impl Reader<'_> {
    /// What a user has agreed to, if it was not revoked.
    pub async fn grant(
        &mut self,
        user: UserId,
        client: &ClientId,
        server: ServerId,
    ) -> Result<Option<StoredGrant>, Error> {
        let values = values![user, client, server];
        let row = self.connection.row(LIVE_GRANT, values).await?;
        row.map(read).transpose()
    }

    /// A grant, revoked or not.
    pub async fn grant_by_id(&mut self, id: GrantId) -> Result<Option<StoredGrant>, Error> {
        let row = self.connection.row(GRANT, values![id]).await?;
        row.map(read).transpose()
    }
}

fn read(row: Row) -> Result<StoredGrant, Error> {
    let id: GrantId = row.parsed("id")?;
    let row = row.named("user_grant", id);
    Ok(StoredGrant { id, scopes: row.parsed("scopes")?, revoked: row.bool("revoked")? })
}

impl Tx {
    /// Adds scopes to the user's grant, or begins one. Gives the grant's id.
    pub async fn merge_grant(&mut self, new: NewGrant<'_>, scopes: &ScopeSet) -> Result<GrantId, Error> {
        let NewGrant { id, user, client, server } = new;
        self.hold_client(client).await?;
        self.hold_user(user).await?;
        self.hold_server(server).await?;
        let values = values![id, user, client, server, scopes, self.now()];
        let row = self.connection.row(BEGIN_GRANT, values).await?;
        let grant = row.map(read).transpose()?;
        let grant = grant.ok_or_else(|| Error::unavailable("an upsert gave no row"))?;
        if !scopes.is_subset(&grant.scopes) {
            let values = values![grant.id, &grant.scopes.union(scopes), self.now()];
            self.connection.execute(WIDEN_GRANT, values).await?;
        }
        Ok(grant.id)
    }

    /// Revokes a grant, its codes, and its sessions, no token of which lives past `until`. False when it was revoked before.
    pub async fn revoke_grant(&mut self, id: GrantId, until: Timestamp) -> Result<bool, Error> {
        Ok(self.end_grant(id, until).await?.is_some())
    }

    /// The same; what it ended, or `None`.
    pub async fn end_grant(&mut self, id: GrantId, until: Timestamp) -> Result<Option<Ended>, Error> {
        let values = values![id, self.now()];
        if self.connection.execute(REVOKE_GRANT, values).await? == 0 {
            return Ok(None);
        }
        self.connection.execute(EXPIRE_CODES, values![id, self.now()]).await?;
        let sessions = self.end_sessions_of(sessions::Of::Grant(id), until).await?;
        Ok(Some(Ended { sessions, grants: 1 }))
    }

    pub(crate) async fn revoke_grants_of_client(
        &mut self,
        client: &ClientId,
        until: Timestamp,
    ) -> Result<(), Error> {
        let rows = self.connection.rows(GRANTS_OF_CLIENT, values![client]).await?;
        for row in rows {
            let id = row.named("user_grant of client", client).parsed("id")?;
            self.revoke_grant(id, until).await?;
        }
        Ok(())
    }

    pub(crate) async fn revoke_grants_on(&mut self, server: ServerId, until: Timestamp) -> Result<(), Error> {
        let rows = self.connection.rows(GRANTS_OF_SERVER, values![server]).await?;
        for row in rows {
            let id = row.named("user_grant on server", server).parsed("id")?;
            self.revoke_grant(id, until).await?;
        }
        Ok(())
    }
}

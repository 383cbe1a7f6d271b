//! The end of a connection (PC-45): here at once, at its issuer as soon as that can be told.

use super::Holder;
use crate::connection::values;
use crate::error::Error;
use crate::reader::Reader;
use crate::statements::statements;
use crate::tx::Tx;
use portcullis_domain::id::{ConnectionId, ServerId, UserId};
use portcullis_oauth::time::Timestamp;

/// A connection whose issuer has still to be told.
pub struct Ending {
    /// Which.
    pub id: ConnectionId,
    /// To which server it was.
    pub server: ServerId,
    /// Whose it was.
    pub user: UserId,
    /// Its tokens.
    pub sealed: Vec<u8>,
    /// How often that was tried.
    pub attempts: u32,
}

statements! {
    END =
        "UPDATE upstream_connection SET state = 'ending', attempts = 0, due_at = $2, lease = NULL, lease_until = NULL
         WHERE id = $1 AND state <> 'ending'";
    LIVE_OF_SERVER =
        "SELECT id FROM upstream_connection WHERE server_id = $1 AND state <> 'ending' ORDER BY id";
    LIVE_OF_USER =
        "SELECT id FROM upstream_connection WHERE user_id = $1 AND state <> 'ending' ORDER BY id";
    STOP_CONNECTING_TO =
        "DELETE FROM upstream_connecting WHERE server_id = $1";
    STOP_CONNECTING =
        "DELETE FROM upstream_connecting WHERE user_id = $1";
    DUE =
        "SELECT id, server_id, user_id, sealed, attempts FROM upstream_connection
         WHERE state = 'ending' AND due_at <= $1 ORDER BY due_at LIMIT $2";
    // Of several nodes one tries.
    TRY =
        "UPDATE upstream_connection SET attempts = attempts + 1, due_at = $3
         WHERE id = $1 AND state = 'ending' AND attempts = $2";
    FORGET =
        "DELETE FROM upstream_connection WHERE id = $1 AND state = 'ending'";
}

impl Reader<'_> {
    /// Connections that ended, and whose issuers are to be told now.
    pub async fn due_endings(&mut self, now: Timestamp, limit: u32) -> Result<Vec<Ending>, Error> {
        let rows = self.connection.rows(DUE, values![now, limit]).await?;
        rows.into_iter()
            .map(|row| {
                let id: ConnectionId = row.parsed("id")?;
                let row = row.named("upstream_connection", id);
                Ok(Ending {
                    id,
                    server: row.parsed("server_id")?,
                    user: row.parsed("user_id")?,
                    sealed: row.bytes("sealed")?,
                    attempts: row.int("attempts")?,
                })
            })
            .collect()
    }
}

impl Tx {
    /// Ends a connection: no copy of its tokens is used past `until`, nor, where the gateway hears, from now on. False when
    /// it had ended.
    pub async fn end_connection(&mut self, id: ConnectionId, until: Timestamp) -> Result<bool, Error> {
        let ended = self.connection.execute(END, values![id, self.now()]).await? == 1;
        if ended {
            self.end_copies(id, until).await?;
        }
        Ok(ended)
    }

    /// Ends everything that was connected there, or by them, and what is about to be; how many.
    pub(crate) async fn end_connections_of(
        &mut self,
        holder: Holder,
        until: Timestamp,
    ) -> Result<u64, Error> {
        let (live, stop) = match holder {
            Holder::Server(_) => (LIVE_OF_SERVER, STOP_CONNECTING_TO),
            Holder::User(_) => (LIVE_OF_USER, STOP_CONNECTING),
        };
        self.connection.execute(stop, values![holder]).await?;
        let mut ended = 0;
        for row in self.connection.rows(live, values![holder]).await? {
            let id = row.named("upstream_connection", "by its holder").parsed("id")?;
            ended += u64::from(self.end_connection(id, until).await?);
        }
        Ok(ended)
    }

    /// Takes the attempt after so many `attempts` to tell the issuer; the one after it is due at `next`. False when another
    /// node does.
    pub async fn try_ending(
        &mut self,
        id: ConnectionId,
        attempts: u32,
        next: Timestamp,
    ) -> Result<bool, Error> {
        let values = values![id, attempts, next];
        Ok(self.connection.execute(TRY, values).await? == 1)
    }

    /// Forgets a connection that ended.
    pub async fn forget_connection(&mut self, id: ConnectionId) -> Result<bool, Error> {
        Ok(self.connection.execute(FORGET, values![id]).await? == 1)
    }
}

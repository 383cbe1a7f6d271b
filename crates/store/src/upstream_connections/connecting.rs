//! Sign-ins at third parties that are under way: each is for one browser, and counts once.

use crate::connection::values;
use crate::error::Error;
use crate::reader::Reader;
use crate::statements::statements;
use crate::tx::Tx;
use portcullis_domain::id::{ServerId, UserId};
use portcullis_domain::secret::{BrowserSession, ConnectState, Hashed};
use portcullis_oauth::time::Timestamp;

/// A sign-in to begin.
#[derive(Clone)]
pub struct NewConnecting {
    /// Of the `state` that comes back.
    pub hash: Hashed<ConnectState>,
    /// Where.
    pub server: ServerId,
    /// Who.
    pub user: UserId,
    /// In which browser.
    pub session: Hashed<BrowserSession>,
    /// What is needed afterwards.
    pub sealed: Vec<u8>,
    /// Then nothing comes of it.
    pub expires_at: Timestamp,
}

/// A sign-in that came back.
pub struct Connecting {
    /// Where.
    pub server: ServerId,
    /// What is needed now.
    pub sealed: Vec<u8>,
}

statements! {
    // Of two in one browser the later one counts.
    BEGIN =
        "INSERT INTO upstream_connecting (hash, server_id, user_id, session, sealed, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (session, server_id) DO UPDATE SET hash = excluded.hash, user_id = excluded.user_id,
             sealed = excluded.sealed, expires_at = excluded.expires_at";
    UNDER_WAY =
        "SELECT server_id FROM upstream_connecting WHERE server_id = $1 AND session = $2 AND expires_at > $3";
    // Once, and in the browser and for the person that it was begun in and for; else it stays.
    TAKE =
        "DELETE FROM upstream_connecting WHERE hash = $1 AND user_id = $2 AND session = $3 AND expires_at > $4
         RETURNING server_id, sealed";
}

impl Reader<'_> {
    /// Whether a sign-in at this server was begun in this browser, and did not come back yet.
    pub async fn is_connecting(
        &mut self,
        server: ServerId,
        session: &Hashed<BrowserSession>,
        now: Timestamp,
    ) -> Result<bool, Error> {
        Ok(self.connection.row(UNDER_WAY, values![server, session, now]).await?.is_some())
    }
}

impl Tx {
    /// Begins.
    pub async fn begin_connecting(&mut self, new: &NewConnecting) -> Result<(), Error> {
        self.hold_user(new.user).await?;
        self.hold_server(new.server).await?;
        let values =
            values![&new.hash, new.server, new.user, &new.session, new.sealed.as_slice(), new.expires_at,];
        self.connection.execute(BEGIN, values).await?;
        Ok(())
    }

    /// Takes what was begun under this `state`, if it was here.
    pub async fn take_connecting(
        &mut self,
        state: &Hashed<ConnectState>,
        user: UserId,
        session: &Hashed<BrowserSession>,
    ) -> Result<Option<Connecting>, Error> {
        let values = values![state, user, session, self.now()];
        let row = self.connection.row(TAKE, values).await?;
        row.map(|row| {
            let row = row.named("upstream_connecting", "by its state");
            Ok(Connecting { server: row.parsed("server_id")?, sealed: row.bytes("sealed")? })
        })
        .transpose()
    }
}

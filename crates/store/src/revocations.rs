//! What is no longer believed (PC-45).

use crate::connection::values;
use crate::error::Error;
use crate::feed::ChangeKind;
use crate::reader::Reader;
use crate::row::Row;
use crate::statements::statements;
use crate::tx::Tx;
use portcullis_domain::id::ServerId;
use portcullis_domain::principal::{Principal, Revocation, RevokedTarget, Subject};
use portcullis_oauth::time::Timestamp;

statements! {
    REVOCATIONS =
        "SELECT kind, id, revoked_at, until FROM revocation WHERE until > $1 ORDER BY kind, id";
    REVOCATIONS_AFTER =
        "SELECT kind, id, revoked_at, until FROM revocation
         WHERE until > $1 AND (kind, id) > ($2, $3) ORDER BY kind, id LIMIT $4";
    // Everybody's, a server's, a client's or a person's tokens of before the moment; a session or a token always.
    IS_REVOKED =
        "SELECT kind FROM revocation
         WHERE until > $6
           AND ((kind = 'token' AND id = $1)
             OR (kind = 'session' AND id = $2)
             OR (kind = 'all' AND revoked_at >= $5)
             OR (kind = 'server' AND id = $7 AND revoked_at >= $5)
             OR (kind = 'client' AND id = $3 AND revoked_at >= $5)
             OR (kind = 'user' AND id = $4 AND revoked_at >= $5))
         LIMIT 1";
    // Two revocations of one target become one that covers both.
    REVOKE =
        "INSERT INTO revocation (kind, id, revoked_at, until) VALUES ($1, $2, $3, $4)
         ON CONFLICT (kind, id) DO UPDATE SET
             revoked_at = CASE WHEN excluded.revoked_at > revocation.revoked_at
                               THEN excluded.revoked_at ELSE revocation.revoked_at END,
             until = CASE WHEN excluded.until > revocation.until THEN excluded.until ELSE revocation.until END";
}

/// Up to where revocations were read. The default is before all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    kind: &'static str,
    id: String,
}

impl Place {
    fn of(target: &RevokedTarget) -> Self {
        let (kind, id) = match target {
            RevokedTarget::All => ("all", String::new()),
            RevokedTarget::Client(id) => ("client", id.to_string()),
            RevokedTarget::Connection(id) => ("connection", id.to_string()),
            RevokedTarget::Server(id) => ("server", id.to_string()),
            RevokedTarget::Session(id) => ("session", id.to_string()),
            RevokedTarget::Token(id) => ("token", id.to_string()),
            RevokedTarget::User(id) => ("user", id.to_string()),
        };
        Self { kind, id }
    }
}

impl Reader<'_> {
    /// Every revocation that still matters.
    pub async fn revocations(&mut self, now: Timestamp) -> Result<Vec<Revocation>, Error> {
        let rows = self.connection.rows(REVOCATIONS, values![now]).await?;
        rows.into_iter().map(read).collect()
    }

    /// At most so many of them, and where to go on if there may be more: there may be very many, and each takes much room
    /// until it is read.
    pub async fn revocations_after(
        &mut self,
        Place { kind, id }: &Place,
        most: u32,
        now: Timestamp,
    ) -> Result<(Vec<Revocation>, Option<Place>), Error> {
        let values = values![now, *kind, id.as_str(), most];
        let rows = self.connection.rows(REVOCATIONS_AFTER, values).await?;
        let revocations: Vec<_> = rows.into_iter().map(read).collect::<Result<_, _>>()?;
        let is_full = revocations.len() == most as usize;
        let last = revocations.last().filter(|_| is_full).map(|last| Place::of(&last.target));
        Ok((revocations, last))
    }

    /// Whether the token behind `principal`, which is for `server`, is no longer believed.
    pub async fn is_revoked(
        &mut self,
        principal: &Principal,
        server: ServerId,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let user = match &principal.subject {
            Subject::Agent(_) | Subject::External { .. } => None,
            Subject::User(user) => Some(user.to_string()),
        };
        let values = values![
            principal.token,
            principal.session,
            &principal.client_id,
            user,
            principal.issued_at,
            now,
            server,
        ];
        Ok(self.connection.row(IS_REVOKED, values).await?.is_some())
    }
}

fn read(row: Row) -> Result<Revocation, Error> {
    let row = row.named("revocation", "");
    let target = match row.text("kind")?.as_str() {
        "all" => RevokedTarget::All,
        "client" => RevokedTarget::Client(row.parsed("id")?),
        "connection" => RevokedTarget::Connection(row.parsed("id")?),
        "server" => RevokedTarget::Server(row.parsed("id")?),
        "session" => RevokedTarget::Session(row.parsed("id")?),
        "token" => RevokedTarget::Token(row.parsed("id")?),
        "user" => RevokedTarget::User(row.parsed("id")?),
        _ => return Err(row.corrupt("kind")),
    };
    Ok(Revocation { target, at: row.time("revoked_at")?, until: row.time("until")? })
}

impl Tx {
    /// Revokes, and tells the feed.
    pub async fn revoke(&mut self, revocation: &Revocation) -> Result<(), Error> {
        let Place { kind, id } = Place::of(&revocation.target);
        let values = values![kind, id, revocation.at, revocation.until];
        self.connection.execute(REVOKE, values).await?;
        self.changed(ChangeKind::Revoked(revocation.clone()));
        Ok(())
    }
}

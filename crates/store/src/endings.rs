//! Ending everything of one client, person, server, or of all (PC-45).
//!
//! Each first takes the row that new sessions hold while they begin, so that whatever begins at the same moment is seen
//! and ended, or begins afterwards.

use crate::connection::{Dialect, Value, values};
use crate::error::Error;
use crate::sessions::Of;
use crate::statements::statements;
use crate::tx::Tx;
use crate::upstream_connections::Holder;
use portcullis_domain::id::{GrantId, ServerId, UserId};
use portcullis_domain::principal::{Revocation, RevokedTarget};
use portcullis_oauth::client::ClientId;
use portcullis_oauth::time::Timestamp;
use std::time::Duration;

/// A code that ends now ended long ago: also for a redemption that was given its moment just before. It is purged later
/// than any flow lives, so that its flow is not answered again.
const LONG_AGO: Duration = Duration::from_hours(1);

/// Clocks of nodes do not differ by more.
const AHEAD: Duration = Duration::from_mins(1);

statements! {
    TAKE_CLIENT =
        "UPDATE client SET disabled = disabled WHERE id = $1";
    TAKE_USER =
        "UPDATE account SET disabled = disabled WHERE id = $1";
    TAKE_SERVER for Sqlite =
        "SELECT id FROM server WHERE id = $1";
    TAKE_SERVER_LOCKED for Postgres =
        "SELECT id FROM server WHERE id = $1 FOR NO KEY UPDATE";
    // Whoever writes there waits; in the order in which an authorization and its redemption write.
    TAKE_ALL for Postgres =
        "LOCK TABLE user_grant, code, session, family, browser_session IN SHARE ROW EXCLUSIVE MODE";
    GRANTS_OF_CLIENT =
        "SELECT id FROM user_grant WHERE client_id = $1 AND NOT revoked ORDER BY id";
    GRANTS_OF_USER =
        "SELECT id FROM user_grant WHERE user_id = $1 AND NOT revoked ORDER BY id";
    GRANTS_OF_SERVER =
        "SELECT id FROM user_grant WHERE server_id = $1 AND NOT revoked ORDER BY id";
    END_CODES_OF_CLIENT =
        "UPDATE code SET expires_at = $2 WHERE client_id = $1 AND redeemed_as IS NULL AND expires_at > $2";
    END_CODES_OF_USER =
        "UPDATE code SET expires_at = $2 WHERE user_id = $1 AND redeemed_as IS NULL AND expires_at > $2";
    END_CODES =
        "UPDATE code SET expires_at = $1 WHERE redeemed_as IS NULL AND expires_at > $1";
    END_BROWSER_SESSIONS_OF_USER =
        "DELETE FROM browser_session WHERE user_id = $1";
    END_BROWSER_SESSIONS =
        "DELETE FROM browser_session";
    COUNT_LIVE =
        "SELECT COUNT(*) AS n FROM session WHERE NOT revoked AND ends_at > $1";
    END_SESSIONS =
        "UPDATE session SET revoked = TRUE WHERE NOT revoked";
    END_FAMILIES =
        "UPDATE family SET revoked = TRUE WHERE NOT revoked";
    // The same registration makes another client from now on: an id is not given again.
    REMOVE_CLIENT =
        "UPDATE client SET disabled = TRUE, fingerprint = NULL
         WHERE id = $1 AND kind = 'self_registered' AND NOT disabled";
    REMOVE_SECRETS =
        "DELETE FROM client_secret WHERE client_id = $1";
}

/// What a revocation ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Sessions that were alive.
    pub sessions: u64,
    /// Grants that counted.
    pub grants: u64,
}

impl Tx {
    /// Ends everything of a client or an agent, which stays what it is: grants, codes, sessions, and all tokens, none of
    /// which lives past `until`. `None`: there is no such client.
    pub async fn end_all_of_client(
        &mut self,
        client: &ClientId,
        until: Timestamp,
    ) -> Result<Option<Ended>, Error> {
        if self.connection.execute(TAKE_CLIENT, values![client]).await? == 0 {
            return Ok(None);
        }
        self.connection.execute(END_CODES_OF_CLIENT, values![client, self.now() - LONG_AGO]).await?;
        let (grants, of_grants) = self.end_grants(GRANTS_OF_CLIENT, client.into(), until).await?;
        let sessions = of_grants + self.end_sessions_of(Of::Client(client), until).await?;
        self.end_tokens(RevokedTarget::Client(client.clone()), until).await?;
        Ok(Some(Ended { sessions, grants }))
    }

    /// Removes a client that registered itself, with everything of it. `None`: there is no such client.
    pub async fn remove_client(
        &mut self,
        client: &ClientId,
        until: Timestamp,
    ) -> Result<Option<Ended>, Error> {
        if self.connection.execute(REMOVE_CLIENT, values![client]).await? == 0 {
            return Ok(None);
        }
        self.connection.execute(REMOVE_SECRETS, values![client]).await?;
        self.end_all_of_client(client, until).await
    }

    /// Ends everything of a person, who may sign in again: browser sessions, grants, codes, sessions, connections to
    /// third-party servers, and all tokens, none of which lives past `until`. `None`: there is no such person.
    pub async fn end_all_of_user(&mut self, user: UserId, until: Timestamp) -> Result<Option<Ended>, Error> {
        // Codes before the account, in the order in which a redemption locks them.
        self.connection.execute(END_CODES_OF_USER, values![user, self.now() - LONG_AGO]).await?;
        if self.connection.execute(TAKE_USER, values![user]).await? == 0 {
            return Ok(None);
        }
        self.connection.execute(END_BROWSER_SESSIONS_OF_USER, values![user]).await?;
        // Again: an authorization that was under way when the account was taken may have added one.
        self.connection.execute(END_CODES_OF_USER, values![user, self.now() - LONG_AGO]).await?;
        let (grants, of_grants) = self.end_grants(GRANTS_OF_USER, user.into(), until).await?;
        let sessions = of_grants + self.end_sessions_of(Of::User(user), until).await?;
        self.end_connections_of(Holder::User(user), until).await?;
        self.end_tokens(RevokedTarget::User(user), until).await?;
        Ok(Some(Ended { sessions, grants }))
    }

    /// Ends what was issued for a person: codes, sessions, and all tokens, none of which lives past `until`. Browsers stay
    /// signed in, and grants go on: for a person who changes a password that somebody else may know.
    pub async fn end_tokens_of_user(&mut self, user: UserId, until: Timestamp) -> Result<(), Error> {
        self.connection.execute(END_CODES_OF_USER, values![user, self.now() - LONG_AGO]).await?;
        self.end_sessions_of(Of::User(user), until).await?;
        self.end_tokens(RevokedTarget::User(user), until).await
    }

    /// Ends everything on a server, which stays registered: grants, codes, sessions, what people connected there, and all
    /// tokens, of other issuers too, none of which lives past `until`. `None`: there is no such server.
    pub async fn end_all_on_server(
        &mut self,
        server: ServerId,
        until: Timestamp,
    ) -> Result<Option<Ended>, Error> {
        let take = match self.connection.dialect() {
            Dialect::Sqlite => TAKE_SERVER,
            Dialect::Postgres => TAKE_SERVER_LOCKED,
        };
        if self.connection.row(take, values![server]).await?.is_none() {
            return Ok(None);
        }
        let (grants, of_grants) = self.end_grants(GRANTS_OF_SERVER, server.into(), until).await?;
        let sessions = of_grants + self.end_sessions_of(Of::Server(server), until).await?;
        // Tokens of other issuers belong to no session of ours.
        self.end_tokens(RevokedTarget::Server(server), until).await?;
        self.end_connections_of(Holder::Server(server), until).await?;
        Ok(Some(Ended { sessions, grants }))
    }

    /// Ends everything that was ever issued: browser sessions, codes, sessions, and all tokens, none of which lives past
    /// `until`. What people agreed to stays, and so do accounts and secrets: everybody may begin anew.
    pub async fn end_everything(&mut self, until: Timestamp) -> Result<Ended, Error> {
        if self.connection.dialect() == Dialect::Postgres {
            self.connection.execute(TAKE_ALL, values![]).await?;
        }
        let alive = self.connection.row(COUNT_LIVE, values![self.now()]).await?;
        let sessions = alive.map_or(Ok(0), |row| row.named("session", "count").int("n"))?;
        self.connection.execute(END_BROWSER_SESSIONS, values![]).await?;
        self.connection.execute(END_CODES, values![self.now() - LONG_AGO]).await?;
        self.connection.execute(END_SESSIONS, values![]).await?;
        self.connection.execute(END_FAMILIES, values![]).await?;
        self.end_tokens(RevokedTarget::All, until).await?;
        Ok(Ended { sessions, grants: 0 })
    }

    /// Has every token of a person refused that was made until now; sessions go on, and renewals name what is left.
    pub async fn revoke_tokens_of_user(&mut self, user: UserId, until: Timestamp) -> Result<(), Error> {
        self.end_tokens(RevokedTarget::User(user), until).await
    }

    /// Every token made until now. A write may be given its moment before another that it comes after: the latest
    /// record's moment counts, since no token is issued without one.
    pub(crate) async fn end_tokens(&mut self, target: RevokedTarget, until: Timestamp) -> Result<(), Error> {
        let latest = self.read().latest_record_at().await?;
        let now = self.now();
        // A clock that is far ahead must not keep everybody out.
        let at = latest.unwrap_or(now).max(now).min(now + AHEAD);
        let until = until + at.since(now);
        self.revoke(&Revocation { target, at, until }).await
    }

    /// How many grants, and how many sessions by them.
    async fn end_grants(
        &mut self,
        sql: &'static str,
        of: Value,
        until: Timestamp,
    ) -> Result<(u64, u64), Error> {
        let (mut grants, mut sessions) = (0, 0);
        for row in self.connection.rows(sql, &[of]).await? {
            let id: GrantId = row.named("user_grant", "by its owner").parsed("id")?;
            if let Some(ended) = self.end_grant(id, until).await? {
                grants += 1;
                sessions += ended.sessions;
            }
        }
        Ok((grants, sessions))
    }
}

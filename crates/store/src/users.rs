//! Local accounts and the sessions of their browsers.

use crate::connection::{Dialect, values};
use crate::error::Error;
use crate::reader::Reader;
use crate::row::{Row, json};
use crate::sessions;
use crate::statements::statements;
use crate::tx::Tx;
use crate::upstream_connections::Holder;
use portcullis_domain::id::UserId;
use portcullis_domain::principal::RevokedTarget;
use portcullis_domain::secret::{BrowserSession, Hashed};
use portcullis_oauth::time::Timestamp;
use std::fmt;

/// An account as it is known. Its `Debug` does not show the password's hash.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredUser {
    /// Who it is.
    pub id: UserId,
    /// Unique; compared byte for byte.
    pub username: String,
    /// argon2id, as a PHC string.
    pub password_hash: String,
    /// The password was made by somebody else.
    pub must_change: bool,
    /// When such a password ends; `None`: never.
    pub password_ends_at: Option<Timestamp>,
    /// What roles ask for.
    pub groups: Vec<String>,
    /// May administer.
    pub admin: bool,
    /// May do nothing any more.
    pub disabled: bool,
}

impl StoredUser {
    /// Whether the password was made by somebody else, and its time is over (UI-18).
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.must_change && self.password_ends_at.is_some_and(|end| end.has_passed(now))
    }
}

/// An account to insert. Its `Debug` does not show the password's hash.
#[derive(Clone)]
pub struct NewUser {
    /// Who it is.
    pub id: UserId,
    /// Unique; compared byte for byte.
    pub username: String,
    /// argon2id, as a PHC string.
    pub password_hash: String,
    /// The password was made by somebody else.
    pub must_change: bool,
    /// When such a password ends; `None`: never.
    pub password_ends_at: Option<Timestamp>,
    /// What roles ask for.
    pub groups: Vec<String>,
    /// May administer.
    pub admin: bool,
}

/// A signed-in browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredBrowserSession {
    /// Who signed in.
    pub user: UserId,
    /// When.
    pub authenticated_at: Timestamp,
}

impl fmt::Debug for StoredUser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "StoredUser({}, {:?})", self.id, self.username)
    }
}

impl fmt::Debug for NewUser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "NewUser({}, {:?})", self.id, self.username)
    }
}

statements! {
    USER =
        "SELECT id, username, password_hash, must_change, password_ends_at, user_groups, admin, disabled FROM account WHERE id = $1";
    USER_BY_NAME =
        "SELECT id, username, password_hash, must_change, password_ends_at, user_groups, admin, disabled FROM account WHERE username = $1";
    USERS =
        "SELECT id, username, password_hash, must_change, password_ends_at, user_groups, admin, disabled FROM account ORDER BY username";
    USERS_AFTER =
        "SELECT id, username, password_hash, must_change, password_ends_at, user_groups, admin, disabled FROM account
         WHERE username > $1 ORDER BY username LIMIT $2";
    COUNT =
        "SELECT COUNT(*) AS n FROM account";
    BROWSER_SESSION =
        "SELECT user_id, authenticated_at FROM browser_session WHERE hash = $1 AND ends_at > $2";
    INSERT_USER =
        "INSERT INTO account (id, username, password_hash, must_change, user_groups, admin, disabled, created_at, password_ends_at)
         VALUES ($1, $2, $3, $4, $5, $6, FALSE, $7, $8)
         ON CONFLICT (username) DO NOTHING";
    SET_PASSWORD =
        "UPDATE account SET password_hash = $2, must_change = FALSE, password_ends_at = NULL WHERE id = $1";
    // Whoever proved the old password proved nothing when it was replaced meanwhile.
    CHANGE_PASSWORD =
        "UPDATE account SET password_hash = $3, must_change = FALSE, password_ends_at = NULL
         WHERE id = $1 AND password_hash = $2 AND NOT disabled";
    RESET_PASSWORD =
        "UPDATE account SET password_hash = $2, must_change = TRUE, password_ends_at = $3 WHERE id = $1 AND NOT disabled";
    // Nobody redeems them any more.
    END_CODES =
        "UPDATE code SET expires_at = $2 WHERE user_id = $1 AND redeemed_as IS NULL AND expires_at > $2";
    ADMINISTRATORS for Sqlite =
        "SELECT id FROM account WHERE admin AND NOT disabled ORDER BY id";
    ADMINISTRATORS_LOCKED for Postgres =
        "SELECT id FROM account WHERE admin AND NOT disabled ORDER BY id FOR NO KEY UPDATE";
    DISABLE =
        "UPDATE account SET disabled = TRUE WHERE id = $1 AND NOT disabled";
    END_BROWSER_SESSIONS =
        "DELETE FROM browser_session WHERE user_id = $1";
    END_OTHER_BROWSER_SESSIONS =
        "DELETE FROM browser_session WHERE user_id = $1 AND hash <> $2";
    INSERT_BROWSER_SESSION =
        "INSERT INTO browser_session (hash, user_id, authenticated_at, ends_at) VALUES ($1, $2, $3, $4)";
    END_BROWSER_SESSION =
        "DELETE FROM browser_session WHERE hash = $1";
}

impl Reader<'_> {
    /// An account.
    pub async fn user(&mut self, id: UserId) -> Result<Option<StoredUser>, Error> {
        let row = self.connection.row(USER, values![id]).await?;
        row.map(read).transpose()
    }

    /// The account that signs in with this name.
    pub async fn user_by_name(&mut self, username: &str) -> Result<Option<StoredUser>, Error> {
        // Nobody's name has a NUL, since no text has one; to ask is no fault of the database.
        if username.contains('\0') {
            return Ok(None);
        }
        let row = self.connection.row(USER_BY_NAME, values![username]).await?;
        row.map(read).transpose()
    }

    /// Every account, disabled ones included, by name.
    pub async fn users(&mut self) -> Result<Vec<StoredUser>, Error> {
        let rows = self.connection.rows(USERS, values![]).await?;
        rows.into_iter().map(read).collect()
    }

    /// At most `limit` accounts, disabled ones included, by name, after the one of this name.
    pub async fn users_after(
        &mut self,
        username: Option<String>,
        limit: u32,
    ) -> Result<Vec<StoredUser>, Error> {
        // No name is empty.
        let after = username.unwrap_or_default();
        if after.contains('\0') {
            return Ok(Vec::new());
        }
        let rows = self.connection.rows(USERS_AFTER, values![after.as_str(), limit]).await?;
        rows.into_iter().map(read).collect()
    }

    /// How many accounts there are, disabled ones included.
    pub async fn count_users(&mut self) -> Result<u64, Error> {
        let row = self.connection.row(COUNT, values![]).await?;
        row.map_or(Ok(0), |row| row.named("account", "count").int("n"))
    }

    /// A browser session that has not ended.
    pub async fn browser_session(
        &mut self,
        cookie: &Hashed<BrowserSession>,
        now: Timestamp,
    ) -> Result<Option<StoredBrowserSession>, Error> {
        let row = self.connection.row(BROWSER_SESSION, values![cookie, now]).await?;
        row.map(|row| {
            let row = row.named("browser_session", "");
            Ok(StoredBrowserSession {
                user: row.parsed("user_id")?,
                authenticated_at: row.time("authenticated_at")?,
            })
        })
        .transpose()
    }
}

fn read(row: Row) -> Result<StoredUser, Error> {
    let id: UserId = row.parsed("id")?;
    let row = row.named("account", id);
    Ok(StoredUser {
        id,
        username: row.text("username")?,
        password_hash: row.text("password_hash")?,
        must_change: row.bool("must_change")?,
        password_ends_at: row.time_or_none("password_ends_at")?,
        groups: row.json("user_groups")?,
        admin: row.bool("admin")?,
        disabled: row.bool("disabled")?,
    })
}

impl Tx {
    /// Adds an account; false when the name is taken.
    pub async fn insert_user(&mut self, user: &NewUser) -> Result<bool, Error> {
        let values = values![
            user.id,
            user.username.as_str(),
            user.password_hash.as_str(),
            user.must_change,
            json(&user.groups)?,
            user.admin,
            self.now(),
            user.password_ends_at,
        ];
        Ok(self.connection.execute(INSERT_USER, values).await? == 1)
    }

    /// Sets a password that holds; false when there is no such account.
    pub async fn set_password(&mut self, user: UserId, hash: &str) -> Result<bool, Error> {
        let values = values![user, hash];
        Ok(self.connection.execute(SET_PASSWORD, values).await? == 1)
    }

    /// Replaces the password of whoever proved the `old` one; false when it is not that one any more, or the account is
    /// disabled.
    pub async fn change_password(&mut self, user: UserId, old: &str, new: &str) -> Result<bool, Error> {
        Ok(self.connection.execute(CHANGE_PASSWORD, values![user, old, new]).await? == 1)
    }

    /// Sets a password that its owner must change before it ends, and ends what the old one opened: codes, browser sessions
    /// and all tokens, none of which lives past `until`. False when the account is disabled, or there is none.
    pub async fn reset_password(
        &mut self,
        user: UserId,
        (hash, ends_at): (&str, Timestamp),
        until: Timestamp,
    ) -> Result<bool, Error> {
        let now = self.now();
        // Codes before the account, in the order in which a redemption locks them.
        self.connection.execute(END_CODES, values![user, now]).await?;
        if self.connection.execute(RESET_PASSWORD, values![user, hash, ends_at]).await? == 0 {
            return Ok(false);
        }
        self.connection.execute(END_BROWSER_SESSIONS, values![user]).await?;
        self.end_sessions_of(sessions::Of::User(user), until).await?;
        self.end_tokens(RevokedTarget::User(user), until).await?;
        Ok(true)
    }

    /// Who may administer. None of them stops before COMMIT but by this transaction: of two that each end one of the
    /// last two administrators, the second sees one (ADM-11).
    pub async fn hold_administrators(&mut self) -> Result<Vec<UserId>, Error> {
        let sql = match self.connection.dialect() {
            Dialect::Sqlite => ADMINISTRATORS,
            Dialect::Postgres => ADMINISTRATORS_LOCKED,
        };
        let rows = self.connection.rows(sql, values![]).await?;
        rows.into_iter().map(|row| row.named("account", "administrators").parsed("id")).collect()
    }

    /// Ends an account: its browser sessions, and all its tokens, none of which lives past `until`. False when it was
    /// ended before, or there is none.
    pub async fn disable_user(&mut self, user: UserId, until: Timestamp) -> Result<bool, Error> {
        if self.connection.execute(DISABLE, values![user]).await? == 0 {
            return Ok(false);
        }
        self.connection.execute(END_BROWSER_SESSIONS, values![user]).await?;
        self.end_sessions_of(sessions::Of::User(user), until).await?;
        self.end_connections_of(Holder::User(user), until).await?;
        Ok(true)
    }

    /// Signs a browser in.
    pub async fn insert_browser_session(
        &mut self,
        cookie: &Hashed<BrowserSession>,
        user: UserId,
        authenticated_at: Timestamp,
        ends_at: Timestamp,
    ) -> Result<(), Error> {
        self.hold_user(user).await?;
        let values = values![cookie, user, authenticated_at, ends_at];
        self.connection.execute(INSERT_BROWSER_SESSION, values).await?;
        Ok(())
    }

    /// Signs a person out in every browser but one; whoever else knew the old password sits in one of them.
    pub async fn end_other_browser_sessions(
        &mut self,
        user: UserId,
        kept: &Hashed<BrowserSession>,
    ) -> Result<(), Error> {
        self.connection.execute(END_OTHER_BROWSER_SESSIONS, values![user, kept]).await?;
        Ok(())
    }

    /// Signs a browser out; false when it was not signed in.
    pub async fn end_browser_session(&mut self, cookie: &Hashed<BrowserSession>) -> Result<bool, Error> {
        let values = values![cookie];
        Ok(self.connection.execute(END_BROWSER_SESSION, values).await? == 1)
    }
}

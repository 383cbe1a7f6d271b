//! Changes of an account by an operator.

use crate::connection::values;
use crate::error::Error;
use crate::row::json;
use crate::statements::statements;
use crate::tx::Tx;
use crate::users::StoredUser;
use portcullis_domain::id::UserId;

statements! {
    // Two changes of one account wait for each other, so that neither undoes the other's.
    TAKE_ACCOUNT =
        "UPDATE account SET disabled = disabled WHERE id = $1";
    CHANGE_ACCOUNT =
        "UPDATE account SET user_groups = $2, admin = $3, disabled = $4 WHERE id = $1";
}

/// What becomes different; the rest stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserChange {
    /// What roles ask for.
    pub groups: Option<Vec<String>>,
    /// May administer.
    pub admin: Option<bool>,
    /// They may sign in again.
    pub enable: bool,
}

impl Tx {
    /// Whether an account is as it was read, and stays so until the end of this transaction.
    pub async fn user_is(&mut self, known: &StoredUser) -> Result<bool, Error> {
        let is_there = self.connection.execute(TAKE_ACCOUNT, values![known.id]).await? == 1;
        Ok(is_there && self.read().user(known.id).await?.as_ref() == Some(known))
    }

    /// Changes an account; how it was before, and how it is now. Its tokens and sessions are the caller's to end.
    pub async fn change_user(
        &mut self,
        user: UserId,
        change: &UserChange,
    ) -> Result<Option<(StoredUser, StoredUser)>, Error> {
        if self.connection.execute(TAKE_ACCOUNT, values![user]).await? == 0 {
            return Ok(None);
        }
        let Some(before) = self.read().user(user).await? else {
            return Ok(None);
        };
        let mut after = before.clone();
        if let Some(groups) = &change.groups {
            after.groups.clone_from(groups);
        }
        after.admin = change.admin.unwrap_or(after.admin);
        after.disabled = after.disabled && !change.enable;
        let values = values![user, json(&after.groups)?, after.admin, after.disabled];
        self.connection.execute(CHANGE_ACCOUNT, values).await?;
        Ok(Some((before, after)))
    }
}

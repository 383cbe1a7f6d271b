//! People who leave a role by a change of the fleet (PC-21: tightening acts at once).
//!
//! A token names its roles. What a role may do is looked up at each call, but who has it is not: so whoever leaves one has
//! the tokens made until now revoked. The session goes on, and its next renewal names the roles that are left.

use super::plan::Plan;
use portcullis_domain::registry::Members;
use portcullis_oauth::time::Timestamp;
use portcullis_store::{Error, Reader, StoredUser, Tx};

/// Revokes the tokens of everybody who had a role before `plan` and does not have it after.
pub(super) async fn revoke(plan: &Plan, tx: &mut Tx, until: Timestamp) -> Result<(), Error> {
    for user in of(plan, tx.read()).await? {
        tx.revoke_tokens_of_user(user.id, until).await?;
    }
    Ok(())
}

/// Their names, for a plan.
pub(super) async fn names(plan: &Plan, reader: Reader<'_>) -> Result<Vec<String>, Error> {
    let mut names: Vec<String> = of(plan, reader).await?.into_iter().map(|user| user.username).collect();
    names.sort();
    Ok(names)
}

async fn of(plan: &Plan, mut reader: Reader<'_>) -> Result<Vec<StoredUser>, Error> {
    let changes: Vec<(&Members, Option<&Members>)> = plan.changed_members().collect();
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let is_in = |members: &Members, user: &StoredUser| members.include(&user.username, &user.groups);
    let leaves = |user: &StoredUser| {
        let left = |(before, after): &(&Members, Option<&Members>)| {
            is_in(before, user) && !after.is_some_and(|after| is_in(after, user))
        };
        changes.iter().any(left)
    };
    Ok(reader.users().await?.into_iter().filter(leaves).collect())
}

impl Plan {
    /// Whether somebody may leave a role by it.
    pub(super) fn has_leavers(&self) -> bool {
        self.changed_members().next().is_some()
    }

    /// The members of each role that changes or goes: before, and after if it stays.
    fn changed_members(&self) -> impl Iterator<Item = (&Members, Option<&Members>)> {
        self.base.roles.iter().filter_map(|before| {
            let after = self.put_roles.iter().find(|role| role.name == before.name);
            let goes = self.remove_roles.contains(&before.name);
            let changes = after.is_some_and(|after| after.members != before.members);
            (goes || changes).then_some((&before.members, after.map(|after| &after.members)))
        })
    }
}

//! People who leave a role by a change of the fleet (PC-21: tightening acts at once).
//!
//! A token names its roles. What a role may do is looked up at each call, but who has it is not: so whoever leaves one has
//! the tokens made until now revoked. The session goes on, and its next renewal names the roles that are left.

use super::plan::Plan;
use portcullis_domain::principal::{Revocation, RevokedTarget};
use portcullis_domain::registry::Members;
use portcullis_oauth::time::Timestamp;
use portcullis_store::{Error, StoredUser, Tx};

/// Revokes the tokens of everybody who had a role before `plan` and does not have it after.
pub(super) async fn revoke(plan: &Plan, tx: &mut Tx, until: Timestamp) -> Result<(), Error> {
    let changes: Vec<(&Members, Option<&Members>)> = plan.changed_members().collect();
    if changes.is_empty() {
        return Ok(());
    }
    let is_in = |members: &Members, user: &StoredUser| members.include(&user.username, &user.groups);
    for user in tx.read().users().await? {
        let leaves = changes
            .iter()
            .any(|(before, after)| is_in(before, &user) && !after.is_some_and(|after| is_in(after, &user)));
        if leaves {
            let at = tx.now();
            tx.revoke(&Revocation { target: RevokedTarget::User(user.id), at, until }).await?;
        }
    }
    Ok(())
}

impl Plan {
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

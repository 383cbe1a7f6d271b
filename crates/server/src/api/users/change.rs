//! Groups, the right to administer, and that somebody may sign in again.

use super::{
    User, about, check_groups, find, last_administrator, look_again, meant, not_written, opens_admin,
    owners_only,
};
use crate::api::error::Refusal;
use crate::api::input::{BadInput, Input, Missing};
use crate::api::operator::{Operator, Writes};
use crate::api::path::Named;
use crate::app::App;
use axum::Json;
use axum::extract::State;
use portcullis_domain::audit::{Event, Kind, Outcome};
use portcullis_domain::id::UserId;
use portcullis_oauth::time::Timestamp;
use portcullis_store::{Error, Recorded, StoredUser, Tx, UserChange};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

/// What becomes different; what is left out stays.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "UserChange")]
pub(in crate::api) struct Edit {
    /// All groups that they are in from now on.
    groups: Option<Vec<String>>,
    /// For owners only.
    admin: Option<bool>,
    /// `false`: they may sign in again.
    disabled: Option<bool>,
}

/// `PATCH /api/v1/users/{name}`: groups, the right to administer, or that they may sign in again. Whoever loses something
/// has the tokens made until now refused; renewals carry what is left.
pub(in crate::api) async fn change(
    operator: Operator<Writes>,
    State(app): State<Arc<App>>,
    Named(name): Named,
    Input(edit): Input<Edit>,
) -> Result<Json<User>, Refusal> {
    operator.everywhere()?;
    let change = edit.check()?;
    let user = find(&app, &name).await?;
    let wider =
        StoredUser { groups: change.groups.clone().unwrap_or_else(|| user.groups.clone()), ..user.clone() };
    // ADM-03: what makes somebody an operator is the owners' to give, and to take or to wake up again.
    if change.admin.is_some() || user.admin || opens_admin(&app, &user) || opens_admin(&app, &wider) {
        owners_only(&operator)?;
    }
    let meant = meant(&app, &operator, &user).await?;
    let now = app.clock.now();
    let until = now + app.config.tokens.revocation_memory();
    let event = about(&user, operator.event(Kind::UserChanged, Outcome::Allowed));
    let input = (Planned { user: user.id, change, event, until }, meant);
    let written = app.store.write(now, input, |(planned, meant), tx| {
        Box::pin(async move {
            look_again(meant.as_ref(), tx).await?;
            write_change(planned, tx).await
        })
    });
    match written.await.map_err(not_written)? {
        Changed::Done(user) => {
            app.catch_up().await;
            Ok(Json(User::from(*user)))
        }
        Changed::LastAdministrator => Err(last_administrator()),
        Changed::Missing => Err(Missing::User(name).into()),
    }
}

/// How an attempt to change somebody ended.
enum Changed {
    Done(Box<StoredUser>),
    LastAdministrator,
    Missing,
}

/// What is written of a change.
struct Planned {
    user: UserId,
    change: UserChange,
    event: Event,
    /// Tokens that end live no longer than that.
    until: Timestamp,
}

async fn write_change(planned: &Planned, tx: &mut Tx) -> Result<Recorded<Changed>, Error> {
    let Planned { user, change, event, until } = planned;
    let mut event = event.clone();
    if change.admin == Some(false) && tx.hold_administrators().await? == [*user] {
        event.outcome = Outcome::Refused("last_administrator".to_owned());
        return tx.record(&event, Changed::LastAdministrator).await;
    }
    let Some((before, after)) = tx.change_user(*user, change).await? else {
        event.outcome = Outcome::Refused("no_such_user".to_owned());
        return tx.record(&event, Changed::Missing).await;
    };
    let loses_group = before.groups.iter().any(|group| !after.groups.contains(group));
    if loses_group || (before.admin && !after.admin) {
        tx.revoke_tokens_of_user(*user, *until).await?;
    }
    let event = event
        .with("groups", after.groups.join(","))
        .with("admin", after.admin)
        .with("disabled", after.disabled);
    tx.record(&event, Changed::Done(Box::new(after))).await
}

impl Edit {
    fn check(self) -> Result<UserChange, BadInput> {
        let Self { groups, admin, disabled } = self;
        if let Some(groups) = &groups {
            check_groups(groups)?;
        }
        if disabled == Some(true) {
            return Err(BadInput::Malformed(
                "to disable a user, DELETE it: that ends their sessions".to_owned(),
            ));
        }
        if groups.is_none() && admin.is_none() && disabled.is_none() {
            return Err(BadInput::Malformed("say groups, admin or disabled".to_owned()));
        }
        Ok(UserChange { groups, admin, enable: disabled == Some(false) })
    }
}

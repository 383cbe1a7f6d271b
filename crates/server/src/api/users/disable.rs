//! An end to somebody: never to the last administrator (ADM-11).

use super::{about, find, last_administrator, look_again, meant, not_written, opens_admin, owners_only};
use crate::api::error::Refusal;
use crate::api::operator::{Operator, Writes};
use crate::api::path::Named;
use crate::app::App;
use axum::extract::State;
use http::StatusCode;
use portcullis_domain::audit::{Event, Kind, Outcome};
use portcullis_domain::id::UserId;
use portcullis_oauth::time::Timestamp;
use portcullis_store::{Error, Recorded, Tx};
use std::sync::Arc;

/// How an attempt to disable somebody ended.
#[derive(Clone, Copy)]
enum Disabled {
    Already,
    Done,
    LastAdministrator,
}

/// `DELETE /api/v1/users/{name}`. The account stays, disabled, so that what it did keeps its name.
pub(in crate::api) async fn disable(
    operator: Operator<Writes>,
    State(app): State<Arc<App>>,
    Named(name): Named,
) -> Result<StatusCode, Refusal> {
    operator.everywhere()?;
    let user = find(&app, &name).await?;
    if opens_admin(&app, &user) {
        owners_only(&operator)?;
    }
    let meant = meant(&app, &operator, &user).await?;
    let now = app.clock.now();
    let until = now + app.config.tokens.revocation_memory();
    let event = about(&user, operator.event(Kind::UserDisabled, Outcome::Allowed));
    let written = app.store.write(now, (user.id, event, meant), move |(user, event, meant), tx| {
        Box::pin(async move {
            look_again(meant.as_ref(), tx).await?;
            end_account(*user, event, until, tx).await
        })
    });
    match written.await.map_err(not_written)? {
        Disabled::Already => Err(Refusal::Conflict("this user is disabled already".to_owned())),
        Disabled::Done => {
            app.catch_up().await;
            Ok(StatusCode::NO_CONTENT)
        }
        Disabled::LastAdministrator => Err(last_administrator()),
    }
}

async fn end_account(
    user: UserId,
    event: &Event,
    until: Timestamp,
    tx: &mut Tx,
) -> Result<Recorded<Disabled>, Error> {
    let mut event = event.clone();
    let disabled = if tx.hold_administrators().await? == [user] {
        event.outcome = Outcome::Refused("last_administrator".to_owned());
        Disabled::LastAdministrator
    } else if tx.disable_user(user, until).await? {
        Disabled::Done
    } else {
        event.outcome = Outcome::Refused("already_disabled".to_owned());
        Disabled::Already
    };
    tx.record(&event, disabled).await
}

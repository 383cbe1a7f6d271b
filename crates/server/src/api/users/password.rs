//! Passwords that we make: shown once, good for choosing another, and for a few days (UI-18).

use super::{about, find, look_again, meant, not_written, opens_admin, owners_only};
use crate::api::error::Refusal;
use crate::api::names;
use crate::api::operator::{Operator, Writes};
use crate::api::path::Named;
use crate::api::shown::Shown;
use crate::app::App;
use crate::fault::Fault;
use crate::once::Kept;
use crate::setup::ONE_TIME_LIFE;
use axum::extract::State;
use http::StatusCode;
use portcullis_domain::audit::{Event, Kind, Outcome};
use portcullis_domain::id::UserId;
use portcullis_domain::secret::{GeneratedPassword, Plain};
use portcullis_oauth::time::Timestamp;
use portcullis_oauth::token::Presented;
use portcullis_store::{Error, Recorded, StoredUser, Tx};
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::Arc;

/// Shown once.
#[derive(Serialize, JsonSchema)]
pub(in crate::api) struct OneTime {
    username: String,
    #[schemars(with = "String")]
    password: Shown<GeneratedPassword>,
    /// It must be replaced until then, or another be made (UI-18); by RFC 3339.
    ends_at: String,
}

/// `POST /api/v1/users/{name}/password`. What the old password opened ends.
pub(in crate::api) async fn password(
    operator: Operator<Writes>,
    State(app): State<Arc<App>>,
    Named(name): Named,
) -> Result<Kept, Refusal> {
    operator.everywhere()?;
    let user = find(&app, &name).await?;
    // ADM-03: whoever sets a password can sign in with it.
    if user.admin || opens_admin(&app, &user) {
        owners_only(&operator)?;
    }
    operator.once().or_do(set_password(&app, &operator, user)).await
}

async fn set_password(app: &App, operator: &Operator<Writes>, user: StoredUser) -> Result<Kept, Refusal> {
    let meant = meant(app, operator, &user).await?;
    let (password, hash) = new_password(app).await?;
    let now = app.clock.now();
    let ends_at = now + ONE_TIME_LIFE;
    let answer = one_time(StatusCode::OK, &user.username, (password, ends_at))?;
    let kept = answer.clone();
    let until = now + app.config.tokens.revocation_memory();
    let event = about(&user, operator.event(Kind::PasswordSet, Outcome::Allowed));
    let input = (user.id, (hash, ends_at), event, meant);
    let written = operator.once().write(
        (app, now),
        input,
        move |input, tx| Box::pin(write_password(input, until, tx)),
        move |done| done.then(|| kept.clone()),
    );
    if !written.await.map_err(not_written)? {
        return Err(Refusal::Conflict("this user is disabled, and stays so".to_owned()));
    }
    app.catch_up().await;
    Ok(answer)
}

type NewPassword = (UserId, (String, Timestamp), Event, Option<StoredUser>);

async fn write_password(
    (user, (hash, ends_at), event, meant): &NewPassword,
    until: Timestamp,
    tx: &mut Tx,
) -> Result<Recorded<bool>, Error> {
    look_again(meant.as_ref(), tx).await?;
    let done = tx.reset_password(*user, (hash, *ends_at), until).await?;
    let mut event = event.clone();
    if !done {
        event.outcome = Outcome::Refused("disabled".to_owned());
    }
    tx.record(&event, done).await
}

pub(super) async fn new_password(app: &App) -> Result<(Plain<GeneratedPassword>, String), Fault> {
    let mut rng = app.entropy.rng();
    let password = Plain::generate_typable(&mut rng);
    let hash = app.passwords.hash(Presented::new(password.reveal()), &mut rng).await?;
    Ok((password, hash))
}

pub(super) fn one_time(
    status: StatusCode,
    username: &str,
    (password, ends_at): (Plain<GeneratedPassword>, Timestamp),
) -> Result<Kept, Fault> {
    let (username, ends_at) = (username.to_owned(), names::moment(ends_at)?);
    Kept::json(status, &OneTime { username, password: Shown(password), ends_at })
}

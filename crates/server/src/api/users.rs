//! People: list, add, give another password, disable.

use super::error::Refusal;
use super::input::{BadInput, Input, Missing};
use super::operator::{Operator, Reads, Writes};
use super::page::{Page, Paging};
use super::path::Named;
use super::shown::Shown;
use crate::app::App;
use crate::fault::Fault;
use crate::setup;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use portcullis_domain::audit::{Event, Kind, Outcome};
use portcullis_domain::id::UserId;
use portcullis_domain::secret::{GeneratedPassword, Plain};
use portcullis_oauth::time::Timestamp;
use portcullis_oauth::token::Presented;
use portcullis_store::{Error, NewUser, Recorded, StoredUser, Tx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Serialize, JsonSchema)]
pub(super) struct User {
    name: String,
    groups: Vec<String>,
    admin: bool,
    disabled: bool,
    /// The password was made by us and is good for nothing but choosing another.
    must_change: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewUser")]
pub(super) struct Wanted {
    username: String,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    admin: bool,
}

/// Shown once.
#[derive(Serialize, JsonSchema)]
pub(super) struct OneTime {
    username: String,
    #[schemars(with = "String")]
    password: Shown<GeneratedPassword>,
}

/// How an attempt to disable somebody ended.
#[derive(Clone, Copy)]
enum Disabled {
    Already,
    Done,
    LastAdministrator,
}

/// `GET /api/v1/users`
pub(super) async fn list(
    operator: Operator<Reads>,
    State(app): State<Arc<App>>,
    paging: Paging,
) -> Result<Json<Page<User>>, Refusal> {
    operator.everywhere()?;
    let users = app.store.read().await?.reader().users_after(paging.after()?, paging.one_more()).await?;
    Ok(Json(paging.page(users, |user| user.username.clone()).map(User::from)))
}

/// `POST /api/v1/users`
pub(super) async fn add(
    operator: Operator<Writes>,
    State(app): State<Arc<App>>,
    Input(wanted): Input<Wanted>,
) -> Result<Response, Refusal> {
    operator.everywhere()?;
    wanted.check()?;
    let Wanted { username, groups, admin } = wanted;
    let (password, password_hash) = new_password(&app).await?;
    let user = NewUser {
        id: UserId::generate(app.clock.now(), &mut app.entropy.rng()),
        username: username.clone(),
        password_hash,
        must_change: true,
        groups,
        admin,
    };
    let event = operator.event(Kind::UserCreated, Outcome::Allowed).with("admin", admin);
    if !setup::insert(&app, user, event).await? {
        let says = "there is a user of this name, or was: names are never given again";
        return Err(Refusal::Conflict(says.to_owned()));
    }
    Ok(one_time(StatusCode::CREATED, username, password))
}

/// `POST /api/v1/users/{name}/password`. What the old password opened ends.
pub(super) async fn password(
    operator: Operator<Writes>,
    State(app): State<Arc<App>>,
    Named(name): Named,
) -> Result<Response, Refusal> {
    operator.everywhere()?;
    let user = find(&app, &name).await?;
    let (password, hash) = new_password(&app).await?;
    let now = app.clock.now();
    let until = now + app.config.tokens.revocation_memory();
    let event = about(&user, operator.event(Kind::PasswordSet, Outcome::Allowed));
    let written = app.store.write(now, (user.id, hash, event), move |(user, hash, event), tx| {
        Box::pin(async move {
            let done = tx.reset_password(*user, hash, until).await?;
            let mut event = event.clone();
            if !done {
                event.outcome = Outcome::Refused("disabled".to_owned());
            }
            tx.record(&event, done).await
        })
    });
    if !written.await? {
        return Err(Refusal::Conflict("this user is disabled, and stays so".to_owned()));
    }
    app.catch_up().await;
    Ok(one_time(StatusCode::OK, user.username, password))
}

/// `DELETE /api/v1/users/{name}`. The account stays, disabled, so that what it did keeps its name.
pub(super) async fn disable(
    operator: Operator<Writes>,
    State(app): State<Arc<App>>,
    Named(name): Named,
) -> Result<StatusCode, Refusal> {
    operator.everywhere()?;
    let user = find(&app, &name).await?;
    let now = app.clock.now();
    let until = now + app.config.tokens.revocation_memory();
    let event = about(&user, operator.event(Kind::UserDisabled, Outcome::Allowed));
    let written = app.store.write(now, (user.id, event), move |(user, event), tx| {
        Box::pin(end_account(*user, event, until, tx))
    });
    match written.await? {
        Disabled::Already => Err(Refusal::Conflict("this user is disabled already".to_owned())),
        Disabled::Done => {
            app.catch_up().await;
            Ok(StatusCode::NO_CONTENT)
        }
        Disabled::LastAdministrator => Err(Refusal::Conflict(
            "this is the last administrator: make another one first, or nobody is left".to_owned(),
        )),
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

async fn find(app: &App, name: &str) -> Result<StoredUser, Refusal> {
    let user = app.store.read().await?.reader().user_by_name(name).await?;
    Ok(user.ok_or_else(|| Missing::User(name.to_owned()))?)
}

async fn new_password(app: &App) -> Result<(Plain<GeneratedPassword>, String), Fault> {
    let mut rng = app.entropy.rng();
    let password = Plain::generate_typable(&mut rng);
    let hash = app.passwords.hash(Presented::new(password.reveal()), &mut rng).await?;
    Ok((password, hash))
}

fn one_time(status: StatusCode, username: String, password: Plain<GeneratedPassword>) -> Response {
    let body = Json(OneTime { username, password: Shown(password) });
    (status, [(header::CACHE_CONTROL, "no-store")], body).into_response()
}

fn about(user: &StoredUser, mut event: Event) -> Event {
    event.user = Some(user.id);
    event.with("user.name", &user.username)
}

impl Wanted {
    /// Names are compared byte for byte, so there is nothing in one that looks like something else.
    fn check(&self) -> Result<(), BadInput> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._@+-".contains(&b);
        let is_name = (1..=128).contains(&self.username.len())
            && self.username.bytes().all(legal)
            && self.username.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !is_name {
            return Err(BadInput::Malformed(
                "a user name is 1 to 128 of the letters a-z and A-Z, digits and . _ @ + -, beginning with a letter or digit"
                    .to_owned(),
            ));
        }
        let is_group = |group: &String| {
            (1..=128).contains(&group.len()) && !group.contains(char::is_control) && group.trim() == group
        };
        if self.groups.len() > 64 || !self.groups.iter().all(is_group) {
            return Err(BadInput::Malformed(
                "groups are at most 64, each 1 to 128 bytes with no control characters, and no blanks around it"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

impl From<StoredUser> for User {
    fn from(user: StoredUser) -> Self {
        let StoredUser { username: name, groups, admin, disabled, must_change, .. } = user;
        Self { name, groups, admin, disabled, must_change }
    }
}

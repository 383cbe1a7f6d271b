//! People: list, add, show; the rest is in the files below.

mod change;
mod disable;
mod password;

pub(super) use change::change;
pub(super) use disable::disable;
pub(super) use password::{OneTime, password};

use super::door::administers;
use super::error::Refusal;
use super::input::{BadInput, Input};
use super::names::{self, Names};
use super::operator::{Operator, Reads, RightName, Writes};
use super::page::{Page, Paging};
use super::path::Named;
use super::tag::Tagged;
use crate::app::App;
use crate::issuer::register::is_treacherous;
use crate::once::Kept;
use crate::setup::{self, ONE_TIME_LIFE};
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use password::{new_password, one_time};
use portcullis_domain::audit::{Event, Kind, Outcome};
use portcullis_domain::id::UserId;
use portcullis_store::{Error, GrantFilter, NewUser, SessionFilter, StoredUser, Tx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The most that is counted.
const COUNTED: u32 = 1000;

#[derive(Serialize, JsonSchema)]
pub(super) struct User {
    name: String,
    groups: Vec<String>,
    admin: bool,
    disabled: bool,
    /// The password was made by us and is good for nothing but choosing another.
    must_change: bool,
    /// Until when it is good for that; by RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    password_ends_at: Option<String>,
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

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UserWhole")]
pub(super) struct Whole {
    #[serde(flatten)]
    summary: User,
    id: String,
    /// By group or by name.
    roles: Vec<String>,
    /// 1000 may be more.
    live_sessions: usize,
    /// 1000 may be more.
    grants: usize,
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
) -> Result<Kept, Refusal> {
    operator.everywhere()?;
    wanted.check()?;
    // ADM-03: nobody makes an operator out of nobody.
    let would_be = StoredUser {
        id: UserId::generate(app.clock.now(), &mut app.entropy.rng()),
        username: wanted.username.clone(),
        password_hash: String::new(),
        must_change: true,
        password_ends_at: None,
        groups: wanted.groups.clone(),
        admin: wanted.admin,
        disabled: false,
    };
    if wanted.admin || opens_admin(&app, &would_be) {
        owners_only(&operator)?;
    }
    operator.once().or_do(insert(&app, &operator, would_be)).await
}

async fn insert(app: &App, operator: &Operator<Writes>, user: StoredUser) -> Result<Kept, Refusal> {
    let StoredUser { id, username, must_change, groups, admin, .. } = user;
    let (password, password_hash) = new_password(app).await?;
    let ends_at = app.clock.now() + ONE_TIME_LIFE;
    let answer = one_time(StatusCode::CREATED, &username, (password, ends_at))?;
    let password_ends_at = Some(ends_at);
    let user = NewUser { id, username, password_hash, must_change, password_ends_at, groups, admin };
    let event = operator.event(Kind::UserCreated, Outcome::Allowed).with("admin", admin);
    if !setup::insert(app, (user, event), operator.once(), answer.clone()).await? {
        let says = "there is a user of this name, or was: names are never given again";
        return Err(Refusal::Conflict(says.to_owned()));
    }
    Ok(answer)
}

/// `GET /api/v1/users/{name}`
pub(super) async fn show(
    operator: Operator<Reads>,
    State(app): State<Arc<App>>,
    Named(name): Named,
) -> Result<Tagged<Whole>, Refusal> {
    operator.everywhere()?;
    let user = find(&app, &name).await?;
    Ok(Tagged(whole(&app, user).await?))
}

async fn whole(app: &App, user: StoredUser) -> Result<Whole, Refusal> {
    let mut handle = app.store.read().await?;
    let names = Names::read(&mut handle).await?;
    let filter = SessionFilter { user: Some(user.id), alive_at: Some(app.clock.now()), ..Default::default() };
    let sessions = handle.reader().sessions_page(&filter, None, COUNTED).await?.len();
    let filter = GrantFilter { user: Some(user.id), ..Default::default() };
    let grants = handle.reader().grants_page(&filter, None, COUNTED).await?.len();
    let roles = names.registry.roles.iter();
    let roles = roles.filter(|role| role.members.include(&user.username, &user.groups));
    Ok(Whole {
        id: user.id.to_string(),
        roles: roles.map(|role| role.name.to_string()).collect(),
        live_sessions: sessions,
        grants,
        summary: user.into(),
    })
}

/// Names the clash with what the operator looked at, as a constraint.
const LOOKED_AT: &str = "user_as_it_was_looked_at";

/// The user as the operator means them (RFC 9110 s13.1.1), for the transaction to look again; nothing where it does not matter.
async fn meant(
    app: &App,
    operator: &Operator<Writes>,
    user: &StoredUser,
) -> Result<Option<StoredUser>, Refusal> {
    if !operator.is_choosy() {
        return Ok(None);
    }
    operator.means(&whole(app, user.clone()).await?)?;
    Ok(Some(user.clone()))
}

async fn look_again(meant: Option<&StoredUser>, tx: &mut Tx) -> Result<(), Error> {
    match meant {
        Some(user) if !tx.user_is(user).await? => Err(Error::Conflict(LOOKED_AT)),
        Some(_) | None => Ok(()),
    }
}

fn not_written(error: Error) -> Refusal {
    if matches!(error, Error::Conflict(LOOKED_AT)) { Refusal::Changed } else { error.into() }
}

/// Whether they administer anything, by what the fleet says today (ADM-03).
fn opens_admin(app: &App, user: &StoredUser) -> bool {
    administers(user, &app.current.load())
}

fn owners_only(operator: &Operator<Writes>) -> Result<(), Refusal> {
    if operator.owns() { Ok(()) } else { Err(Refusal::NoRight(RightName::Owns)) }
}

fn last_administrator() -> Refusal {
    let says = "this is the last administrator: make another one first, or nobody is left";
    Refusal::Conflict(says.to_owned())
}

async fn find(app: &App, name: &str) -> Result<StoredUser, Refusal> {
    names::user(&mut app.store.read().await?, name).await
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
        check_groups(&self.groups)
    }
}

fn check_groups(groups: &[String]) -> Result<(), BadInput> {
    let is_group = |group: &String| {
        (1..=128).contains(&group.len()) && !group.contains(is_treacherous) && group.trim() == group
    };
    if groups.len() > 64 || !groups.iter().all(is_group) {
        return Err(BadInput::Malformed(
            "groups are at most 64, each 1 to 128 bytes with no control or invisible characters or marks of direction, and no blanks around it"
                .to_owned(),
        ));
    }
    Ok(())
}

impl From<StoredUser> for User {
    fn from(user: StoredUser) -> Self {
        let password_ends_at = user.password_ends_at.and_then(|at| names::moment(at).ok());
        let StoredUser { username: name, groups, admin, disabled, must_change, .. } = user;
        Self { name, groups, admin, disabled, must_change, password_ends_at }
    }
}

//! People: list, add, give another password, disable.

use super::door::administers;
use super::error::Refusal;
use super::input::{BadInput, Input, Missing};
use super::names::{self, Names};
use super::operator::{Operator, Reads, RightName, Writes};
use super::page::{Page, Paging};
use super::path::Named;
use super::shown::Shown;
use super::tag::Tagged;
use crate::app::App;
use crate::fault::Fault;
use crate::issuer::register::is_treacherous;
use crate::once::Kept;
use crate::setup;
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use portcullis_domain::audit::{Event, Kind, Outcome};
use portcullis_domain::id::UserId;
use portcullis_domain::principal::{Revocation, RevokedTarget};
use portcullis_domain::secret::{GeneratedPassword, Plain};
use portcullis_oauth::time::Timestamp;
use portcullis_oauth::token::Presented;
use portcullis_store::{Error, GrantFilter, NewUser, Recorded, SessionFilter, StoredUser, Tx, UserChange};
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

/// What becomes different; what is left out stays.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "UserChange")]
pub(super) struct Edit {
    /// All groups that they are in from now on.
    groups: Option<Vec<String>>,
    /// For owners only.
    admin: Option<bool>,
    /// `false`: they may sign in again.
    disabled: Option<bool>,
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
) -> Result<Kept, Refusal> {
    operator.everywhere()?;
    wanted.check()?;
    // ADM-03: nobody makes an operator out of nobody.
    let would_be = StoredUser {
        id: UserId::generate(app.clock.now(), &mut app.entropy.rng()),
        username: wanted.username.clone(),
        password_hash: String::new(),
        must_change: true,
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
    let answer = one_time(StatusCode::CREATED, &username, password)?;
    let user = NewUser { id, username, password_hash, must_change, groups, admin };
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

/// `PATCH /api/v1/users/{name}`: groups, the right to administer, or that they may sign in again. Whoever loses something
/// has the tokens made until now refused; renewals carry what is left.
pub(super) async fn change(
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
    let input = (user.id, change, event, meant);
    let written = app.store.write(now, input, move |(user, change, event, meant), tx| {
        Box::pin(async move {
            look_again(meant.as_ref(), tx).await?;
            write_change(*user, change, event, until, tx).await
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

async fn write_change(
    user: UserId,
    change: &UserChange,
    event: &Event,
    until: Timestamp,
    tx: &mut Tx,
) -> Result<Recorded<Changed>, Error> {
    let mut event = event.clone();
    if change.admin == Some(false) && tx.hold_administrators().await? == [user] {
        event.outcome = Outcome::Refused("last_administrator".to_owned());
        return tx.record(&event, Changed::LastAdministrator).await;
    }
    let Some((before, after)) = tx.change_user(user, change).await? else {
        event.outcome = Outcome::Refused("no_such_user".to_owned());
        return tx.record(&event, Changed::Missing).await;
    };
    let loses_group = before.groups.iter().any(|group| !after.groups.contains(group));
    if loses_group || (before.admin && !after.admin) {
        let target = RevokedTarget::User(user);
        tx.revoke(&Revocation { target, at: tx.now(), until }).await?;
    }
    let event = event
        .with("groups", after.groups.join(","))
        .with("admin", after.admin)
        .with("disabled", after.disabled);
    tx.record(&event, Changed::Done(Box::new(after))).await
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

/// `POST /api/v1/users/{name}/password`. What the old password opened ends.
pub(super) async fn password(
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
    let answer = one_time(StatusCode::OK, &user.username, password)?;
    let kept = answer.clone();
    let now = app.clock.now();
    let until = now + app.config.tokens.revocation_memory();
    let event = about(&user, operator.event(Kind::PasswordSet, Outcome::Allowed));
    let input = (user.id, hash, event, meant);
    let written = operator.once().write(
        app,
        now,
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

type NewPassword = (UserId, String, Event, Option<StoredUser>);

async fn write_password(
    (user, hash, event, meant): &NewPassword,
    until: Timestamp,
    tx: &mut Tx,
) -> Result<Recorded<bool>, Error> {
    look_again(meant.as_ref(), tx).await?;
    let done = tx.reset_password(*user, hash, until).await?;
    let mut event = event.clone();
    if !done {
        event.outcome = Outcome::Refused("disabled".to_owned());
    }
    tx.record(&event, done).await
}

/// `DELETE /api/v1/users/{name}`. The account stays, disabled, so that what it did keeps its name.
pub(super) async fn disable(
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

async fn find(app: &App, name: &str) -> Result<StoredUser, Refusal> {
    names::user(&mut app.store.read().await?, name).await
}

async fn new_password(app: &App) -> Result<(Plain<GeneratedPassword>, String), Fault> {
    let mut rng = app.entropy.rng();
    let password = Plain::generate_typable(&mut rng);
    let hash = app.passwords.hash(Presented::new(password.reveal()), &mut rng).await?;
    Ok((password, hash))
}

fn one_time(status: StatusCode, username: &str, password: Plain<GeneratedPassword>) -> Result<Kept, Fault> {
    Kept::json(status, &OneTime { username: username.to_owned(), password: Shown(password) })
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
        let StoredUser { username: name, groups, admin, disabled, must_change, .. } = user;
        Self { name, groups, admin, disabled, must_change }
    }
}

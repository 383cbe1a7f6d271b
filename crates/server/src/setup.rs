//! Accounts that Portcullis makes itself: the first administrator, and the people of the demo.

use crate::app::App;
use crate::once::{Kept, Once};
use crate::passwords::PasswordFault;
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_domain::id::UserId;
use portcullis_domain::secret::{GeneratedPassword, Plain};
use portcullis_oauth::token::Presented;
use portcullis_store::{NewUser, Recorded, Tx};
use std::io;
use std::time::Duration;

/// The name of the first administrator.
pub const ADMINISTRATOR: &str = "admin";

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Everything.
    Administrator,
    /// What roles say.
    Person,
}

/// Whether a password holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Until it is changed.
    Kept,
    /// Until its owner, who may do nothing else with it, has chosen another; for [`ONE_TIME_LIFE`] at most (UI-18).
    Once,
}

/// How long a password that somebody else made can be signed in with: over a long weekend.
pub const ONE_TIME_LIFE: Duration = Duration::from_hours(4 * 24);

/// Why an account was not made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Somebody else did it first.
    #[error(
        "another node made the first administrator at this moment: its password counts, not the one printed here"
    )]
    Late,
    /// No hash.
    #[error("the password cannot be hashed")]
    Password(#[from] PasswordFault),
    /// Nobody would know the password.
    #[error("the administrator's password cannot be shown, so no account was made")]
    Show(#[source] io::Error),
    /// The database.
    #[error("the account cannot be stored")]
    Store(#[from] portcullis_store::Error),
}

/// Makes the first administrator if nobody has an account. The password is shown first: an account whose password nobody
/// saw would lock everybody out.
pub async fn first_administrator(
    app: &App,
    show: impl FnOnce(&Plain<GeneratedPassword>) -> io::Result<()>,
) -> Result<bool, SetupError> {
    if app.store.read().await?.reader().count_users().await? > 0 {
        return Ok(false);
    }
    let password = Plain::generate_typable(&mut app.entropy.rng());
    show(&password).map_err(SetupError::Show)?;
    let power = Power::Administrator;
    let made = create_user(app, ADMINISTRATOR, password.reveal(), power, Validity::Once).await?;
    if made { Ok(true) } else { Err(SetupError::Late) }
}

/// Makes an account. `false`: the name is taken, by another node perhaps, and nothing was changed.
pub async fn create_user(
    app: &App,
    username: &str,
    password: &str,
    power: Power,
    validity: Validity,
) -> Result<bool, SetupError> {
    let now = app.clock.now();
    let mut rng = app.entropy.rng();
    let user = NewUser {
        id: UserId::generate(now, &mut rng),
        username: username.to_owned(),
        password_hash: app.passwords.hash(Presented::new(password), &mut rng).await?,
        must_change: validity == Validity::Once,
        password_ends_at: (validity == Validity::Once).then(|| now + ONE_TIME_LIFE),
        groups: Vec::new(),
        admin: power == Power::Administrator,
    };
    let event = Event::new(Kind::UserCreated, Outcome::Allowed, Actor::Operator);
    Ok(insert(app, (user, event), &Once::default(), Kept::nothing()).await?)
}

/// Stores an account, with its event. `false`: the name is taken. `answer` is the one if it is made.
pub(crate) async fn insert(
    app: &App,
    new: (NewUser, Event),
    once: &Once,
    answer: Kept,
) -> Result<bool, portcullis_store::Error> {
    let answer = move |made: &bool| made.then(|| answer.clone());
    once.write((app, app.clock.now()), new, |new, tx| Box::pin(write(new, tx)), answer).await
}

async fn write(
    (user, event): &(NewUser, Event),
    tx: &mut Tx,
) -> Result<Recorded<bool>, portcullis_store::Error> {
    let made = tx.insert_user(user).await?;
    let mut event = event.clone().with("user.name", &user.username);
    event.user = made.then_some(user.id);
    if !made {
        event.outcome = Outcome::Refused("name_taken".to_owned());
    }
    tx.record(&event, made).await
}

/// Sets another password for an account that exists.
pub async fn reset_password(app: &App, user: UserId, password: &str) -> Result<(), SetupError> {
    let hash = app.passwords.hash(Presented::new(password), &mut app.entropy.rng()).await?;
    app.store
        .write(app.clock.now(), (user, hash), |(user, hash), tx| {
            Box::pin(async move {
                tx.set_password(*user, hash).await?;
                let mut event = Event::new(Kind::PasswordSet, Outcome::Allowed, Actor::Operator);
                event.user = Some(*user);
                tx.record(&event, ()).await
            })
        })
        .await?;
    Ok(())
}

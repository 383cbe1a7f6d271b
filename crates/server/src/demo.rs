//! `serve --demo`: two real MCP servers, one person, one agent, through the same code as any fleet.

mod facts;
mod guide;
pub mod notes;
pub mod ops;

pub use facts::Facts;
pub(crate) use guide::write_guide;

use crate::app::App;
use crate::fleet::{self, ApplyError};
use crate::setup::{self, ADMINISTRATOR, Power, SetupError, Validity};
use axum::Router;
use axum::http::HeaderMap;
use facts::{Account, Credentials};
use notes::{Caller, CheckCaller, NoAssertion};
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_domain::fleet::{Fleet, Problem, Surroundings};
use portcullis_domain::secret::{GeneratedPassword, Plain};
use portcullis_gateway::Program;
use portcullis_guard::assertion::AssertionVerifier;
use portcullis_store::Reader;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The subcommand of this program that is the `ops` server.
pub const OPS_COMMAND: &str = "demo-ops";

const PERSON: &str = "demo";
const AGENT: &str = "demo-agent";
const INTROSPECTOR: &str = "demo-introspector";

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Accounts.
    #[error(transparent)]
    Account(#[from] SetupError),
    /// The built-in fleet.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The database.
    #[error("the demo's accounts cannot be read")]
    Store(#[from] portcullis_store::Error),
    /// The demo in somebody's folder: it would set passwords and remove servers.
    #[error("{}: this data folder was not made by the demo; choose another with --data", .0.display())]
    NotOurs(PathBuf),
    /// A server for others on the demo's folder.
    #[error(
        "{}: this data folder belongs to the demo, whose passwords stand in demo.json; choose another with --data",
        .0.display()
    )]
    Ours(PathBuf),
    /// A file of credentials.
    #[error("{} cannot be read or written", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The built-in fleet is broken.
    #[error("the built-in fleet is not right: {0:?}")]
    Fleet(Vec<Problem>),
}

/// The programs that the demo's fleet names: this one, as `ops`.
pub fn programs(this_program: &Path) -> BTreeMap<String, Program> {
    let run = vec![this_program.display().to_string(), OPS_COMMAND.to_owned()];
    BTreeMap::from([(OPS_COMMAND.to_owned(), Program { run, ..Program::default() })])
}

/// Marks a database that was made by the demo; written before anything else of the demo is.
const SETTING: &str = "demo";

/// Whether a database was made by the demo.
pub(crate) async fn made(mut reader: Reader<'_>) -> Result<bool, portcullis_store::Error> {
    Ok(reader.setting(SETTING).await?.is_some())
}

/// Refuses the demo on data that it did not make, and everybody else on the demo's.
pub async fn keep_apart(app: &App) -> Result<(), DemoError> {
    let (ours, empty) = {
        let mut handle = app.store.read().await?;
        let ours = made(handle.reader()).await?;
        let mut reader = handle.reader();
        (ours, reader.count_users().await? == 0 && reader.registry().await?.servers.is_empty())
    };
    let folder = || app.config.data.clone();
    match (app.config.demo, ours) {
        (true, true) | (false, false) => Ok(()),
        (false, true) => Err(DemoError::Ours(folder())),
        (true, false) if empty => Ok(mark(app).await?),
        (true, false) => Err(DemoError::NotOurs(folder())),
    }
}

async fn mark(app: &App) -> Result<(), portcullis_store::Error> {
    let written = app.store.write(app.clock.now(), (), |(), tx| {
        Box::pin(async move {
            tx.put_setting(SETTING, "true").await?;
            let event = Event::new(Kind::FleetApplied, Outcome::Allowed, Actor::Operator);
            tx.record(&event.with("demo", "begun"), ()).await
        })
    });
    written.await
}

/// Makes the demo's accounts and applies its fleet; credentials of earlier starts stay good.
pub async fn prepare(app: &App) -> Result<Facts, DemoError> {
    let data = &app.config.data;
    let known = Facts::read(&Facts::path(data));
    let admin = account(app, ADMINISTRATOR, Power::Administrator, known.as_ref().map(|facts| &facts.admin));
    let admin = admin.await?;
    let user = account(app, PERSON, Power::Person, known.as_ref().map(|facts| &facts.user)).await?;
    // After the people: a role names one of them.
    let fleet = fleet(app, data)?;
    fleet::apply(app, &fleet).await?;
    fleet::deliver_again(app, &[AGENT, INTROSPECTOR]).await?;
    let agent = Credentials::read(&data.join(AGENT_FILE))?;
    let introspector = Credentials::read(&data.join(INTROSPECTOR_FILE))?;
    Ok(Facts::of(
        &fleet,
        &app.config.issuer,
        facts::People { admin, user },
        facts::Machines { agent, introspector },
    ))
}

const AGENT_FILE: &str = "agent.json";
const INTROSPECTOR_FILE: &str = "introspector.json";

fn fleet(app: &App, data: &Path) -> Result<Fleet, DemoError> {
    let place = |file: &str| toml::Value::String(format!("file:{}", data.join(file).display())).to_string();
    let text = include_str!("demo/fleet.toml")
        .replace("@LISTEN@", &app.config.listen.to_string())
        .replace("@AGENT@", &place(AGENT_FILE))
        .replace("@INTROSPECTOR@", &place(INTROSPECTOR_FILE));
    let commands = app.config.commands.keys().cloned().collect();
    Fleet::parse(&text, Surroundings { issuer: &app.config.issuer, commands: &commands })
        .map_err(DemoError::Fleet)
}

/// The account with the password of before, or with a new one if that was lost.
async fn account(
    app: &App,
    username: &str,
    power: Power,
    known: Option<&Account>,
) -> Result<Account, DemoError> {
    let user = app.store.read().await?.reader().user_by_name(username).await?;
    let known = known.filter(|known| known.username == username).cloned();
    let password = match &known {
        Some(known) => known.password.clone(),
        None => Plain::<GeneratedPassword>::generate_typable(&mut app.entropy.rng()).reveal().to_owned(),
    };
    match user {
        None => {
            setup::create_user(app, username, &password, power, Validity::Kept).await?;
        }
        Some(user) if known.is_none() => setup::reset_password(app, user.id, &password).await?,
        Some(_) => {}
    }
    Ok(Account { username: username.to_owned(), password })
}

/// The `notes` server, at `/demo/notes` of our own address: it believes the gateway's assertions only.
pub fn upstream(app: &Arc<App>, stop: &CancellationToken) -> Router {
    let checked = Arc::clone(app);
    let check: CheckCaller = Arc::new(move |headers| caller(&checked, headers).ok_or(NoAssertion));
    let notes = notes::notes_service(check, app.config.listen.port(), stop.clone());
    Router::new().nest("/demo/notes", notes)
}

fn caller(app: &App, headers: &HeaderMap) -> Option<Caller> {
    let mut values = headers.get_all(http::header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, assertion) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let current = app.current.load();
    let server = current.policy.server("notes")?.server();
    let issuer = app.config.issuer.join("/assertions").parse().ok()?;
    let keys = app.keys.load();
    let verifier =
        AssertionVerifier::new(issuer, server.canonical_uri.clone(), &keys.assertion_public).ok()?;
    let caller = verifier.verify(assertion, app.clock.now()).ok()?;
    Some(Caller { subject: caller.subject })
}

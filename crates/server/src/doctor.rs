//! What an operator would look at when something is wrong: each thing with a verdict, and what to do. It changes nothing,
//! and shows no secret.

mod credentials;
mod database;
mod files;
mod network;

use crate::clock::Clock;
use crate::config::{Config, ConfigError, Options};
use portcullis_store::backup::Source;
use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, but somebody should look at it.
    Warning,
    /// It does not work, or is not safe.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad.
    pub level: Level,
    /// What was looked at.
    pub what: String,
    /// What was found.
    pub says: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// What was found so far.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, what: impl ToString, says: impl ToString) {
        self.add(Level::Ok, what, says, "");
    }

    fn warning(&mut self, what: impl ToString, says: impl ToString, remedy: impl ToString) {
        self.add(Level::Warning, what, says, remedy);
    }

    fn problem(&mut self, what: impl ToString, says: impl ToString, remedy: impl ToString) {
        self.add(Level::Problem, what, says, remedy);
    }

    fn add(&mut self, level: Level, what: impl ToString, says: impl ToString, remedy: impl ToString) {
        self.0.push(Finding {
            level,
            what: what.to_string(),
            says: says.to_string(),
            remedy: remedy.to_string(),
        });
    }
}

/// Looks at everything, in the order in which it depends on each other.
pub async fn examine(options: &Options, clock: &Clock) -> Vec<Finding> {
    let mut findings = Findings::default();
    let Some(config) = configuration(options, &mut findings) else { return findings.0 };
    let is_running = files::data_folder(&config, &mut findings);
    let is_new = matches!(Source::open(&config.database).await, Ok(None));
    let master = files::master_key(&config, is_new, &mut findings);
    let registry = database::examine(&config, clock, master.as_ref(), &mut findings).await;
    files::certificate(&config, clock, &mut findings);
    files::programs(&config, registry.as_ref(), &mut findings);
    files::spool(&config, &mut findings);
    files::backups(&config, clock, &mut findings);
    network::server(&config, is_running, &mut findings).await;
    if let Some(registry) = &registry {
        credentials::credentials(registry, &mut findings);
        network::public_url(&config, is_running, registry, &mut findings).await;
        network::upstreams(registry, &mut findings).await;
    }
    findings.0
}

fn configuration(options: &Options, findings: &mut Findings) -> Option<Config> {
    let hint = "correct it; docs/configuration.md has every key";
    let config = match Config::load(options) {
        Ok(config) => config,
        Err(ConfigError::Wrong { path, problems }) => {
            for problem in problems {
                findings.problem(format!("configuration {}", path.display()), problem, hint);
            }
            return None;
        }
        Err(error @ ConfigError::Unreadable { .. }) => {
            findings.problem("configuration", chain(&error), "name a file that this user can read");
            return None;
        }
    };
    findings.ok("configuration", format!("for {}", config.issuer));
    for warning in &config.warnings {
        findings.warning("configuration", warning, "take it out of the configuration");
    }
    Some(config)
}

/// An error with all that is behind it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut says = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let more = error.to_string();
        if !says.contains(&more) {
            says = format!("{says}: {more}");
        }
        next = error.source();
    }
    says
}

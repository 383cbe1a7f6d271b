//! From the file as written to values that can be used.

mod bounds;
mod listen;
mod role;
mod telemetry;

use super::raw::{self, Raw};
use super::{Config, DEFAULT_DATA, MasterKeySource, Options, Registration, Role, Tokens};
use jiff::{Span, SpanRelativeTo};
use portcullis_domain::document::{Document, Problem};
use portcullis_domain::registry::{Name, SecretPlace};
use portcullis_gateway::Program;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SHORT_TOKENS: &str =
    "insecure_short_tokens is on: access tokens may live for seconds; this is for tests";

pub(super) fn config(text: &str, options: &Options) -> Result<Config, Vec<Problem>> {
    let (mut document, mut problems) = Document::read(text, &super::reference::schema());
    let raw: Raw = match document.values() {
        Some(Ok(raw)) => raw,
        Some(Err(error)) if problems.is_empty() => return Err(vec![unshaped(text, &error)]),
        Some(Err(_)) | None => return Err(in_order(problems)),
    };
    let mut check = Check { document, problems: Vec::new() };
    let config = check.config(raw, options);
    // What was left out because it is wrong is not missing besides.
    check
        .problems
        .retain(|found| problems.iter().all(|known| found.key.is_empty() || known.key != found.key));
    problems.extend(check.problems);
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(in_order(problems)),
    }
}

fn unshaped(text: &str, error: &toml::de::Error) -> Problem {
    Problem {
        line: error.span().map(|span| 1 + text[..span.start].matches('\n').count()),
        key: String::new(),
        says: error.message().to_owned(),
        hint: String::new(),
    }
}

fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| problem.line);
    problems
}

struct Check<'a> {
    document: Document<'a>,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn problem(&mut self, key: &str, says: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(Problem {
            line: self.document.line(key),
            key: key.to_owned(),
            says: says.into(),
            hint: hint.into(),
        });
    }

    fn config(&mut self, raw: Raw, options: &Options) -> Option<Config> {
        self.role(&raw, &options.role);
        let data = options.data.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_DATA));
        let tokens = self.tokens(&raw.tokens, raw.insecure_short_tokens);
        let database = self.database(raw.database.url, &data);
        let master_key = self.master_key(raw.master_key.source, &data);
        let commands = self.commands(raw.command);
        let registration = self.registration(raw.registration, options);
        let survey = self.survey(raw.registry.survey.as_deref());
        let limits = self.limits(&raw.limits);
        let otlp = self.otlp(&raw.telemetry);
        let log = self.log(raw.telemetry);
        let max_staleness = self.max_staleness(raw.gateway.max_staleness.as_deref());
        let spool_bytes = self.spool_bytes(raw.audit.spool_bytes);
        let proxies = self.proxies(&raw.listen);
        let allowed_origins = self.allowed_origins(&raw.listen.allowed_origins);
        let tls = self.tls(raw.listen.tls, options);
        let ops = self.ops(raw.listen.ops);
        let listen = self.listen(raw.listen.address, options);
        // A gateway that runs alone was told whose it is.
        let public_url = match &options.role {
            Role::All | Role::Control => raw.public_url,
            Role::Gateway(issuer) => Some(issuer.to_string()),
        };
        let issuer = self.issuer(public_url, (listen, tls.is_some()), options);
        Some(Config {
            issuer: issuer?,
            listen: listen?,
            tls,
            ops,
            proxies,
            allowed_origins,
            log,
            otlp,
            spool_bytes,
            database,
            data,
            master_key: master_key?,
            tokens,
            registration,
            survey,
            commands,
            limits,
            max_staleness,
            role: options.role.clone(),
            demo: options.demo,
            warnings: raw.insecure_short_tokens.then_some(SHORT_TOKENS).into_iter().collect(),
        })
    }

    fn database(&mut self, written: Option<String>, data: &Path) -> String {
        let Some(url) = written else {
            return format!("sqlite:{}", data.join("portcullis.db").display());
        };
        let known = ["sqlite:", "postgres://", "postgresql://"];
        if !known.iter().any(|scheme| url.starts_with(scheme)) {
            // Not repeated: it may hold a password.
            self.problem(
                "database.url",
                "not a database that we know",
                "write \"sqlite:PATH\" or \"postgres://USER@HOST/DATABASE\"",
            );
        }
        url
    }

    fn master_key(&mut self, written: Option<String>, data: &Path) -> Option<MasterKeySource> {
        let Some(text) = written else {
            return Some(MasterKeySource::File(data.join("master.key")));
        };
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Some(MasterKeySource::File(path.into())),
            Some(("env", name)) if !name.is_empty() => Some(MasterKeySource::Env(name.to_owned())),
            _ => {
                self.problem(
                    "master_key.source",
                    "not a place that we know",
                    "write \"file:PATH\" or \"env:NAME\"; never the key itself",
                );
                None
            }
        }
    }

    fn tokens(&mut self, raw: &raw::Tokens, short: bool) -> Tokens {
        let defaults = Tokens::default();
        let shortest = Duration::from_secs(if short { 1 } else { 60 });
        let year = Duration::from_hours(24 * 366);
        let minute = Duration::from_mins(1);
        let tokens = Tokens {
            access: self.life(
                "tokens.access",
                raw.access.as_deref(),
                defaults.access,
                shortest..=Tokens::MAX_ACCESS,
            ),
            refresh_idle: self.life(
                "tokens.refresh_idle",
                raw.refresh_idle.as_deref(),
                defaults.refresh_idle,
                shortest..=year,
            ),
            refresh_max: self.life(
                "tokens.refresh_max",
                raw.refresh_max.as_deref(),
                defaults.refresh_max,
                shortest..=year,
            ),
            refresh_grace: self.life(
                "tokens.refresh_grace",
                raw.refresh_grace.as_deref(),
                defaults.refresh_grace,
                Duration::ZERO..=5 * minute,
            ),
            leeway: self.life(
                "tokens.leeway",
                raw.leeway.as_deref(),
                defaults.leeway,
                Duration::ZERO..=minute,
            ),
            session_max: self.life(
                "tokens.session_max",
                raw.session_max.as_deref(),
                defaults.session_max,
                shortest..=year,
            ),
            ..defaults
        };
        if tokens.refresh_idle > tokens.refresh_max {
            self.problem(
                "tokens.refresh_idle",
                "longer than tokens.refresh_max",
                "make it shorter, or refresh_max longer",
            );
        }
        tokens
    }

    fn life(
        &mut self,
        key: &str,
        written: Option<&str>,
        default: Duration,
        allowed: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(text) = written else {
            return default;
        };
        let Some(life) = duration(text) else {
            self.problem(
                key,
                format!("{text:?} is not a duration"),
                "write \"30s\", \"15m\", \"12h\" or \"30d\"",
            );
            return default;
        };
        if !allowed.contains(&life) {
            let [from, to] = [allowed.start(), allowed.end()].map(|end| words(*end));
            let hint = match key {
                "tokens.access" => "for tests, insecure_short_tokens = true allows seconds",
                _ => "",
            };
            self.problem(key, format!("{text:?} is not between {from} and {to}"), hint);
        }
        life
    }

    fn registration(&mut self, raw: raw::Registration, options: &Options) -> Registration {
        let mut internal_hosts = BTreeSet::new();
        for text in raw.internal_hosts {
            match host(&text) {
                Some(host) => drop(internal_hosts.insert(host)),
                None => self.problem(
                    "registration.internal_hosts",
                    format!("{text:?} is no host"),
                    "write a name or an address, without scheme and port: \"idp.corp.example\", \"10.0.0.7\"",
                ),
            }
        }
        let dynamic = raw.dynamic.unwrap_or(options.demo);
        Registration { dynamic, internal_hosts, extra_ca: raw.extra_ca }
    }

    fn commands(&mut self, raw: BTreeMap<String, raw::Command>) -> BTreeMap<String, Program> {
        let mut programs = BTreeMap::new();
        for (name, command) in raw {
            let key = format!("command.{name}");
            if let Err(error) = name.parse::<Name>() {
                self.problem(&key, error.to_string(), "give it another name");
            }
            if command.run.first().is_none_or(String::is_empty) {
                self.problem(
                    &format!("{key}.run"),
                    "there is no program to run",
                    "write run = [\"PROGRAM\", \"ARGUMENT\"]",
                );
            }
            let env_from = self.env_from(&key, &command);
            let program = Program { run: command.run, env: command.env, env_from, folder: command.folder };
            programs.insert(name, program);
        }
        programs
    }

    fn env_from(&mut self, key: &str, command: &raw::Command) -> BTreeMap<String, SecretPlace> {
        let mut places = BTreeMap::new();
        for (name, text) in &command.env_from {
            let key = format!("{key}.env_from.{name}");
            if command.env.contains_key(name) {
                self.problem(&key, "it stands in env too", "leave one of them out");
            }
            match text.parse::<SecretPlace>() {
                Ok(place) => drop(places.insert(name.clone(), place)),
                Err(error) => self.problem(&key, error.to_string(), "never the value itself"),
            }
        }
        places
    }
}

/// A host as it stands in a parsed address.
fn host(text: &str) -> Option<String> {
    let bare = text.trim_matches(['[', ']']);
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => Some(address.to_string()),
        Ok(IpAddr::V6(address)) => Some(format!("[{address}]")),
        Err(_) => {
            let host = url::Host::parse(text).ok()?;
            let is_name = matches!(&host, url::Host::Domain(name) if !name.contains(['*', ':', '/']));
            is_name.then(|| host.to_string())
        }
    }
}

/// "30d" and the like. A day is 24 hours; months and years have no fixed length and are refused.
fn duration(text: &str) -> Option<Duration> {
    let span: Span = text.parse().ok()?;
    let exact = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(exact).ok()
}

fn words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "m")];
    let whole = units.into_iter().find(|(length, _)| seconds >= *length && seconds.is_multiple_of(*length));
    match whole {
        Some((length, unit)) => format!("{}{unit}", seconds / length),
        None => format!("{seconds}s"),
    }
}

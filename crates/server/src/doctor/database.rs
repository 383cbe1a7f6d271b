//! The database, and what of the fleet can be judged by looking at it.

use super::{Findings, chain};
use crate::clock::Clock;
use crate::config::Config;
use crate::fleet::{Delivered, delivered};
use crate::keys;
use portcullis_domain::registry::Agent;
use portcullis_domain::seal::MasterKey;
use portcullis_oauth::client::ClientId;
use portcullis_store::backup::{Source, schema_version};
use portcullis_store::{KeyPurpose, Registry};
use std::time::Duration;

const SOON: Duration = Duration::from_hours(7 * 24);

/// Clocks of machines differ by less.
const CLOCKS_DIFFER: Duration = Duration::from_secs(30);

/// The registry, if the database can be read.
pub(super) async fn examine(
    config: &Config,
    clock: &Clock,
    master: Option<&MasterKey>,
    findings: &mut Findings,
) -> Option<Registry> {
    // Not the address: it may hold a password.
    let engine = if config.database.starts_with("sqlite:") { "SQLite" } else { "PostgreSQL" };
    let what = format!("database ({engine})");
    let mut source = match Source::open(&config.database).await {
        Ok(Some(source)) => source,
        Ok(None) => {
            findings.warning(
                what,
                "is not there yet",
                "`portcullis serve` makes it; or see database.url and --data",
            );
            return None;
        }
        Err(error) => {
            findings.problem(
                what,
                chain(&error),
                "is it running, and is database.url right? If it is damaged, restore a backup",
            );
            return None;
        }
    };
    match look(&mut source, (config, clock, master), &what, findings).await {
        Ok(registry) => Some(registry),
        Err(error) => {
            findings.problem(what, chain(&error), "restore a backup if it stays so");
            None
        }
    }
}

async fn look(
    source: &mut Source,
    (config, clock, master): (&Config, &Clock, Option<&MasterKey>),
    what: &str,
    findings: &mut Findings,
) -> Result<Registry, portcullis_store::Error> {
    let faults = source.faults().await?;
    let size = source.bytes().await? >> 10;
    if faults.is_empty() {
        findings.ok(what, format!("version {}, {size} KiB", schema_version()));
    } else {
        findings.problem(
            what,
            format!("it is damaged: {}", faults.join("; ")),
            "stop the server, keep the file, restore a backup",
        );
    }
    whose(source, config, findings).await?;
    let newest = source.newest_record().await?;
    match newest {
        Some(newest) if newest > clock.now() + CLOCKS_DIFFER => findings.problem(
            "clock",
            "this machine's clock is behind what was recorded already",
            "set the clock (NTP): tokens are judged by it",
        ),
        Some(_) | None => findings.ok("clock", "not behind the records"),
    }
    if let Some(master) = master {
        sealed_keys(source, master, findings).await?;
    }
    let registry = source.reader().registry().await?;
    secrets(source, clock, &registry, findings).await?;
    registry.agents.iter().for_each(|agent| life(agent, clock, findings));
    Ok(registry)
}

async fn whose(
    source: &mut Source,
    config: &Config,
    findings: &mut Findings,
) -> Result<(), portcullis_store::Error> {
    match source.reader().issuer().await? {
        Some(theirs) if theirs != config.issuer => findings.problem(
            "public_url",
            format!("is {}, but the database is for {theirs}", config.issuer),
            "set public_url (without it: --listen) back, or choose another database and data folder",
        ),
        Some(theirs) => findings.ok("issuer", format!("{theirs}, as at the first start")),
        None => findings.warning("issuer", "is not noted yet", "`portcullis serve` does that"),
    }
    Ok(())
}

async fn sealed_keys(
    source: &mut Source,
    master: &MasterKey,
    findings: &mut Findings,
) -> Result<(), portcullis_store::Error> {
    let mut stored = Vec::new();
    for purpose in [KeyPurpose::AccessToken, KeyPurpose::Assertion, KeyPurpose::RefreshRoot] {
        stored.extend(source.reader().keys(purpose).await?);
    }
    match keys::check(&stored, master) {
        Ok(()) => findings.ok("keys", format!("{} sealed keys open with the master key", stored.len())),
        Err(error) => findings.problem("keys", chain(&error), "put the right master key in its place"),
    }
    Ok(())
}

/// Whether what was delivered is where it should be, for its owner only, and counts.
async fn secrets(
    source: &mut Source,
    clock: &Clock,
    registry: &Registry,
    findings: &mut Findings,
) -> Result<(), portcullis_store::Error> {
    let agents = registry
        .agents
        .iter()
        .map(|agent| (format!("agent {}", agent.name), &agent.client_id, &agent.deliver));
    let clients = registry
        .clients
        .iter()
        .map(|client| (format!("client {}", client.name), &client.client_id, &client.deliver));
    let mut good = 0_usize;
    for (whose, id, deliver) in agents.chain(clients) {
        let Some(deliver) = deliver else { continue };
        let file = delivered(deliver);
        let counts = counts(source, clock, id, &file).await?;
        let what = format!("secret of {whose}");
        let place = file.place.display();
        let anew = format!("deliver a new one: portcullis {} rotate {}", kind(&whose), name(&whose));
        match (file.mode, file.found.is_some()) {
            (None, _) => {
                findings.warning(what, format!("{place} is not there, or not on this machine"), anew);
            }
            (Some(mode), _) if mode & 0o077 != 0 => findings.problem(
                what,
                format!("others can use {place} (mode {mode:04o})"),
                format!("run `chmod 600 {place}`, then {anew} --now"),
            ),
            (Some(_), false) => findings.warning(
                what,
                format!("{place} cannot be read by this user, or is something else"),
                anew,
            ),
            (Some(_), true) if !counts => {
                findings.problem(what, format!("what is in {place} does not authenticate"), anew);
            }
            (Some(_), true) => good += 1,
        }
    }
    if good > 0 {
        findings.ok("secrets", format!("{good} delivered files are private and count"));
    }
    Ok(())
}

fn kind(whose: &str) -> &str {
    whose.split_once(' ').map_or(whose, |(kind, _)| kind)
}

fn name(whose: &str) -> &str {
    whose.split_once(' ').map_or(whose, |(_, name)| name)
}

async fn counts(
    source: &mut Source,
    clock: &Clock,
    id: &ClientId,
    file: &Delivered,
) -> Result<bool, portcullis_store::Error> {
    let Some((client_id, secret)) = &file.found else { return Ok(false) };
    let stored = source.reader().client(id, clock.now()).await?;
    Ok(client_id == id.as_str()
        && stored.is_some_and(|client| client.secrets.iter().any(|known| known.matches(secret))))
}

fn life(agent: &Agent, clock: &Clock, findings: &mut Findings) {
    let Some(end) = agent.expires_at else { return };
    let what = format!("agent {}", agent.name);
    if end <= clock.now() {
        findings.warning(
            what,
            "it has expired: it gets no more tokens",
            "give it another `expires`, or remove it",
        );
    } else if end <= clock.now() + SOON {
        findings.warning(what, "it expires within a week", "give it another `expires` in time");
    }
}

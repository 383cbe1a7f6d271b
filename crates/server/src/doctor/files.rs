//! What lies on this machine's disk.

use super::{Findings, chain};
use crate::backup;
use crate::clock::Clock;
use crate::config::{Config, MasterKeySource};
use crate::data;
use crate::demo::OPS_COMMAND;
use crate::entropy::Entropy;
use crate::keys::master::{self, MasterKeyError};
use crate::listener::tls::{Tls, Validity};
use portcullis_domain::registry::{Placement, Upstream};
use portcullis_domain::seal::MasterKey;
use portcullis_store::Registry;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where programs of `[command]` are looked for, besides the folder that they name.
const SEARCH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Whoever renews certificates does it long before.
const SOON: Duration = Duration::from_hours(14 * 24);

const WEEK: Duration = Duration::from_hours(7 * 24);

/// Whether a server runs on the folder.
pub(super) fn data_folder(config: &Config, findings: &mut Findings) -> bool {
    let path = &config.data;
    let what = format!("data folder {}", path.display());
    let Ok(folder) = fs::metadata(path) else {
        findings.warning(what, "is not there", "`portcullis serve` makes it; or name another with --data");
        return false;
    };
    if !folder.is_dir() {
        findings.problem(what, "is not a folder", "name another with --data");
        return false;
    }
    let mut open: Vec<PathBuf> = open_to_others(path, folder.permissions().mode()).into_iter().collect();
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if let Ok(file) = entry.metadata() {
            open.extend(open_to_others(&entry.path(), file.permissions().mode()));
        }
    }
    match data::is_in_use(path) {
        _ if !open.is_empty() => {
            let names: Vec<String> = open.iter().map(|path| path.display().to_string()).collect();
            let remedy = format!(
                "run `chmod -R go-rwx {}`; if others may have read it, rotate what is in it",
                path.display()
            );
            findings.problem(&what, format!("others can read {}", names.join(", ")), remedy);
        }
        Err(error) => findings.problem(
            &what,
            format!("its lock cannot be read: {error}"),
            "run this as the user who serves",
        ),
        Ok(_) => findings.ok(&what, "only its owner can read it"),
    }
    data::is_in_use(path).unwrap_or(false)
}

fn open_to_others(path: &Path, mode: u32) -> Option<PathBuf> {
    (mode & 0o077 != 0).then(|| path.to_owned())
}

pub(super) fn master_key(config: &Config, is_new: bool, findings: &mut Findings) -> Option<MasterKey> {
    let entropy = Entropy::from_system().ok()?;
    let what = match &config.master_key {
        MasterKeySource::File(path) => format!("master key {}", path.display()),
        MasterKeySource::Env(name) => format!("master key in the variable {name}"),
    };
    match master::open(&config.master_key, master::Database::Sealed, &entropy) {
        Ok(master) => {
            findings.ok(what, "can be read; keep a copy of it apart from the backups");
            Some(master)
        }
        Err(MasterKeyError::Missing(_)) if is_new => {
            findings.warning(what, "is not there yet", "`portcullis serve` makes it; then keep a copy of it");
            None
        }
        Err(error) => {
            findings.problem(what, chain(&error), "a first start makes it; afterwards only your copy helps");
            None
        }
    }
}

/// The certificate of our own listener, if it has one.
pub(super) fn certificate(config: &Config, clock: &Clock, findings: &mut Findings) {
    let Some(files) = &config.tls else { return };
    let what = format!("certificate {}", files.cert.display());
    let remedy = "put a new certificate and its key in their places: they are read again by themselves";
    let now = clock.now();
    let soon = Tls::validity(files, now + SOON);
    match Tls::validity(files, now) {
        Err(error) => findings.problem(what, chain(&error), "see listen.tls in docs/configuration.md"),
        Ok(Validity::Expired) => findings.problem(what, "it has expired: clients refuse it", remedy),
        Ok(Validity::NotYet) => {
            findings.problem(
                what,
                "its time has not come: clients refuse it",
                "is the clock of this machine right?",
            );
        }
        Ok(Validity::Valid) if matches!(soon, Ok(Validity::Expired)) => {
            findings.warning(what, "it expires within two weeks", remedy);
        }
        Ok(Validity::Valid) => findings.ok(what, "it counts for two more weeks at least"),
    }
}

/// Programs that the machine defines, and those that servers want.
pub(super) fn programs(config: &Config, registry: Option<&Registry>, findings: &mut Findings) {
    for (name, program) in &config.commands {
        let what = format!("program {name}");
        let first = program.run.first().map(String::as_str).unwrap_or_default();
        match find(first, program.folder.as_deref()) {
            Some(path) => findings.ok(what, path.display()),
            None => findings.problem(
                what,
                format!("{first:?} is not there, or cannot be run by this user"),
                "install it, or write its whole path in [command]",
            ),
        }
    }
    for server in registry.iter().flat_map(|registry| &registry.servers) {
        if let Placement::Gateway { upstream: Upstream::Command(name), .. } = &server.placement
            && !config.commands.contains_key(name)
            // The demo brings it along, whenever it runs.
            && name != OPS_COMMAND
        {
            findings.problem(
                format!("server {}", server.name),
                format!("its program {name:?} is not defined on this machine"),
                format!("add [command.{name}] to the configuration"),
            );
        }
    }
}

fn find(program: &str, folder: Option<&Path>) -> Option<PathBuf> {
    let candidates: Vec<PathBuf> = if program.contains('/') {
        vec![folder.unwrap_or(Path::new(".")).join(program)]
    } else {
        SEARCH.iter().map(|folder| Path::new(folder).join(program)).collect()
    };
    let can_run = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    candidates.into_iter().find(can_run)
}

pub(super) fn spool(config: &Config, findings: &mut Findings) {
    let path = config.data.join("spool");
    let Ok(entries) = fs::read_dir(&path) else { return };
    let used: u64 = entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum();
    let bound = config.spool_bytes.max(1);
    let says = format!("{} of {} MiB", used >> 20, bound >> 20);
    let remedy = "move closed segments to where you keep audit records (docs/operations.md)";
    if used >= bound / 20 * 19 {
        findings.problem(
            "record of calls",
            format!("{says}: full, calls are refused or soon will be"),
            remedy,
        );
    } else if used >= bound / 5 * 4 {
        findings.warning("record of calls", format!("{says}: it fills"), remedy);
    } else {
        findings.ok("record of calls", says);
    }
}

pub(super) fn backups(config: &Config, clock: &Clock, findings: &mut Findings) {
    let remedy = "run `portcullis backup FILE` regularly, and try a restore now and then";
    match backup::last(config) {
        None => findings.warning(
            "backup",
            "none was made on this machine; of others nothing is known here",
            remedy,
        ),
        Some(at) if at + WEEK < clock.now() => {
            let days = clock.now().seconds().saturating_sub(at.seconds()) / 86400;
            findings.warning("backup", format!("the last was made {days} days ago"), remedy);
        }
        Some(_) => findings.ok("backup", "the last is less than a week old"),
    }
}

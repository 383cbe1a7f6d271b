//! The fleet file of `serve --fleet`: read at the start, and applied again whenever it changes (PC-34).

use super::{Applied, ApplyError, Preview, apply, preview, remarks, seen_tools};
use crate::app::App;
use crate::config::Config;
use aws_lc_rs::digest;
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_domain::fleet::{Changes, Fleet, Problem, SeenTools, Surroundings};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

const POLL: Duration = Duration::from_secs(1);

/// Looks between two attempts.
const RESTING: u32 = 15;

/// The file, and what of it was taken last.
#[derive(Debug)]
pub(crate) struct FleetFile {
    path: PathBuf,
    taken: Digest,
    /// Whether what was taken last is what the fleet is; if not, it will not become right by itself.
    is_applied: bool,
    /// Looks to let pass: the database or a folder failed and may do better later, or tools have yet to be seen.
    resting: u32,
}

/// Of the whole text.
type Digest = [u8; 32];

/// Why a fleet file was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FleetFileError {
    /// Its cause stands in its words, so it is no source.
    #[error("cannot read the fleet file {}: {cause}", path.display())]
    Unreadable { path: PathBuf, cause: io::Error },
    #[error("the fleet file {} is not right:\n{}", path.display(), listing(problems))]
    Wrong { path: PathBuf, problems: Vec<Problem> },
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl FleetFileError {
    /// For the record.
    fn word(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "unreadable",
            Self::Wrong { .. } => "mistakes",
            Self::Apply(_) => "not_applied",
        }
    }
}

fn listing(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(|problem| format!("  {problem}")).collect();
    lines.join("\n")
}

impl FleetFile {
    /// Reads it for the first time.
    pub(crate) fn read(path: &Path, config: &Config) -> Result<(Self, Fleet), FleetFileError> {
        let text = read(path)?;
        // A start does not fail for what upstreams have changed meanwhile: that is only told.
        let fleet = parse(path, &text, config, &SeenTools::new())?;
        Ok((Self { path: path.to_owned(), taken: digest_of(&text), is_applied: false, resting: 0 }, fleet))
    }

    /// Applies what was read at the start.
    pub(crate) async fn apply(&mut self, app: &App, fleet: &Fleet) -> Result<Applied, ApplyError> {
        let applied = apply(app, fleet).await?;
        self.is_applied = true;
        app.followed.applied(self.path.clone(), remarks(app, fleet).await?);
        Ok(applied)
    }

    /// Looks at it until `stop`. A change counts when it is there at two looks, so that a file that is being written is
    /// not taken; SIGHUP takes it at once, and also unchanged, which undoes what was changed otherwise.
    pub(crate) async fn follow(mut self, app: Arc<App>, stop: CancellationToken) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => {
                tracing::error!(%error, "the fleet file is not followed");
                return;
            }
        };
        let mut seen = None;
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return,
                _ = hangup.recv() => true,
                () = tokio::time::sleep(POLL) => false,
            };
            if !asked && self.resting > 0 {
                self.resting -= 1;
                continue;
            }
            if let Err(error) = self.look(&app, asked, &mut seen).await {
                self.complain(&app, &error).await;
            }
        }
    }

    /// Says it once, not at every look: to the log, to the record, and to whoever asks how the file stands.
    async fn complain(&self, app: &App, error: &FleetFileError) {
        let (says, now) = (chain(error), app.clock.now());
        if !app.followed.wrong(&says, now) {
            return;
        }
        tracing::error!("the fleet stays as it was: {says}");
        let event = Event::new(Kind::FleetApplied, Outcome::Refused(error.word().to_owned()), Actor::System);
        let event = event.with("file", self.path.display());
        let written = app.store.write(now, event, |event, tx| Box::pin(tx.record(event, ())));
        if let Err(error) = written.await {
            tracing::warn!(%error, "that the fleet file is wrong was not recorded");
        }
    }

    async fn look(
        &mut self,
        app: &App,
        asked: bool,
        seen: &mut Option<Digest>,
    ) -> Result<(), FleetFileError> {
        let text = read(&self.path)?;
        let digest = digest_of(&text);
        if !asked && digest == self.taken {
            *seen = None;
            if self.is_applied {
                app.followed.back();
            }
            return Ok(());
        }
        if !asked && seen.replace(digest) != Some(digest) {
            return Ok(());
        }
        let tools = seen_tools(app).await.map_err(ApplyError::from)?;
        let fleet = parse(&self.path, &text, &app.config, &tools);
        let fleet = match fleet {
            Ok(fleet) => fleet,
            Err(error) => {
                let is_right_alone = parse(&self.path, &text, &app.config, &SeenTools::new()).is_ok();
                self.refused(digest, is_right_alone);
                return Err(error);
            }
        };
        let preview = preview(app, &fleet, None).await.map_err(ApplyError::from)?;
        self.resting = RESTING;
        let applied = self.apply(app, &fleet).await?;
        self.resting = 0;
        self.taken = digest;
        *seen = None;
        tell(&self.path, &preview, applied);
        Ok(())
    }
}

impl FleetFile {
    /// Only a change can make it right; but where nothing is wrong with it except that it speaks of tools that were not seen,
    /// those may come, and it is looked at again.
    fn refused(&mut self, digest: Digest, is_right_alone: bool) {
        if is_right_alone {
            self.resting = RESTING;
        } else {
            (self.taken, self.is_applied) = (digest, false);
        }
    }
}

fn tell(path: &Path, preview: &Preview, applied: Applied) {
    let Applied { put, removed, secrets } = applied;
    let difference = &preview.difference;
    let kinds: [(&str, &Changes); 4] = [
        ("server", &difference.servers),
        ("agent", &difference.agents),
        ("client", &difference.clients),
        ("role", &difference.roles),
    ];
    let mut words = Vec::new();
    for (kind, changes) in kinds {
        words.extend(changes.added.iter().map(|name| format!("+ {kind} {name}")));
        words.extend(changes.changed.iter().map(|changed| format!("~ {kind} {}", changed.name)));
        words.extend(changes.removed.iter().map(|name| format!("- {kind} {name}")));
    }
    if !difference.self_registered.is_empty() {
        words.push("~ self_registered".to_owned());
    }
    if !difference.forbids.is_empty() {
        words.push("~ forbid".to_owned());
    }
    let changes = words.join(", ");
    tracing::info!(file = %path.display(), put, removed, secrets, changes, "fleet file applied");
}

fn read(path: &Path) -> Result<String, FleetFileError> {
    std::fs::read_to_string(path).map_err(|cause| FleetFileError::Unreadable { path: path.to_owned(), cause })
}

fn parse(path: &Path, text: &str, config: &Config, seen: &SeenTools) -> Result<Fleet, FleetFileError> {
    let commands = config.commands.keys().cloned().collect();
    Fleet::parse_knowing(text, Surroundings { issuer: &config.issuer, commands: &commands }, seen)
        .map_err(|problems| FleetFileError::Wrong { path: path.to_owned(), problems })
}

fn digest_of(text: &str) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    bytes
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut says = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        says = format!("{says}: {error}");
        next = error.source();
    }
    says
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pc_34_a_file_that_waits_for_tools_to_be_seen_is_looked_at_again() {
        let applied = FleetFile { path: "f".into(), taken: digest_of("a"), is_applied: true, resting: 0 };
        let refused = |is_right_alone| {
            let mut file = FleetFile { path: applied.path.clone(), ..applied };
            file.refused(digest_of("b"), is_right_alone);
            file
        };
        let waits = refused(true);
        assert_eq!((waits.taken, waits.is_applied, waits.resting), (digest_of("a"), true, RESTING));
        let wrong = refused(false);
        assert_eq!((wrong.taken, wrong.is_applied, wrong.resting), (digest_of("b"), false, 0));
    }
}

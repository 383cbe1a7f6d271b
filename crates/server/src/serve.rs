//! `portcullis serve`: from the command line to a running server, and to its orderly end.

use crate::api::{self, socket::AdminSocket};
use crate::app::App;
use crate::clock::Clock;
use crate::config::{Config, Options};
use crate::data::DataFolder;
use crate::demo;
use crate::descriptors;
use crate::entropy::Entropy;
use crate::feed;
use crate::fleet;
use crate::jobs::housekeeping;
use crate::listener::{Bounds, Listener};
use crate::router::router;
use crate::setup::{self, ADMINISTRATOR};
use anyhow::{Context as _, bail};
use axum::Router;
use portcullis_domain::fleet::{Fleet, Surroundings};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Streams are told, and requests finish, within this.
const GRACE: Duration = Duration::from_secs(3);

/// The database is closed within this.
const CLOSING: Duration = Duration::from_secs(1);

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct Serve {
    /// Everything about configuration.
    pub options: Options,
    /// `--fleet`
    pub fleet: Option<PathBuf>,
}

/// Serves until a signal ends it. `out` is the terminal of whoever started it.
pub async fn run(serve: Serve, out: &mut (dyn Write + Send)) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let program = std::env::current_exe().context("this program cannot find itself")?;
    if serve.options.demo && serve.fleet.is_some() {
        bail!("--demo brings a fleet of its own: leave --fleet out");
    }
    let mut config = Config::load(&serve.options)?;
    if config.demo {
        config.commands.extend(demo::programs(&program));
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let fleet = serve.fleet.as_deref().map(|path| read_fleet(path, &config)).transpose()?;
    // Nothing is changed before address and folder are ours.
    let listener = Listener::bind(config.listen).await?;
    let folder = DataFolder::open(&config.data)?;
    folder.path().clone_into(&mut config.data);
    let socket = AdminSocket::bind(folder.path())?;
    let entropy = Entropy::from_system()?;
    let app = App::open(config, Clock::System, entropy).await?;
    if let Err(refusal) = demo::keep_apart(&app).await {
        close(&app).await;
        return Err(refusal.into());
    }
    // Nobody is answered before the fleet is what the file says: the address is ours, and who calls already waits.
    if let Err(error) = greet(&app, fleet.as_ref(), &program, out).await {
        close(&app).await;
        return Err(error);
    }
    let running = Running::start(&app, listener, socket);
    tracing::info!(address = %app.config.listen, issuer = %app.config.issuer, "serving");
    signals.next().await;
    tracing::info!("ending");
    tokio::select! {
        () = running.end(&app) => {}
        () = signals.next() => tracing::warn!("ended at once, as asked again"),
    }
    Ok(())
}

/// Fleet and first accounts, then the words on the terminal.
async fn greet(
    app: &Arc<App>,
    fleet: Option<&Fleet>,
    program: &Path,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<()> {
    if app.config.demo {
        let facts = demo::prepare(app).await?;
        facts.write(&app.config.data)?;
        demo::write_guide(out, &facts, &app.config.data, program)?;
        return Ok(());
    }
    if let Some(fleet) = fleet {
        let applied = fleet::apply(app, fleet).await?;
        let (put, removed, secrets) = (applied.put, applied.removed, applied.secrets);
        tracing::info!(put, removed, secrets, "fleet applied");
    }
    writeln!(out, "Portcullis at {}", app.config.issuer)?;
    writeln!(out, "  Console   {}", app.config.issuer.join("/console"))?;
    setup::first_administrator(app, |password| {
        writeln!(
            out,
            "  The administrator is {ADMINISTRATOR:?} with this password, shown once and good until you choose your own:"
        )?;
        writeln!(out, "            {}", password.reveal())?;
        out.flush()
    })
    .await?;
    Ok(out.flush()?)
}

/// Reads and checks a fleet file.
fn read_fleet(path: &Path, config: &Config) -> anyhow::Result<Fleet> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the fleet file {}", path.display()))?;
    let commands = config.commands.keys().cloned().collect();
    Fleet::parse(&text, Surroundings { issuer: &config.issuer, commands: &commands }).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(|problem| format!("  {problem}")).collect();
        anyhow::anyhow!("the fleet file {} is not right:\n{}", path.display(), lines.join("\n"))
    })
}

/// What runs until the end.
struct Running {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Running {
    fn start(app: &Arc<App>, listener: Listener, socket: AdminSocket) -> Self {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let demo = if app.config.demo { demo::upstream(app, &stop) } else { Router::new() };
        let router = router(app, demo);
        let connections = descriptors::room_for(app.config.limits.connections);
        let bounds = Bounds::of(connections, GRACE);
        tasks.spawn(listener.serve(router, bounds, stop.clone()));
        tasks.spawn(socket.serve(api::router(app), stop.clone(), GRACE));
        tasks.spawn(feed::follow(Arc::clone(app), stop.clone()));
        tasks.spawn(housekeeping::run(Arc::clone(app), stop.clone()));
        tasks.close();
        Self { stop, tasks }
    }

    /// Streams are told and programs end while the listener lets requests finish; then the database is closed.
    async fn end(self, app: &App) {
        self.stop.cancel();
        tokio::join!(app.gateway.shutdown(GRACE), self.tasks.wait());
        close(app).await;
    }
}

async fn close(app: &App) {
    if tokio::time::timeout(CLOSING, app.store.close()).await.is_err() {
        tracing::warn!("the database did not close in time; what was committed is safe");
    }
}

/// Ctrl-C, or the service manager.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

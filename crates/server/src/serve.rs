//! `portcullis serve`: from the command line to a running server, and to its orderly end.

use crate::api::{self, socket::AdminSocket};
use crate::app::App;
use crate::clock::Clock;
use crate::config::{Config, Options, Role};
use crate::data::DataFolder;
use crate::demo;
use crate::descriptors;
use crate::entropy::Entropy;
use crate::feed;
use crate::fleet::{self, FleetFile};
use crate::jobs::{endings, housekeeping, survey};
use crate::listener::tls::Tls;
use crate::listener::{Bounds, Listener};
use crate::lone::{self, Claim};
use crate::ops;
use crate::router::front;
use crate::setup::{self, ADMINISTRATOR};
use crate::telemetry::{self, LogFormat};
use anyhow::{Context as _, bail};
use axum::Router;
use portcullis_domain::fleet::Fleet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Streams are told, and requests finish, within this.
pub(crate) const GRACE: Duration = Duration::from_secs(3);

/// The database is closed within this.
const CLOSING: Duration = Duration::from_secs(1);

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct Serve {
    /// Everything about configuration.
    pub options: Options,
    /// `--fleet`
    pub fleet: Option<PathBuf>,
    /// `--log-format`
    pub log_format: Option<LogFormat>,
    /// `--role gateway`: who it is, or is to be.
    pub alone: Option<Claim>,
}

/// Serves until a signal ends it. `out` is the terminal of whoever started it.
pub async fn run(mut serve: Serve, out: &mut (dyn Write + Send)) -> anyhow::Result<()> {
    if let Some(claim) = serve.alone.take() {
        return lone::serve::run(serve, &claim, out).await;
    }
    let mut signals = Signals::new(serve.options.demo)?;
    let program = std::env::current_exe().context("this program cannot find itself")?;
    if serve.options.demo && serve.fleet.is_some() {
        bail!("--demo brings a fleet of its own: leave --fleet out");
    }
    let mut config = Config::load(&serve.options)?;
    let logs = telemetry::start(serve.log_format, &config)?;
    if config.demo {
        config.commands.extend(demo::programs(&program));
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let read = serve.fleet.as_deref().map(|path| FleetFile::read(path, &config)).transpose()?;
    let (mut file, fleet) = read.unzip();
    // Nothing is changed before address and folder are ours.
    let (doors, _folder) = Doors::open(&mut config).await?;
    let entropy = Entropy::from_system()?;
    let app = App::open(config, Clock::System, entropy).await?;
    if let Err(refusal) = demo::keep_apart(&app).await {
        close(&app).await;
        return Err(refusal.into());
    }
    // Nobody is answered before the fleet is what the file says: the address is ours, and who calls already waits.
    if let Err(error) = greet(&app, file.as_mut().zip(fleet), &program, out).await {
        close(&app).await;
        return Err(error);
    }
    let running = Running::start(&app, doors);
    if let Some(file) = file {
        running.tasks.spawn(file.follow(Arc::clone(&app), running.stop.clone()));
    }
    tracing::info!(address = %app.config.listen, issuer = %app.config.issuer, "serving");
    signals.next().await;
    tracing::info!("ending");
    tokio::select! {
        () = running.end(&app) => {}
        () = signals.next() => tracing::warn!("ended at once, as asked again"),
    }
    if let Some(logs) = logs {
        logs.end().await;
    }
    Ok(())
}

/// Fleet and first accounts, then the words on the terminal. The fleet ends here: what it says is in the database then.
async fn greet(
    app: &Arc<App>,
    fleet: Option<(&mut FleetFile, Fleet)>,
    program: &Path,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<()> {
    fleet::resume(app).await?;
    if app.config.demo {
        let facts = demo::prepare(app).await?;
        facts.write(&app.config.data)?;
        demo::write_guide(out, &facts, &app.config.data, program)?;
        return Ok(());
    }
    if let Some((file, fleet)) = fleet {
        let applied = file.apply(app, &fleet).await?;
        let (put, removed, secrets) = (applied.put, applied.removed, applied.secrets);
        tracing::info!(put, removed, secrets, "fleet applied");
    }
    for server in app.current.load().snapshot.servers.iter().filter(|server| server.observe) {
        tracing::warn!("{}", fleet::observed(server));
    }
    writeln!(out, "Portcullis at {}", app.config.issuer)?;
    writeln!(out, "  Console   {}", app.config.issuer.join("/console"))?;
    setup::first_administrator(app, |password| {
        writeln!(
            out,
            "  The administrator is {ADMINISTRATOR:?} with this password, shown once and good until you choose your own, within {} days:",
            setup::ONE_TIME_LIFE.as_secs() / 86_400
        )?;
        writeln!(out, "            {}", password.reveal())?;
        out.flush()
    })
    .await?;
    Ok(out.flush()?)
}

/// Where requests come in.
struct Doors {
    listener: Listener,
    tls: Option<Tls>,
    ops: Option<Listener>,
    socket: AdminSocket,
}

impl Doors {
    /// Takes addresses and folder. Dropping the folder gives it up.
    async fn open(config: &mut Config) -> anyhow::Result<(Self, DataFolder)> {
        let tls = config.tls.clone().map(Tls::open).transpose()?;
        let listener = Listener::bind(config.listen).await?.behind(config.proxies.clone());
        let ops = ops::bind(config.ops).await?;
        let folder = DataFolder::open(&config.data)?;
        folder.path().clone_into(&mut config.data);
        let socket = AdminSocket::bind(folder.path())?;
        Ok((Self { listener, tls, ops, socket }, folder))
    }
}

/// What runs until the end.
struct Running {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Running {
    fn start(app: &Arc<App>, doors: Doors) -> Self {
        let Doors { mut listener, tls, ops, socket } = doors;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let demo = if app.config.demo { demo::upstream(app, &stop) } else { Router::new() };
        let front = front(app, demo);
        let connections = descriptors::room_for(app.config.limits.connections);
        let bounds = Bounds::of(connections, GRACE);
        if let Some(tls) = tls {
            listener = listener.with_tls(tls.clone());
            tasks.spawn(tls.follow(stop.clone()));
        }
        tasks.spawn(listener.serve(front, bounds, stop.clone()));
        if let Some(ops) = ops {
            tasks.spawn(ops.serve(ops::router(app), ops::bounds(GRACE), stop.clone()));
        }
        tasks.spawn(socket.serve(api::router(app), stop.clone(), GRACE));
        tasks.spawn(feed::follow(Arc::clone(app), stop.clone()));
        tasks.spawn(housekeeping::run(Arc::clone(app), stop.clone()));
        tasks.spawn(endings::run(Arc::clone(app), stop.clone()));
        if let Some(sightings) = app.gateway.sightings() {
            tasks.spawn(survey::take_in(Arc::clone(app), sightings, stop.clone()));
        }
        // Where calls go to gateways that run alone, they are the ones who reach the servers.
        if let Some(every) = app.config.survey.filter(|_| app.config.role == Role::All) {
            tasks.spawn(survey::run(Arc::clone(app), every, stop.clone()));
        }
        tasks.close();
        Self { stop, tasks }
    }

    /// Streams are told and programs end while the listener lets requests finish; then the database is closed.
    async fn end(self, app: &App) {
        self.stop.cancel();
        app.gateways.ending.cancel();
        tokio::join!(app.gateway.shutdown(GRACE), self.tasks.wait());
        tokio::join!(app.flush(), close(app));
    }
}

async fn close(app: &App) {
    if tokio::time::timeout(CLOSING, app.store.close()).await.is_err() {
        tracing::warn!("the database did not close in time; what was committed is safe");
    }
}

/// Ctrl-C, or the service manager. A hangup asks for files to be read again, and ends nothing but the demo, which goes
/// with its terminal.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    hangup_ends: bool,
}

impl Signals {
    pub(crate) fn new(hangup_ends: bool) -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            hangup_ends,
        })
    }

    pub(crate) async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
                _ = self.hangup.recv() => {
                    if self.hangup_ends {
                        return;
                    }
                    tracing::info!(
                        "hangup: certificate and fleet file are read again; the configuration is read at the next start"
                    );
                }
            }
        }
    }
}

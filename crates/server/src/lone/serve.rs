//! `portcullis serve --role gateway`: from the command line to a running gateway, and to its orderly end.

use super::{Claim, Identity, Lone};
use crate::clock::Clock;
use crate::config::{Config, DEFAULT_DATA, Role};
use crate::data::DataFolder;
use crate::descriptors;
use crate::entropy::Entropy;
use crate::listener::tls::Tls;
use crate::listener::{Bounds, Listener};
use crate::ops;
use crate::serve::{GRACE, Serve, Signals};
use crate::telemetry;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Serves until a signal ends it. `out` is the terminal of whoever started it.
pub(crate) async fn run(mut serve: Serve, claim: &Claim, out: &mut (dyn Write + Send)) -> anyhow::Result<()> {
    let mut signals = Signals::new(false)?;
    let data = serve.options.data.clone().unwrap_or_else(|| Path::new(DEFAULT_DATA).to_owned());
    let identity = Identity::read(&data, claim)?;
    serve.options.role = Role::Gateway(identity.issuer().clone());
    let mut config = Config::load(&serve.options)?;
    let logs = telemetry::start(serve.log_format, &config)?;
    // Nothing is written and nobody asked before address and folder are ours.
    let tls = config.tls.clone().map(Tls::open).transpose()?;
    let mut listener = Listener::bind(config.listen).await?.behind(config.proxies.clone());
    let ops_listener = ops::bind(config.ops).await?;
    let folder = DataFolder::open(&config.data)?;
    folder.path().clone_into(&mut config.data);
    let lone = Lone::open(config, identity, Clock::System, Entropy::from_system()?).await?;
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    lone.start(&tasks, &stop);
    let connections = descriptors::room_for(lone.config.limits.connections);
    if let Some(tls) = tls {
        listener = listener.with_tls(tls.clone());
        tasks.spawn(tls.follow(stop.clone()));
    }
    tasks.spawn(listener.serve(Arc::clone(&lone), Bounds::of(connections, GRACE), stop.clone()));
    if let Some(listener) = ops_listener {
        tasks.spawn(listener.serve(lone.ops(), ops::bounds(GRACE), stop.clone()));
    }
    tasks.close();
    writeln!(out, "Gateway {} of {}", lone.name, lone.config.issuer)?;
    writeln!(out, "  Control room  {}", lone.control.at())?;
    writeln!(out, "  Listens at    {}", lone.config.listen)?;
    out.flush()?;
    tracing::info!(address = %lone.config.listen, name = %lone.name, "serving");
    signals.next().await;
    tracing::info!("ending");
    let end = async {
        stop.cancel();
        tokio::join!(lone.gateway.shutdown(GRACE), tasks.wait());
        if let Some(traces) = &lone.traces {
            traces.end().await;
        }
    };
    tokio::select! {
        () = end => {}
        () = signals.next() => tracing::warn!("ended at once, as asked again"),
    }
    if let Some(logs) = logs {
        logs.end().await;
    }
    Ok(())
}

//! Logs: to stderr, as lines for people or as JSON. What is for a person to use (addresses, a first password) is not a log.

use crate::config::{Log, environment};
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;

/// The SDK behind the demo servers speaks of every request.
const DEFAULT: &str = "info,rmcp=warn";

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    #[default]
    Text,
}

/// Starts logging for this process. A second call changes nothing. `asked` is the command line's word; it and `RUST_LOG` win
/// over the configuration.
pub fn start(asked: Option<LogFormat>, configured: &Log) {
    let format = asked.or(configured.format).unwrap_or_default();
    let wanted = environment::variable("RUST_LOG")
        .or_else(|| configured.level.clone())
        .unwrap_or_else(|| DEFAULT.to_owned());
    let filter = EnvFilter::builder().parse_lossy(wanted);
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _already_started = match format {
        LogFormat::Json => log.json().try_init(),
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
}

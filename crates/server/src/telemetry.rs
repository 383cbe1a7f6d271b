//! Logs: to stderr, as lines for people or as JSON, and to a collector. Spans: to a collector. What is for a person to use (addresses, a first password) is not a log.

mod otlp;
mod requests;

pub(crate) use otlp::Traces;
pub use otlp::{Logs, OtlpError};
pub(crate) use requests::request;

use crate::config::{Config, environment};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry::{Context, KeyValue};
use std::io::IsTerminal as _;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

/// Beside `portcullis.outcome`, where that does not say enough.
const REASON: &str = "portcullis.reason";

/// The SDK behind the demo servers speaks of every request.
const DEFAULT: &str = "info,rmcp=warn";

/// The SDK would say codes (PC-43); nobody can ask for that.
const NEVER: [&str; 2] = ["rmcp::transport::auth=info", "oauth2=info"];

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
pub fn start(asked: Option<LogFormat>, config: &Config) -> Result<Option<Logs>, OtlpError> {
    let Config { log, otlp, .. } = config;
    let wanted =
        environment::variable("RUST_LOG").or_else(|| log.level.clone()).unwrap_or_else(|| DEFAULT.to_owned());
    let logs = otlp.as_ref().map(Logs::open).transpose()?;
    let exported = logs.as_ref().map(|logs| {
        // What the delivery itself says would be delivered, and say more.
        let own = ["h2", "hyper", "hyper_util", "opentelemetry", "rustls", "tokio_util", "tower"];
        logs.layer().with_filter(filter_fn(move |about| {
            let of = about.target().split("::").next().unwrap_or_default();
            !own.iter().any(|own| of == *own || of.starts_with("opentelemetry"))
        }))
    });
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match asked.or(log.format).unwrap_or_default() {
        LogFormat::Json => lines.json().boxed(),
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
    };
    let filter = EnvFilter::builder().parse_lossy(wanted);
    let filter = NEVER.iter().filter_map(|never| never.parse().ok()).fold(filter, EnvFilter::add_directive);
    let _already_started = tracing_subscriber::registry().with(filter).with(lines).with(exported).try_init();
    Ok(logs)
}

/// Why the request under way ended as it did, for its span. A word of ours.
pub(crate) fn reason(word: &str) {
    let context = Context::current();
    if context.has_active_span() {
        context.span().set_attribute(KeyValue::new(REASON, word.to_owned()));
    }
}

//! To an OpenTelemetry collector, over OTLP/http (PC-54). Nothing waits for it: what its queue has no room for is dropped and
//! counted, and a collector that is away is said once.

mod deliver;
mod queue;

use crate::config::{Otlp, SecretSource, environment};
use deliver::Collector;
use http::{HeaderName, HeaderValue};
use opentelemetry::KeyValue;
use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{LogExporter, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::logs::{BatchLogProcessor, SdkLogger, SdkLoggerProvider};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchSpanProcessor, Sampler, SdkTracerProvider};
use opentelemetry_sdk::{Resource, logs, trace};
use portcullis_gateway::{NoTls, Spans};
use queue::{Bounded, Queue, ROOM, Tally, Told};
use std::sync::Arc;
use std::time::Duration;

/// What waits to be delivered is delivered within this at the end.
const FLUSHING: Duration = Duration::from_secs(2);

/// One attempt of a delivery.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why nothing can be delivered.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// A header's value is not where it should be.
    #[error("telemetry.otlp_headers: the value of {name} cannot be read from {from}")]
    Header {
        /// Which.
        name: String,
        /// Where it should be.
        from: SecretSource,
    },
    /// Headers are visible ASCII.
    #[error("telemetry.otlp_headers: {name} is no header, or its value cannot be one")]
    NoHeader {
        /// Which.
        name: String,
    },
    /// The exporter.
    #[error("telemetry cannot be exported")]
    Exporter(#[source] opentelemetry_otlp::ExporterBuildError),
    /// No TLS client can be built.
    #[error(transparent)]
    Tls(#[from] NoTls),
}

/// Spans of one server.
#[derive(Debug)]
pub(crate) struct Traces {
    provider: SdkTracerProvider,
    pub(crate) spans: Arc<Spans>,
    queue: Arc<Queue>,
}

/// Log lines of this process.
#[derive(Debug)]
pub struct Logs {
    provider: SdkLoggerProvider,
}

impl Traces {
    /// To be called within the runtime that is to deliver.
    pub(crate) fn open(otlp: &Otlp) -> Result<Self, OtlpError> {
        let queue = Arc::new(Queue::default());
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(collector(otlp, "traces")?)
            .with_endpoint(format!("{}/v1/traces", otlp.to))
            .with_timeout(PATIENCE)
            .build()
            .map_err(OtlpError::Exporter)?;
        let exporter = Told::new(exporter, Arc::clone(&queue));
        let room = trace::BatchConfigBuilder::default().with_max_queue_size(ROOM).build();
        let batches = BatchSpanProcessor::builder(exporter).with_batch_config(room).build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource(otlp))
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(otlp.sample_ratio))))
            .with_span_processor(Bounded::new(batches, Arc::clone(&queue)))
            .build();
        let tracer = BoxedTracer::new(Box::new(provider.tracer("portcullis")));
        let spans = Arc::new(Spans::new(tracer, Box::new(TraceContextPropagator::new())));
        Ok(Self { provider, spans, queue })
    }

    /// What came of the spans so far.
    pub(crate) fn counts(&self) -> Tally {
        self.queue.counts()
    }

    /// Delivers what waits, within a bound.
    pub(crate) async fn end(&self) {
        let provider = self.provider.clone();
        finish("traces", move || provider.shutdown_with_timeout(FLUSHING)).await;
    }
}

impl Logs {
    /// To be called within the runtime that is to deliver.
    pub(super) fn open(otlp: &Otlp) -> Result<Self, OtlpError> {
        let queue = Arc::new(Queue::default());
        let exporter = LogExporter::builder()
            .with_http()
            .with_http_client(collector(otlp, "logs")?)
            .with_endpoint(format!("{}/v1/logs", otlp.to))
            .with_timeout(PATIENCE)
            .build()
            .map_err(OtlpError::Exporter)?;
        let exporter = Told::new(exporter, Arc::clone(&queue));
        let room = logs::BatchConfigBuilder::default().with_max_queue_size(ROOM).build();
        let batches = BatchLogProcessor::builder(exporter).with_batch_config(room).build();
        let provider = SdkLoggerProvider::builder()
            .with_resource(resource(otlp))
            .with_log_processor(Bounded::new(batches, queue))
            .build();
        Ok(Self { provider })
    }

    pub(super) fn layer(&self) -> OpenTelemetryTracingBridge<SdkLoggerProvider, SdkLogger> {
        OpenTelemetryTracingBridge::new(&self.provider)
    }

    /// Delivers what waits, within a bound.
    pub async fn end(&self) {
        let provider = self.provider.clone();
        finish("logs", move || provider.shutdown_with_timeout(FLUSHING)).await;
    }
}

/// The library waits on the thread that asks.
async fn finish<E: std::error::Error + Send + 'static>(
    what: &'static str,
    shutdown: impl FnOnce() -> Result<(), E> + Send + 'static,
) {
    let finished = tokio::task::spawn_blocking(shutdown);
    match tokio::time::timeout(FLUSHING, finished).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(_)) | Err(_)) | Err(_) => {
            tracing::warn!("some {what} could not be delivered before the end");
        }
    }
}

fn resource(otlp: &Otlp) -> Resource {
    Resource::builder()
        .with_service_name(otlp.service_name.clone())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}

fn collector(otlp: &Otlp, what: &'static str) -> Result<Collector, OtlpError> {
    let mut headers = http::HeaderMap::new();
    for (name, from) in &otlp.headers {
        let read = match from {
            SecretSource::Env(variable) => environment::variable(variable),
            SecretSource::File(path) => std::fs::read_to_string(path).ok(),
        };
        let value = read.ok_or_else(|| OtlpError::Header { name: name.clone(), from: from.clone() })?;
        let no_header = || OtlpError::NoHeader { name: name.clone() };
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| no_header())?;
        value.set_sensitive(true);
        headers.insert(HeaderName::try_from(name).map_err(|_| no_header())?, value);
    }
    Ok(Collector::new(what, headers)?)
}

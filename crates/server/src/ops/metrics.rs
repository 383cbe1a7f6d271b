//! `/metrics`: the Prometheus page. Everything is read when somebody asks.

use super::text::Page;
use crate::app::App;
use crate::telemetry::Traces;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use portcullis_gateway::{Figures, Gateway, Histogram, ServerFigures};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The Prometheus text format.
const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn answer(State(app): State<Arc<App>>) -> Response {
    let mut page = Page::default();
    let figures = app.gateway.figures();
    process(&mut page);
    authority(&mut page, &app);
    calls(&mut page, &figures.servers);
    of_calls(&mut page, app.gateway.is_fresh(), &figures);
    ([(header::CONTENT_TYPE, TYPE)], page.into_text()).into_response()
}

/// Of a gateway that runs alone.
pub(crate) fn of_gateway(gateway: &Gateway, traces: Option<&Traces>) -> Response {
    let mut page = Page::default();
    let figures = gateway.figures();
    process(&mut page);
    spans(&mut page, traces);
    calls(&mut page, &figures.servers);
    of_calls(&mut page, gateway.is_fresh(), &figures);
    ([(header::CONTENT_TYPE, TYPE)], page.into_text()).into_response()
}

fn process(page: &mut Page) {
    page.gauge("portcullis_build_info", "Always 1; the version is the label.");
    page.sample("portcullis_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    if let Some(bytes) = resident_bytes() {
        page.gauge("process_resident_memory_bytes", "Memory of this process.");
        page.sample("process_resident_memory_bytes", &[], bytes);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        page.gauge("process_open_fds", "Open files and connections of this process.");
        page.sample("process_open_fds", &[], open.count());
    }
}

/// Linux says it in kibibytes; elsewhere it is not said.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

fn authority(page: &mut Page, app: &App) {
    let name = "portcullis_http_requests_total";
    page.counter(name, "Requests by what they were for and class of the answer's status.");
    for (endpoint, status, count) in app.figures.requests() {
        if count > 0 {
            page.sample(name, &[("endpoint", endpoint), ("status", status)], count);
        }
    }
    let name = "portcullis_token_requests_total";
    page.counter(name, "Token requests by grant and outcome: issued, or the word for why not.");
    for ((grant, outcome), count) in app.figures.tokens() {
        page.sample(name, &[("grant", grant), ("outcome", &outcome)], count);
    }
    let name = "portcullis_throttled_total";
    page.counter(name, "Attempts that had to wait, by kind.");
    for (kind, count) in app.throttle.refused() {
        page.sample(name, &[("kind", kind)], count);
    }
    spans(page, app.traces.as_ref());
    let name = "portcullis_lone_gateways_connected";
    page.gauge(name, "Gateways that run alone and listen to this node now.");
    page.sample(name, &[], app.gateways.count());
    if let Some(standing) = app.followed.standing() {
        let name = "portcullis_fleet_file_applied";
        page.gauge(
            name,
            "1 while the fleet is what the followed file says, 0 while the file cannot be applied.",
        );
        page.sample(name, &[], u64::from(standing.applied));
    }
    let name = "portcullis_signing_keys";
    page.gauge(name, "Public keys that access tokens may be signed with.");
    page.sample(name, &[], app.keys.load().public.keys.len());
}

fn spans(page: &mut Page, traces: Option<&Traces>) {
    let Some(traces) = traces else { return };
    let name = "portcullis_telemetry_spans_total";
    page.counter(name, "Spans by what came of them: delivered, dropped for want of room, or failed.");
    let counts = traces.counts();
    for (outcome, count) in
        [("delivered", counts.delivered), ("dropped", counts.dropped), ("failed", counts.failed)]
    {
        page.sample(name, &[("outcome", outcome)], count);
    }
}

fn calls(page: &mut Page, servers: &BTreeMap<String, ServerFigures>) {
    let name = "portcullis_gateway_calls_total";
    page.counter(
        name,
        "Calls of identified callers by server and outcome: answered, or the word for why not.",
    );
    for (server, of_server) in servers {
        for (outcome, count) in &of_server.outcomes {
            page.sample(name, &[("server", server), ("outcome", outcome)], count);
        }
    }
    let name = "portcullis_gateway_streams";
    page.gauge(name, "Open streams by server.");
    for (server, of_server) in servers {
        page.sample(name, &[("server", server)], of_server.streams);
    }
    let name = "portcullis_gateway_streams_ended_total";
    page.counter(name, "Streams that are over, by server and how they ended.");
    for (server, of_server) in servers {
        for (how, count) in &of_server.streams_ended {
            page.sample(name, &[("server", server), ("how", how)], count);
        }
    }
    let name = "portcullis_gateway_decision_seconds";
    page.histogram(name, "From the last byte of a call to the record of the decision.");
    for (server, of_server) in servers {
        histogram(page, name, server, &of_server.decision);
    }
    let name = "portcullis_gateway_upstream_seconds";
    page.histogram(name, "From the record of the decision to the beginning of the upstream's answer.");
    for (server, of_server) in servers {
        histogram(page, name, server, &of_server.upstream);
    }
}

fn histogram(page: &mut Page, name: &str, server: &str, times: &Histogram) {
    let bucket = format!("{name}_bucket");
    for (up_to, count) in &times.buckets {
        let up_to = up_to.as_secs_f64().to_string();
        page.sample(&bucket, &[("server", server), ("le", &up_to)], count);
    }
    page.sample(&bucket, &[("server", server), ("le", "+Inf")], times.count);
    page.sample(&format!("{name}_sum"), &[("server", server)], times.sum.as_secs_f64());
    page.sample(&format!("{name}_count"), &[("server", server)], times.count);
}

fn of_calls(page: &mut Page, is_fresh: bool, figures: &Figures) {
    let name = "portcullis_gateway_strangers_refused_total";
    page.counter(name, "Refused requests of unidentified callers, by reason and server.");
    for ((reason, server), count) in &figures.strangers {
        page.sample(name, &[("reason", reason), ("server", server)], count);
    }
    let name = "portcullis_gateway_upstream_resting";
    page.gauge(name, "1 while callers are turned away because the upstream cannot be reached.");
    for (server, rests) in &figures.resting {
        page.sample(name, &[("server", server)], u64::from(*rests));
    }
    let mut now = |name: &str, help: &str, value: u64| {
        page.gauge(name, help);
        page.sample(name, &[], value);
    };
    now("portcullis_gateway_calls_under_way", "Calls under way, streams included.", figures.calls);
    now("portcullis_gateway_programs", "Programs of stdio servers that run.", figures.programs);
    now("portcullis_gateway_room_bytes", "Memory that long bodies and answers take now.", figures.room_taken);
    now("portcullis_gateway_room_limit_bytes", "What they may take; then they are refused.", figures.room);
    now("portcullis_spool_bytes", "What the record of calls holds on this disk.", figures.spool_bytes);
    now("portcullis_spool_limit_bytes", "What it may hold; then calls are refused.", figures.spool_limit);
    let fresh = u64::from(is_fresh);
    now("portcullis_gateway_fresh", "1 while calls are decided, 0 while the gateway waits for news.", fresh);
    if let Some(age) = figures.feed_age {
        now(
            "portcullis_feed_age_seconds",
            "Since the gateway last knew that it knows everything.",
            age.as_secs(),
        );
    }
}

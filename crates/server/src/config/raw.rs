//! `portcullis.toml` exactly as written. The comments here become the reference page and the JSON Schema.

use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Configuration of a Portcullis deployment. Every key is optional.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Raw {
    /// The address under which the world reaches this deployment; it is the issuer of all tokens. https, or http on
    /// loopback; no trailing slash. Default: derived from `listen.address`, which must be loopback then.
    pub public_url: Option<String>,
    /// Where connections are accepted.
    pub listen: Listen,
    /// What we remember.
    pub database: Database,
    /// The key that seals all other keys. It lives outside the database.
    pub master_key: MasterKey,
    /// Lives of what is issued. Durations are written as "30s", "15m", "12h" or "30d".
    pub tokens: Tokens,
    /// Who may become a client without being registered by you.
    pub registration: Registration,
    /// What is looked at of the registered servers.
    pub registry: Registry,
    /// `[command.NAME]`: programs that may be a server's upstream over stdio. Nothing else is ever started.
    pub command: BTreeMap<String, Command>,
    /// Bounds on what may be sent, and on what runs at once.
    pub limits: Limits,
    /// How the gateway decides.
    pub gateway: Gateway,
    /// Logs, and traces.
    pub telemetry: Telemetry,
    /// The record of what was decided.
    pub audit: Audit,
    /// For tests: lets `tokens.access` be shorter than a minute. Warned about at every start.
    pub insecure_short_tokens: bool,
}

/// Where connections are accepted.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// IP address and port. Default: "127.0.0.1:8080". Beyond loopback, `public_url` must be set (to https).
    pub address: Option<String>,
    /// Serve https here, without a proxy in front. Both files are read again when they change.
    pub tls: ListenTls,
    /// Where health, readiness and metrics are served, over plain http and to whoever can connect: an IP address and port,
    /// or "off". Default: "127.0.0.1:9464", and a warning if another program has it.
    pub ops: Option<String>,
    /// The proxies in front, as addresses or networks ("10.0.0.5", "10.1.0.0/16"). What a connection from one of them says
    /// about its client's address is believed; nobody else's word is. Default: none.
    pub trusted_proxies: Vec<String>,
    /// The header in which they say it: "X-Forwarded-For" or "Forwarded" (RFC 7239). Only this one is looked at; the proxies
    /// must append to it or set it. Default: "X-Forwarded-For".
    pub forwarded_header: Option<String>,
    /// Web origins, besides our own, whose pages may call servers through the gateway (`https://inspector.example.com`).
    /// Pages of all others are refused with 403; programs that are no pages send no origin. Default: none.
    pub allowed_origins: Vec<String>,
}

/// Certificate and key of the listener.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListenTls {
    /// The certificate and what leads up to its authority, as PEM.
    pub cert: Option<PathBuf>,
    /// Its private key, as PEM; not readable by others.
    pub key: Option<PathBuf>,
}

/// What we remember.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// "sqlite:PATH" or "postgres://…". Default: `portcullis.db` in the data folder.
    pub url: Option<String>,
}

/// The key that seals all other keys.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MasterKey {
    /// "file:PATH" (made at the first start, readable by its owner only) or "env:NAME". Default: `master.key` in the
    /// data folder.
    pub source: Option<String>,
}

/// Lives of what is issued.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tokens {
    /// Access tokens, "1m" to "60m"; a server may have its own. Default: "15m".
    pub access: Option<String>,
    /// A refresh token that is not used. Default: "30d".
    pub refresh_idle: Option<String>,
    /// A refresh token and all its successors, used or not. Default: "90d".
    pub refresh_max: Option<String>,
    /// How long a refresh token that was just used gets the same answer again, for clients that lost it. "0s" is strict;
    /// at most "5m". Default: "30s".
    pub refresh_grace: Option<String>,
    /// How far clocks may differ, at most "60s". Default: "30s".
    pub leeway: Option<String>,
    /// How long a machine may stay in one session by renewing. Default: "24h".
    pub session_max: Option<String>,
}

/// Who may become a client without being registered by you.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Registration {
    /// Dynamic client registration (RFC 7591), open to strangers. What such clients may reach is the fleet file's
    /// `[self_registered]`: nothing, unless you say so. Default: false (true in the demo).
    pub dynamic: Option<bool>,
    /// Where third parties sign people in for us (`per_user` in the fleet file), their own documents name the addresses that we
    /// ask. Addresses of an internal network are refused, unless their host stands here, by name or address and without a
    /// port: "idp.corp.example", "10.0.0.7". Hosts on loopback may then be plain http. Default: none.
    pub internal_hosts: Vec<String>,
    /// A file of certificates, as PEM, that are believed there besides the machine's own. Read at the start.
    pub extra_ca: Option<PathBuf>,
}

/// What is looked at of the registered servers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Registry {
    /// How often the tools of each server behind the gateway are listed and compared with what was approved: "10s" to "24h",
    /// or "off". Callers' own lists are compared in any case. Default: "5m".
    pub survey: Option<String>,
}

/// A program that may be a server's upstream over stdio.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The program and its arguments.
    pub run: Vec<String>,
    /// Its environment; nothing is inherited.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// More of its environment: secrets, by where they are, "env:NAME" or "file:PATH". Read whenever the program starts.
    #[serde(default)]
    pub env_from: BTreeMap<String, String>,
    /// Where it runs. Default: the folder in which Portcullis runs.
    #[serde(default)]
    pub folder: Option<PathBuf>,
}

/// Bounds on what may be sent, and on what runs at once.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The longest body of a tool call, in bytes. Default: 4194304 (4 MiB).
    pub body: Option<u64>,
    /// Connections at once. Default: 4096.
    pub connections: Option<u64>,
    /// How many calls may be under way at once; beyond them is 429, or 503 where all callers of a server share the bound.
    pub calls_at_once: CallsAtOnce,
    /// How many calls may come in a minute, all of them at once if need be; beyond them is 429 with `Retry-After`. Each message
    /// counts, and so do GET and DELETE.
    pub calls_per_minute: CallsPerMinute,
    /// How many tokens with a bad signature one address may send in a minute; beyond them, tokens that were never seen are
    /// refused unchecked, while others from there still pass. Default: 1000.
    pub bad_signatures_per_minute: Option<u64>,
    /// From the end of a call to the first byte of the upstream's answer, "1s" to "1h". Default: "60s".
    pub upstream_timeout: Option<String>,
    /// The longest silence in a streamed answer to a call, "10s" to "24h"; subscriptions may be silent for longer. Default: "5m".
    pub upstream_idle: Option<String>,
    /// The longest JSON answer, list or event of an upstream, in bytes. Default: 16777216 (16 MiB).
    pub answer: Option<u64>,
    /// Memory for all bodies, answers and events longer than 64 KiB that are under way, in bytes; a quarter of it is for one
    /// caller, and the longest of them always fits. Beyond it is 503. Default: 268435456 (256 MiB).
    pub memory: Option<u64>,
    /// Programs of stdio servers at once. Default: 256.
    pub programs: Option<u64>,
    /// How long a program without work stays, "1s" to "24h". Default: "5m".
    pub program_idle: Option<String>,
}

/// How many calls may be under way at once.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CallsAtOnce {
    /// Of one person or agent, whatever the client. Default: 256.
    pub principal: Option<u64>,
    /// By one client, whoever uses it. Default: any number.
    pub client: Option<u64>,
    /// To one server; a server may have fewer (`[server.limits]` in the fleet file). Default: any number.
    pub server: Option<u64>,
    /// From one address (IPv6: one /64). Behind a proxy, name it in `listen.trusted_proxies` first. Default: any number.
    pub address: Option<u64>,
    /// Streams that one person or agent listens to (GET, `subscriptions/listen`); they are counted apart from calls.
    /// Default: 64.
    pub streams: Option<u64>,
}

/// How the gateway decides.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Gateway {
    /// How old the newest news of registry, policy and revocations may be, "2s" to "24h"; then every call is refused until there
    /// are news again. So long a gateway that runs alone serves while the control room is away, and so long what was revoked
    /// meanwhile goes on there. Default: "10s".
    pub max_staleness: Option<String>,
}

/// How many calls may come in a minute.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CallsPerMinute {
    /// Of one person or agent, whatever the client. Default: 6000.
    pub principal: Option<u64>,
    /// By one client, whoever uses it. Default: any number.
    pub client: Option<u64>,
    /// To one server; a server may have fewer (`[server.limits]` in the fleet file). Default: any number.
    pub server: Option<u64>,
    /// From one address (IPv6: one /64), requests without a token included. Behind a proxy, name it in
    /// `listen.trusted_proxies` first. Default: any number.
    pub address: Option<u64>,
}

/// Logs, and traces.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// "text" for people or "json" for machines; `--log-format` wins. Default: "text".
    pub log_format: Option<String>,
    /// What is logged, as `RUST_LOG` says it, which wins: "info", "warn", "info,portcullis_gateway=debug".
    /// Default: "info,rmcp=warn".
    pub log_level: Option<String>,
    /// An OpenTelemetry collector that takes OTLP over http, such as "http://127.0.0.1:4318": traces and logs are sent there
    /// (`/v1/traces`, `/v1/logs`). It is never waited for: what there is no room for is dropped, and counted in the metrics.
    pub otlp: Option<String>,
    /// Headers for the collector, by name. Their values are secrets: write where they are, "env:NAME" or "file:PATH".
    pub otlp_headers: BTreeMap<String, String>,
    /// What the collector knows this deployment as (`service.name`). Default: "portcullis".
    pub service_name: Option<String>,
    /// How many of the traces that begin here are told, from 0 to 1; a trace that comes with a request says so itself.
    /// Default: 1.
    pub sample_ratio: Option<f64>,
}

/// The record of what was decided.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// The most that the record of calls may hold on this machine's disk, in bytes; when it is full, calls are refused.
    /// Default: 1073741824 (1 GiB).
    pub spool_bytes: Option<u64>,
}

//! Everything that runs during a measurement: the gateway as users run it, the bare proxy, the stub upstreams, the load.

use std::fmt::Write as _;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Programs;
use super::pinned::{Cores, Pinned, on_core};
use crate::shell;

/// Servers of the fleet that are called; there are as many others as the size says.
const CALLED: [&str; 5] = ["call", "sse", "big", "list", "stdio"];

/// How much the gateway has to know.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) servers: usize,
    pub(super) agents: usize,
    /// Sessions that are no longer believed, although their tokens have not expired.
    pub(super) revocations: usize,
}

/// What the scenes are measured with.
pub(super) const SMALL: Size = Size { servers: 10, agents: 10, revocations: 0 };

pub(super) struct World {
    pub(super) cores: Cores,
    pub(super) bench: PathBuf,
    pub(super) gateway: Pinned,
    pub(super) proxy: Pinned,
    /// `host:port`
    pub(super) gateway_at: String,
    pub(super) proxy_at: String,
    /// Where the load is the upstream, too.
    pub(super) upstream_at: String,
    idle_kib: u64,
    /// `CLK_TCK`
    pub(super) ticks_per_second: u64,
    folder: tempfile::TempDir,
}

/// What is measured once, besides the scenes.
pub(super) struct Sizes {
    pub(super) idle_kib: u64,
    /// The most it ever was, up to the end of the first scene.
    pub(super) first_kib: u64,
    /// And of all.
    pub(super) most_kib: u64,
    /// For each of a thousand idle streams.
    pub(super) stream_kib: f64,
    /// From the start of the process to its first answer, on the data folder that the scenes left behind.
    pub(super) start: Duration,
    pub(super) token_us: f64,
    /// Of `openssl speed ecdsap256`, if it is there.
    pub(super) sign_us: Option<f64>,
}

#[derive(Deserialize)]
struct Elapsed {}

impl World {
    pub(super) fn start(programs: &Programs, size: Size) -> Result<Self> {
        let cores = Cores::find()?;
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        // The upstream comes and goes: at an address of its own, nobody takes its port meanwhile.
        let upstream_at = free_address("127.0.0.2")?;
        let (proxy_at, gateway_at) = (free_address("127.0.0.1")?, free_address("127.0.0.1")?);
        let mut proxy = on_core(cores.subject, &programs.bench);
        let proxy = proxy.args(["proxy", "--listen", &proxy_at, "--to", &upstream_at]);
        let proxy = Pinned::start(proxy, &at("proxy.log"))?;
        fs::write(at("fleet.toml"), fleet(size, &upstream_at, folder.path()))?;
        fs::write(at("portcullis.toml"), configuration(cores, &programs.bench)?)?;
        // The first start makes keys and a first password, for which a slow hash takes much memory once.
        drop(ready(programs, cores, folder.path(), &gateway_at)?);
        if size.revocations > 0 {
            let mut revoke = shell::program(&programs.bench);
            revoke.args(["revoke", "--count", &size.revocations.to_string()]);
            printed::<Elapsed>(revoke.arg("--database").arg(at("data").join("portcullis.db")))?;
        }
        let gateway = ready(programs, cores, folder.path(), &gateway_at)?;
        until(|| Ok(TcpStream::connect(&proxy_at).is_ok()))?;
        let idle_kib = gateway.memory("VmRSS")?;
        let ticks = shell::output_of(Command::new("getconf").arg("CLK_TCK"))?;
        Ok(Self {
            cores,
            bench: programs.bench.clone(),
            gateway,
            proxy,
            gateway_at,
            proxy_at,
            idle_kib,
            ticks_per_second: super::text(&ticks)?,
            folder,
            upstream_at,
        })
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Access tokens for one of the servers, one a line; returns where they are.
    pub(super) fn tokens(&self, server: &str, count: usize) -> Result<PathBuf> {
        let out = self.file(&format!("tokens-{server}-{count}"));
        if out.exists() {
            fs::remove_file(&out)?;
        }
        let resource = format!("http://{}/mcp/{server}", self.gateway_at);
        let endpoint = format!("http://{}/oauth/token", self.gateway_at);
        let mut command = on_core(self.cores.rest, &self.bench);
        command.args(["tokens", "--endpoint", &endpoint, "--resource", &resource]);
        command.args(["--count", &count.to_string()]);
        command.arg("--credentials").arg(self.file("agent.json")).arg("--out").arg(&out);
        printed::<Elapsed>(&mut command)?;
        Ok(out)
    }

    /// What processor time `ticks` are for each of `count`, in microseconds.
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    pub(super) fn microseconds(&self, ticks: u64, count: usize) -> f64 {
        ticks as f64 * 1e6 / self.ticks_per_second as f64 / count as f64
    }

    /// Sizes, the cost of a token, and the time of a start; ends what was measured.
    pub(super) fn sizes(self, programs: &Programs, first_kib: u64) -> Result<(Self, Sizes)> {
        const TOKENS: usize = 5000;
        let most_kib = self.gateway.memory("VmHWM")?;
        let stream_kib = super::streams::measure(&self)?;
        let before = self.gateway.ticks()?;
        self.tokens("call", TOKENS)?;
        let token_us = self.microseconds(self.gateway.ticks()? - before, TOKENS);
        let Self { gateway, .. } = self;
        drop(gateway);
        let start = now();
        let mut gateway = serve(programs, self.cores, self.folder.path(), &self.gateway_at)?;
        until_answered(&mut gateway, "the gateway", &self.gateway_at)?;
        let start = start.elapsed();
        let sizes = Sizes {
            idle_kib: self.idle_kib,
            first_kib,
            most_kib,
            stream_kib,
            start,
            token_us,
            sign_us: sign_us(self.cores),
        };
        Ok((Self { gateway, ..self }, sizes))
    }
}

/// The one line of JSON that a command prints.
pub(super) fn printed<T: DeserializeOwned>(command: &mut Command) -> Result<T> {
    let text = shell::output_of(command)?;
    serde_json::from_str(&text).with_context(|| format!("printed something else: {text}"))
}

/// A gateway that has said that its fleet is applied.
fn ready(programs: &Programs, cores: Cores, folder: &Path, address: &str) -> Result<Pinned> {
    let mut gateway = serve(programs, cores, folder, address)?;
    let log = folder.join("gateway.log");
    until(|| {
        gateway.check("the gateway")?;
        Ok(fs::read_to_string(&log)?.contains("Portcullis at "))
    })
    .with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
    Ok(gateway)
}

fn serve(programs: &Programs, cores: Cores, folder: &Path, address: &str) -> Result<Pinned> {
    let mut gateway = on_core(cores.subject, &programs.portcullis);
    gateway.args(["serve", "--listen", address]);
    for (option, name) in [("--config", "portcullis.toml"), ("--data", "data"), ("--fleet", "fleet.toml")] {
        gateway.arg(option).arg(folder.join(name));
    }
    Pinned::start(&mut gateway, &folder.join("gateway.log"))
}

fn fleet(size: Size, upstream: &str, folder: &Path) -> String {
    let mut text = String::new();
    let mut access = String::new();
    let others = (CALLED.len()..size.servers).map(|number| format!("other{number}"));
    for name in CALLED.iter().map(ToString::to_string).chain(others) {
        let behind = match name.as_str() {
            "stdio" => r#"command = "stub""#.to_owned(),
            name => format!(r#"url = "http://{upstream}/{name}""#),
        };
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            r#"
[[server]]
name = "{name}"
title = "Server {name}"
upstream = {{ {behind} }}
default_scopes = ["items:read"]
[server.scopes]
"items:read" = "Read items"
"items:write" = {{ says = "Write items", implies = ["items:read"] }}
[[server.rule]]
tools = ["read_*"]
scopes = ["items:read"]
[[server.rule]]
tools = ["write_*"]
scopes = ["items:write"]
"#
        );
        let _ = write!(access, "{name} = [\"items:read\"], ");
    }
    let access = access.trim_end_matches(", ");
    let file = folder.join("agent.json");
    let _ = write!(
        text,
        "\n[[agent]]\nname = \"bench\"\nowner = \"bench\"\naccess = {{ {access} }}\n\
         credential = {{ secret = {{ deliver = \"file:{}\" }} }}\n",
        file.display()
    );
    for number in 1..size.agents {
        let _ = write!(
            text,
            "\n[[agent]]\nname = \"agent{number}\"\nowner = \"bench\"\n\
             access = {{ call = [\"items:read\"], other{} = [\"items:read\", \"items:write\"] }}\n",
            CALLED.len() + number % (size.servers - CALLED.len())
        );
    }
    text.push_str(CONDITIONS);
    text
}

/// Looked at in every call, and none of them refuses one.
const CONDITIONS: &str = r#"
[[forbid]]
name = "no writes at night"
scopes = ["items:write"]
when = { inside = "22:00-06:00 Europe/Amsterdam" }
[[forbid]]
name = "reads from this machine only"
tools = ["read_*"]
when = { address_not_in = ["127.0.0.0/8"] }
"#;

/// The program behind the stdio server is no part of what is measured: it runs on the other core.
fn configuration(cores: Cores, bench: &Path) -> Result<String> {
    let taskset = shell::which(&["taskset"]).context("taskset (util-linux) is needed")?;
    // Every call is counted by each, and none is refused.
    let bound = 100_000_000;
    let rates = format!("{{ principal = {bound}, client = {bound}, server = {bound}, address = {bound} }}");
    Ok(format!(
        "[limits]\ncalls_per_minute = {rates}\ncalls_at_once.streams = {}\nconnections = 8192\n[command.stub]\nrun = [{:?}, \"-c\", \"{}\", {:?}, \"stdio\"]\n",
        2 * super::streams::COUNT,
        taskset.display().to_string(),
        cores.rest,
        bench.display().to_string()
    ))
}

pub(super) fn free_address(host: &str) -> Result<String> {
    Ok(TcpListener::bind((host, 0))?.local_addr()?.to_string())
}

fn until_answered(program: &mut Pinned, name: &str, address: &str) -> Result<()> {
    until(|| {
        program.check(name)?;
        Ok(answers(address))
    })
}

/// Whether anything is answered at all.
pub(super) fn answers(address: &str) -> bool {
    use std::io::{Read as _, Write as _};
    let asked = || -> std::io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET /oauth/jwks HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        stream.read_exact(&mut [0; 12])
    };
    asked().is_ok()
}

/// A start that reads a million revocations takes its time on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

pub(super) fn until(mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = now() + PATIENCE;
    while now() < end {
        if done()? {
            return Ok(());
        }
        pause();
    }
    bail!("it did not come up")
}

#[expect(clippy::disallowed_methods, reason = "waits for another program")]
fn pause() {
    std::thread::sleep(Duration::from_millis(1));
}

#[expect(clippy::disallowed_methods, reason = "measures how long another program takes")]
pub(super) fn now() -> Instant {
    Instant::now()
}

fn sign_us(cores: Cores) -> Option<f64> {
    let openssl = shell::which(&["openssl"])?;
    let mut command = on_core(cores.subject, &openssl);
    command.args(["speed", "-seconds", "2", "-mr", "ecdsap256"]);
    // +F4:number:bits:SIGNATURES_PER_SECOND:VERIFICATIONS_PER_SECOND
    let text = shell::output_of(&mut command).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("+F4:"))?;
    let per_second: f64 = line.split(':').nth(2)?.parse().ok()?;
    Some(1e6 / per_second)
}

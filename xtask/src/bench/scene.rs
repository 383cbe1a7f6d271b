//! What is called, and what the calls cost: in turn through the bare proxy and through the gateway.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Deserialize;

use super::pinned::{Pinned, on_core};
use super::world::{World, printed};

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    Seen,
    Alone,
    Paced,
    Fresh,
    Sse,
    Big,
    List,
    Stdio,
}

pub(super) struct Scene {
    pub(super) name: Name,
    pub(super) title: &'static str,
    server: &'static str,
    what: &'static str,
    /// Calls of one round.
    pub(super) calls: usize,
    connections: usize,
    /// Calls per second; without, as many as go.
    pace: Option<u32>,
    /// Every call has a token that was never seen before.
    pub(super) fresh_tokens: bool,
    pub(super) goal: Goal,
}

pub(super) enum Goal {
    /// Calls per second and core; nothing to compare with.
    Calls(u32),
    /// What the bare proxy uses, divided by what the gateway uses.
    Ratio(f64),
    None,
}

const CALL: Scene = Scene {
    name: Name::Seen,
    title: "`tools/call`, 450 bytes, token seen before",
    server: "call",
    what: "call",
    calls: 30_000,
    connections: 64,
    pace: None,
    fresh_tokens: false,
    goal: Goal::Ratio(0.60),
};

pub(super) const SCENES: &[Scene] = &[
    CALL,
    Scene {
        name: Name::Alone,
        title: "the same, one connection",
        calls: 10_000,
        connections: 1,
        goal: Goal::None,
        ..CALL
    },
    Scene {
        name: Name::Paced,
        title: "the same, 5,000 calls per second",
        calls: 10_000,
        pace: Some(5_000),
        goal: Goal::None,
        ..CALL
    },
    Scene {
        name: Name::Fresh,
        title: "the same, each token new",
        calls: 5000,
        fresh_tokens: true,
        goal: Goal::Ratio(0.18),
        ..CALL
    },
    Scene { name: Name::Sse, title: "the same, answered as SSE", server: "sse", ..CALL },
    Scene {
        name: Name::Big,
        title: "bodies of 20 KiB, both ways",
        server: "big",
        what: "big",
        calls: 15_000,
        goal: Goal::Ratio(0.75),
        ..CALL
    },
    Scene {
        name: Name::List,
        title: "`tools/list`, 200 tools, filtered",
        server: "list",
        what: "list",
        calls: 5000,
        goal: Goal::Ratio(0.30),
        ..CALL
    },
    Scene {
        name: Name::Stdio,
        title: "`tools/call`, 450 bytes, stdio upstream",
        server: "stdio",
        goal: Goal::Calls(10_000),
        ..CALL
    },
];

/// Microseconds of one call, all rounds together.
pub(super) struct Side {
    pub(super) cpu: f64,
    pub(super) p50: u64,
    pub(super) p99: u64,
}

pub(super) struct Outcome {
    /// There is none where nothing can be compared.
    pub(super) bare: Option<Side>,
    pub(super) gateway: Side,
    /// Bare divided by gateway, round by round, in order of size.
    pub(super) ratios: Vec<f64>,
}

#[derive(Deserialize)]
struct Found {
    calls: usize,
    p50_us: u64,
    p99_us: u64,
}

pub(super) struct Round {
    pub(super) cpu_us: f64,
    found: Found,
}

impl Scene {
    /// A program over stdio has no address.
    fn has_address(&self) -> bool {
        !matches!(self.goal, Goal::Calls(_))
    }

    fn through(
        &self,
        world: &World,
        (subject, url): (&Pinned, String),
        tokens: &Path,
        (calls, skip): (usize, usize),
    ) -> Result<Round> {
        let mut load = on_core(world.cores.rest, &world.bench);
        load.args(["load", "--what", self.what, "--url", &url, "--calls", &calls.to_string()]);
        load.args(["--connections", &self.connections.to_string(), "--skip", &skip.to_string()]);
        load.arg("--tokens").arg(tokens);
        if let Some(pace) = self.pace {
            load.args(["--pace", &pace.to_string()]);
        }
        if self.has_address() {
            load.args(["--upstream", &world.upstream_at]);
        }
        let before = subject.ticks()?;
        let found = printed::<Found>(&mut load)?;
        let cpu_us = world.microseconds(subject.ticks()? - before, found.calls);
        Ok(Round { cpu_us, found })
    }

    /// So many calls through the gateway of this world.
    pub(super) fn through_gateway(
        &self,
        world: &World,
        tokens: &Path,
        calls_and_skip: (usize, usize),
    ) -> Result<Round> {
        let url = format!("http://{}/mcp/{}", world.gateway_at, self.server);
        self.through(world, (&world.gateway, url), tokens, calls_and_skip)
    }

    /// Tokens for all of its rounds.
    pub(super) fn tokens_of(&self, world: &World, rounds: usize) -> Result<PathBuf> {
        world.tokens(self.server, self.tokens(rounds))
    }
}

pub(super) fn measure(world: &World, scene: &Scene, rounds: usize) -> Result<Outcome> {
    let tokens = scene.tokens_of(world, rounds)?;
    let is_compared = scene.has_address();
    let bare = |calls, skip| {
        let url = format!("http://{}/{}", world.proxy_at, scene.server);
        let through = || scene.through(world, (&world.proxy, url), &tokens, (calls, skip));
        is_compared.then(through).transpose()
    };
    let gateway = |calls, skip| scene.through_gateway(world, &tokens, (calls, skip));
    bare(scene.warm_up(), 0)?;
    gateway(scene.warm_up(), 0)?;
    let (mut bares, mut gateways) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let skip = scene.warm_up() + round * scene.calls;
        bares.extend(bare(scene.calls, skip)?);
        gateways.push(gateway(scene.calls, skip)?);
    }
    let mut ratios: Vec<f64> =
        bares.iter().zip(&gateways).map(|(bare, gateway)| bare.cpu_us / gateway.cpu_us).collect();
    ratios.sort_by(f64::total_cmp);
    std::fs::remove_file(tokens)?;
    Ok(Outcome { bare: is_compared.then(|| Side::of(&bares)), gateway: Side::of(&gateways), ratios })
}

impl Side {
    /// The median of each: a round that was disturbed counts little.
    fn of(rounds: &[Round]) -> Self {
        let mut cpu: Vec<f64> = rounds.iter().map(|round| round.cpu_us).collect();
        cpu.sort_by(f64::total_cmp);
        let middle = |time: fn(&Found) -> u64| {
            let mut times: Vec<u64> = rounds.iter().map(|round| time(&round.found)).collect();
            times.sort_unstable();
            times.get(times.len() / 2).copied().unwrap_or_default()
        };
        Self {
            cpu: cpu.get(cpu.len() / 2).copied().unwrap_or_default(),
            p50: middle(|found| found.p50_us),
            p99: middle(|found| found.p99_us),
        }
    }
}

impl Outcome {
    /// What the bare proxy uses, divided by what the gateway uses: the median of the rounds.
    pub(super) fn ratio(&self) -> Option<f64> {
        self.ratios.get(self.ratios.len() / 2).copied()
    }
}

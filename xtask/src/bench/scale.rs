//! Whether a call costs more where there is more to know: two gateways, a small and a large one, called in turn.

use anyhow::Result;

use super::Programs;
use super::scene::{Name, SCENES, Scene};
use super::world::{SMALL, Size, World};

/// Something there is much of.
pub(super) struct Scale {
    pub(super) title: &'static str,
    size: Size,
}

pub(super) const SCALES: &[Scale] = &[
    Scale { title: "10 servers → 1,000", size: Size { servers: 1000, ..SMALL } },
    Scale { title: "10 agents → 10,000", size: Size { agents: 10_000, ..SMALL } },
    Scale { title: "no revocations → 1,000,000", size: Size { revocations: 1_000_000, ..SMALL } },
    Scale { title: "all three", size: Size { servers: 1000, agents: 10_000, revocations: 1_000_000 } },
];

/// Processor time of a call in the small one and in the large one, in microseconds.
pub(super) struct Rise {
    pub(super) small: f64,
    pub(super) large: f64,
    /// Large divided by small, the median of the rounds.
    pub(super) ratio: f64,
}

pub(super) struct Found {
    /// With a token that was seen before.
    pub(super) seen: Rise,
    /// With one that was not.
    pub(super) fresh: Rise,
    /// Resident memory of the large one after the calls, and the most it ever was.
    pub(super) resident_kib: u64,
    pub(super) most_kib: u64,
}

pub(super) fn measure(programs: &Programs, scale: &Scale, rounds: usize) -> Result<Found> {
    let small = World::start(programs, SMALL)?;
    let large = World::start(programs, scale.size)?;
    let rise = |name: Name| {
        let scenes = SCENES.iter().filter(|scene| scene.name == name);
        scenes.map(|scene| compare(scene, (&small, &large), rounds)).next_back().transpose()
    };
    let nothing = || Rise { small: 0.0, large: 0.0, ratio: 0.0 };
    let (seen, fresh) = (rise(Name::Seen)?, rise(Name::Fresh)?);
    Ok(Found {
        seen: seen.unwrap_or_else(nothing),
        fresh: fresh.unwrap_or_else(nothing),
        resident_kib: large.gateway.memory("VmRSS")?,
        most_kib: large.gateway.memory("VmHWM")?,
    })
}

fn compare(scene: &Scene, (small, large): (&World, &World), rounds: usize) -> Result<Rise> {
    let tokens = (scene.tokens_of(small, rounds)?, scene.tokens_of(large, rounds)?);
    scene.through_gateway(small, &tokens.0, (scene.warm_up(), 0))?;
    scene.through_gateway(large, &tokens.1, (scene.warm_up(), 0))?;
    let (mut smalls, mut larges, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let part = (scene.calls, scene.warm_up() + round * scene.calls);
        let one = scene.through_gateway(small, &tokens.0, part)?.cpu_us;
        let other = scene.through_gateway(large, &tokens.1, part)?.cpu_us;
        smalls.push(one);
        larges.push(other);
        ratios.push(other / one);
    }
    Ok(Rise { small: middle(smalls), large: middle(larges), ratio: middle(ratios) })
}

fn middle(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}

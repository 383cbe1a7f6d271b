//! `cargo xtask bench`: what the product costs, as ratios to a proxy that checks nothing, on one machine in one run.
//!
//! Machines are noisy and shared; what decides is the processor time that a process used, not how long it took.

mod fleet;
mod pinned;
mod report;
mod scale;
mod scene;
mod streams;
mod world;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::Verdict;
use crate::cargo::Workspace;
use crate::shell;
use scene::{SCENES, Scene};
use world::World;

/// What can be measured.
#[derive(Clone, clap::Subcommand)]
pub(crate) enum What {
    /// A large fleet: apply, plan, memory, and how soon a change is felt; writes its table of docs/benchmarks.md
    Fleet {
        #[arg(long, default_value_t = 1000)]
        servers: usize,
        #[arg(long, default_value_t = 5000)]
        agents: usize,
        /// An empty PostgreSQL database, instead of SQLite; prints, and leaves the document alone
        #[arg(long, value_name = "URL")]
        database: Option<String>,
        /// The cargo profile to build with; only `dist` goes into the document
        #[arg(long, value_enum, default_value_t)]
        profile: Profile,
        /// Use the programs in this folder instead of building them; leaves the document alone
        #[arg(long, value_name = "DIR", conflicts_with = "profile")]
        programs: Option<PathBuf>,
    },
    /// The gateway: one core for it, one for load and upstream; writes the table of docs/benchmarks.md
    Gateway {
        /// How often each pair is measured
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// The cargo profile to build with
        #[arg(long, value_enum, default_value_t)]
        profile: Profile,
        /// Use the programs in this folder instead of building them; leaves the document alone
        #[arg(long, value_name = "DIR", conflicts_with = "profile")]
        programs: Option<PathBuf>,
        /// Only this scene; prints, and leaves the document alone
        #[arg(long, value_enum)]
        only: Option<scene::Name>,
    },
    /// The gateway with many servers, agents and revocations beside one with few; writes its table of docs/benchmarks.md
    Scale {
        /// How often each pair is measured
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// The cargo profile to build with; only `dist` goes into the document
        #[arg(long, value_enum, default_value_t)]
        profile: Profile,
        /// Use the programs in this folder instead of building them; leaves the document alone
        #[arg(long, value_name = "DIR", conflicts_with = "profile")]
        programs: Option<PathBuf>,
    },
}

/// Only `dist` is what users get, and what the document states.
#[derive(Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    #[default]
    Dist,
    Release,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Dist => "dist",
            Self::Release => "release",
        }
    }
}

/// The programs under measurement.
struct Programs {
    portcullis: PathBuf,
    bench: PathBuf,
}

pub(crate) fn run(what: What) -> Result<Verdict> {
    match what {
        What::Fleet { servers, agents, database, profile, programs } => {
            let is_whole = database.is_none()
                && programs.is_none()
                && profile == Profile::Dist
                && (servers, agents) == (1000, 5000);
            let programs = programs_of(programs.as_deref(), profile)?;
            let found = fleet::measure(&programs, fleet::Size { servers, agents }, database.as_deref())?;
            print!("{}", report::fleet(&found));
            if is_whole {
                report::write_fleet(&found)?;
            }
            Ok(Verdict::Good)
        }
        What::Gateway { rounds, profile, programs, only } => {
            gateway(rounds, profile, programs.as_deref(), only)
        }
        What::Scale { rounds, profile, programs } => {
            let is_whole = programs.is_none() && profile == Profile::Dist;
            let programs = programs_of(programs.as_deref(), profile)?;
            let mut results = Vec::new();
            for scale in scale::SCALES {
                println!("== bench: {}", scale.title);
                let found = scale::measure(&programs, scale, rounds)?;
                println!("   {}", report::rise(scale, &found));
                results.push((scale, found));
            }
            if is_whole {
                report::write_scale(&results)?;
            }
            Ok(Verdict::Good)
        }
    }
}

fn programs_of(folder: Option<&Path>, profile: Profile) -> Result<Programs> {
    match folder {
        Some(folder) => Ok(Programs::of(folder)),
        None => build(&Workspace::read()?, profile),
    }
}

fn gateway(
    rounds: usize,
    profile: Profile,
    programs: Option<&Path>,
    only: Option<scene::Name>,
) -> Result<Verdict> {
    let is_whole = only.is_none() && programs.is_none() && profile == Profile::Dist;
    let programs = programs_of(programs, profile)?;
    let world = World::start(&programs, world::SMALL)?;
    let mut results = Vec::new();
    let mut first_kib = None;
    for scene in SCENES.iter().filter(|scene| only.is_none_or(|only| only == scene.name)) {
        println!("== bench: {}", scene.title);
        let result = scene::measure(&world, scene, rounds)?;
        println!("   {}", report::line(scene, &result));
        results.push((scene, result));
        first_kib = first_kib.or(Some(world.gateway.memory("VmHWM")?));
    }
    let (world, sizes) = world.sizes(&programs, first_kib.unwrap_or_default())?;
    drop(world);
    print!("{}", report::sizes(&sizes));
    if is_whole {
        report::write(&results, &sizes)?;
    }
    Ok(Verdict::Good)
}

fn build(workspace: &Workspace, profile: Profile) -> Result<Programs> {
    let packages = ["--package", "portcullis", "--package", "portcullis-bench"];
    let built = shell::succeeds(
        shell::cargo().args(["build", "--locked", "--profile", profile.name()]).args(packages),
    )?;
    if !built {
        bail!("it does not build");
    }
    Ok(Programs::of(&workspace.target_directory.join(profile.name())))
}

impl Programs {
    fn of(folder: &Path) -> Self {
        Self { portcullis: folder.join("portcullis"), bench: folder.join("portcullis-bench") }
    }
}

impl Scene {
    /// How many access tokens all of its rounds use up.
    fn tokens(&self, rounds: usize) -> usize {
        if self.fresh_tokens { self.calls * rounds + self.warm_up() } else { 1 }
    }

    fn warm_up(&self) -> usize {
        self.calls / 10
    }
}

fn text<T: std::str::FromStr>(text: &str) -> Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    text.trim().parse().with_context(|| format!("not a number: {text:?}"))
}

//! The chores of this tree, one verb each: `cargo xtask check | test | interop | bench | ci`.
//!
//! Every contributor compiles this crate before anything else, so it stays small and depends on little.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

mod bench;
mod cargo;
mod check;
mod ci;
mod interop;
mod leash;
mod shell;
mod system;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::system::Consent;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores: check the tree, run every test")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// What the product costs, as ratios to a bare proxy on the same machine
    Bench {
        #[command(subcommand)]
        what: bench::What,
    },
    /// Everything that needs no running: format, lints, documentation, edges between crates, dependencies, links
    Check,
    /// What CI runs: check, interop, then test
    Ci {
        #[command(flatten)]
        install: Install,
    },
    /// Drive the demo with software that others wrote: the SDKs of MCP, and the abuse checks where they are
    Interop {
        #[command(flatten)]
        install: Install,
        /// Use this portcullis instead of building one
        #[arg(long, value_name = "FILE")]
        binary: Option<PathBuf>,
        /// Only this part
        #[arg(long)]
        only: Option<interop::Part>,
    },
    /// Every test, on SQLite and on PostgreSQL; closes with `N passed, N failed`
    Test {
        #[command(flatten)]
        install: Install,
    },
}

#[derive(clap::Args)]
struct Install {
    /// Install missing parts of the system (PostgreSQL, Chromium, Python) with its package manager; root need not ask
    #[arg(long)]
    yes: bool,
}

impl Install {
    fn consent(&self) -> Consent {
        if self.yes { Consent::Given } else { Consent::OnlyAsRoot }
    }
}

fn main() -> ExitCode {
    match Cli::parse().verb {
        Verb::Bench { what } => outcome(bench::run(what)),
        Verb::Check => outcome(check::run()),
        Verb::Ci { install } => ci::run(install.consent()),
        Verb::Interop { install, binary, only } => outcome(interop::run(install.consent(), binary, only)),
        Verb::Test { install } => test::run(install.consent()),
    }
}

/// Whether a stage found the tree good.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    Bad,
}

fn outcome(result: anyhow::Result<Verdict>) -> ExitCode {
    match result {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Bad) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

//! The `portcullis` program: what operators type. No logic here; a file per subcommand.

mod admin;
mod agent;
mod call;
mod config;
mod credentials;
mod exit;
mod fleet;
mod policy;
mod serve;
mod session;
mod terminal;
mod token;
mod user;

use clap::{Parser, Subcommand};
use exit::Failure;
use std::process::ExitCode;
use std::time::Duration;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The authentication control plane for a fleet of MCP servers
#[derive(Parser)]
#[command(name = "portcullis", version, max_term_width = 100)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Agent(agent::Arguments),
    Apply(fleet::ApplyArguments),
    Call(call::Arguments),
    Config(config::Arguments),
    /// The demo's `ops` server, over stdio
    #[command(hide = true)]
    DemoOps,
    Export(fleet::ExportArguments),
    Plan(fleet::PlanArguments),
    Policy(policy::Arguments),
    Serve(serve::Arguments),
    Session(session::Arguments),
    Token(token::Arguments),
    User(user::Arguments),
}

fn main() -> ExitCode {
    let program = Program::parse();
    portcullis_server::install_crypto();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::end(Err(Failure::Output(error))),
    };
    let outcome = runtime.block_on(run(program.command));
    // Work on other threads that nobody waits for any more must not delay the end.
    runtime.shutdown_timeout(Duration::from_millis(200));
    exit::end(outcome)
}

async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Agent(arguments) => agent::run(arguments).await,
        Command::Apply(arguments) => fleet::apply(arguments).await,
        Command::Call(arguments) => call::run(arguments).await,
        Command::Config(arguments) => config::run(arguments),
        Command::DemoOps => serve::demo_ops().await,
        Command::Export(arguments) => fleet::export(arguments).await,
        Command::Plan(arguments) => fleet::plan(arguments).await,
        Command::Policy(arguments) => policy::run(arguments).await,
        Command::Serve(arguments) => serve::run(arguments).await,
        Command::Session(arguments) => session::run(arguments).await,
        Command::Token(arguments) => token::run(arguments).await,
        Command::User(arguments) => user::run(arguments).await,
    }
}

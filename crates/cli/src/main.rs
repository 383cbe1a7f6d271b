//! The `portcullis` program: what operators type. No logic here; a file per subcommand.

mod admin;
mod agent;
mod audit;
mod backup;
mod call;
mod calls;
mod client;
mod completions;
mod config;
mod connection;
mod credentials;
mod doctor;
mod exit;
mod fleet;
mod gateway;
mod grant;
mod import;
mod noun;
mod output;
mod pins;
mod policy;
mod revoke;
mod role;
mod rotate;
mod serve;
mod server;
mod session;
mod simulate;
mod terminal;
mod token;
mod user;

use clap::{CommandFactory as _, Parser, Subcommand};
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
    Audit(audit::Arguments),
    Backup(backup::BackupArguments),
    Call(call::Arguments),
    Client(client::Arguments),
    Completions(completions::Arguments),
    Config(config::Arguments),
    Connection(connection::Arguments),
    Doctor(doctor::Arguments),
    /// The demo's `ops` server, over stdio
    #[command(hide = true)]
    DemoOps,
    Export(fleet::ExportArguments),
    Gateway(gateway::Arguments),
    Grant(grant::Arguments),
    Import(import::Arguments),
    Plan(fleet::PlanArguments),
    Policy(policy::Arguments),
    Restore(backup::RestoreArguments),
    Revoke(revoke::Arguments),
    Role(role::Arguments),
    Serve(serve::Arguments),
    Server(server::Arguments),
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
        Command::Backup(arguments) => backup::backup(arguments).await,
        Command::Call(arguments) => call::run(arguments).await,
        Command::Completions(arguments) => completions::run(arguments, Program::command()),
        Command::Doctor(arguments) => doctor::run(arguments).await,
        Command::Config(arguments) => config::run(arguments),
        Command::Connection(arguments) => connection::run(arguments).await,
        Command::DemoOps => serve::demo_ops().await,
        Command::Export(arguments) => fleet::export(arguments).await,
        Command::Import(arguments) => import::run(arguments),
        Command::Plan(arguments) => fleet::plan(arguments).await,
        Command::Policy(arguments) => policy::run(arguments).await,
        Command::Restore(arguments) => backup::restore(arguments).await,
        Command::Audit(arguments) => audit::run(arguments).await,
        Command::Client(arguments) => client::run(arguments).await,
        Command::Gateway(arguments) => gateway::run(arguments).await,
        Command::Grant(arguments) => grant::run(arguments).await,
        Command::Revoke(arguments) => revoke::run(arguments).await,
        Command::Role(arguments) => role::run(arguments).await,
        Command::Serve(arguments) => serve::run(arguments).await,
        Command::Server(arguments) => server::run(arguments).await,
        Command::Session(arguments) => session::run(arguments).await,
        Command::Token(arguments) => token::run(arguments).await,
        Command::User(arguments) => user::run(arguments).await,
    }
}

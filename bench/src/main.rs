//! What `cargo xtask bench` measures with. Each part is a verb of one program, so that it is built once.

#![expect(clippy::print_stdout, reason = "results go to whoever started it")]

mod change;
mod fleet;
mod hold;
mod load;
mod message;
mod proxy;
mod revoke;
mod stub;
mod tokens;

use clap::Parser;

/// As the product has: the bare proxy must not lose by its allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "portcullis-bench")]
enum Program {
    /// Applies two fleet files in turn, and says after how long a caller feels it
    Change(change::Arguments),
    /// Writes a large fleet file, and the same with one agent changed
    Fleet(fleet::Arguments),
    /// Opens idle streams, and holds them until its input ends
    Hold(hold::Arguments),
    /// Calls one address over and over, and says how long the answers took
    Load(load::Arguments),
    /// Reads a TOML file, and says how long it took: what a fleet file costs that nobody checks
    Parse(fleet::ParseArguments),
    /// A reverse proxy that checks nothing: what forwarding costs by itself
    Proxy(proxy::Arguments),
    /// Puts many revocations into a database
    Revoke(revoke::Arguments),
    /// An MCP server over stdio that answers at once
    Stdio,
    /// Gets access tokens from a token endpoint, into a file
    Tokens(tokens::Arguments),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Program::parse() {
        Program::Change(arguments) => change::run(arguments).await,
        Program::Fleet(arguments) => fleet::write(&arguments),
        Program::Parse(arguments) => fleet::parse(&arguments),
        Program::Hold(arguments) => hold::run(arguments).await,
        Program::Load(arguments) => load::run(arguments).await,
        Program::Proxy(arguments) => proxy::run(arguments).await,
        Program::Revoke(arguments) => revoke::run(arguments).await,
        Program::Stdio => stub::stdio().await,
        Program::Tokens(arguments) => tokens::run(arguments).await,
    }
}

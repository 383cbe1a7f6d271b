//! What `cargo xtask bench` measures with. Each part is a verb of one program, so that it is built once.

#![expect(clippy::print_stdout, reason = "results go to whoever started it")]

mod load;
mod message;
mod proxy;
mod stub;
mod tokens;

use clap::Parser;

/// As the product has: the bare proxy must not lose by its allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "portcullis-bench")]
enum Program {
    /// Calls one address over and over, and says how long the answers took
    Load(load::Arguments),
    /// A reverse proxy that checks nothing: what forwarding costs by itself
    Proxy(proxy::Arguments),
    /// An MCP server over stdio that answers at once
    Stdio,
    /// Gets access tokens from a token endpoint, into a file
    Tokens(tokens::Arguments),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Program::parse() {
        Program::Load(arguments) => load::run(arguments).await,
        Program::Proxy(arguments) => proxy::run(arguments).await,
        Program::Stdio => stub::stdio().await,
        Program::Tokens(arguments) => tokens::run(arguments).await,
    }
}

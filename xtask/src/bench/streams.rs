//! What an idle stream costs: memory of the whole process, with so many of them and without.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use anyhow::{Context, Result, bail};

use super::pinned::on_core;
use super::world::World;

/// Open at once.
pub(super) const COUNT: usize = 1000;

/// KiB for each stream.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
pub(super) fn measure(world: &World) -> Result<f64> {
    let tokens = world.tokens("sse", 1)?;
    // Once before, so that what comes with the first ones is not counted.
    drop(Held::open(world, &tokens, COUNT / 10)?);
    let before = world.gateway.memory("VmRSS")?;
    let held = Held::open(world, &tokens, COUNT)?;
    let after = world.gateway.memory("VmRSS")?;
    drop(held);
    std::fs::remove_file(tokens)?;
    Ok(after.saturating_sub(before) as f64 / COUNT as f64)
}

/// Streams that are open until this is dropped.
struct Held(Child);

impl Held {
    fn open(world: &World, tokens: &std::path::Path, count: usize) -> Result<Self> {
        let url = format!("http://{}/mcp/sse", world.gateway_at);
        let mut command = on_core(world.cores.rest, &world.bench);
        command.args([
            "hold",
            "--url",
            &url,
            "--count",
            &count.to_string(),
            "--upstream",
            &world.upstream_at,
        ]);
        command.arg("--tokens").arg(tokens);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let out = child.stdout.take().context("it has no output")?;
        BufReader::new(out).read_line(&mut line)?;
        let held = Self(child);
        if line.is_empty() {
            bail!("the streams could not be opened");
        }
        Ok(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Without input it ends.
        drop(self.0.stdin.take());
        let _gone = self.0.wait();
    }
}

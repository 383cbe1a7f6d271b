//! What was found, as lines of a table, and into the document.

use std::fs;

use anyhow::{Context, Result};

use super::fleet::{Cost, Found};
use super::scale::{self, Rise, Scale};
use super::scene::{Goal, Outcome, Scene, Side};
use super::world::Sizes;
use crate::shell;

const DOCUMENT: &str = "docs/benchmarks.md";
const BEGIN: &str = "<!-- written by `cargo xtask bench gateway`: begin -->\n";
const BEGIN_FLEET: &str = "<!-- written by `cargo xtask bench fleet`: begin -->\n";
const BEGIN_SCALE: &str = "<!-- written by `cargo xtask bench scale`: begin -->\n";
const END: &str = "<!-- end -->";

const HEAD: &str = "\
| | bare, CPU µs | gateway, CPU µs | ratio | lowest – highest | goal | p50, bare / gateway | p99, bare / gateway |
|---|---|---|---|---|---|---|---|
";

/// One row of the table.
pub(super) fn line(scene: &Scene, outcome: &Outcome) -> String {
    let Outcome { bare, gateway, ratios } = outcome;
    let cpu = |side: &Side| format!("{:.1}", side.cpu);
    let nothing = || "–".to_owned();
    let bare_cpu = bare.as_ref().map_or_else(nothing, cpu);
    let ratio = outcome.ratio().map_or_else(nothing, |ratio| format!("**{ratio:.2}**"));
    let spread = match ratios[..] {
        [lowest, .., highest] => format!("{lowest:.2} – {highest:.2}"),
        _ => nothing(),
    };
    let goal = match scene.goal {
        Goal::Calls(calls) => {
            format!("{:.0} calls per second and core, goal {calls}", 1e6 / gateway.cpu)
        }
        Goal::Ratio(ratio) => format!("{ratio:.2}"),
        Goal::None => nothing(),
    };
    let times = |time: fn(&Side) -> u64| {
        let bare = bare.as_ref().map_or_else(nothing, |side| time(side).to_string());
        format!("{bare} / {} µs", time(gateway))
    };
    let (p50, p99) = (times(|side| side.p50), times(|side| side.p99));
    let title = scene.title;
    format!("| {title} | {bare_cpu} | {} | {ratio} | {spread} | {goal} | {p50} | {p99} |", cpu(gateway))
}

/// Start, memory and tokens.
pub(super) fn sizes(sizes: &Sizes) -> String {
    let Sizes { idle_kib, first_kib, most_kib, stream_kib, start, token_us, sign_us } = sizes;
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let mib = |kib: u64| kib as f64 / 1024.0;
    let sign = sign_us.map_or_else(
        || "`openssl` was not there to compare with".to_owned(),
        |sign| {
            let (signs, part) = (1e6 / sign, sign / token_us);
            format!("`openssl speed ecdsap256` signs {signs:.0} times per second: ratio {part:.3}")
        },
    );
    format!(
        "\
| | | goal |
|---|---|---|
| from start to first answer, on the data that the scenes left behind | {} ms | 200 ms |
| resident memory before the first call, ten servers | {:.0} MiB | |
| the most it was under the load of the first scene | {:.0} MiB | 48 MiB |
| the most it ever was, after all scenes, more than 25,000 tokens remembered | {:.0} MiB | |
| each of {} idle streams, over plain http on loopback | {stream_kib:.1} KiB | 40 KiB |
| tokens by client credentials, per second and core | {:.0} | {sign} |
",
        start.as_millis(),
        mib(*idle_kib),
        mib(*first_kib),
        mib(*most_kib),
        super::streams::COUNT,
        1e6 / token_us,
    )
}

/// Replaces the tables in the document.
pub(super) fn write(results: &[(&Scene, Outcome)], found: &Sizes) -> Result<()> {
    let rows: String = results.iter().map(|(scene, outcome)| line(scene, outcome) + "\n").collect();
    replace(BEGIN, &format!("{HEAD}{rows}\n{}", sizes(found)))
}

/// One row of the table of sizes.
pub(super) fn rise(scale: &Scale, found: &scale::Found) -> String {
    let scale::Found { seen, fresh, resident_kib, most_kib } = found;
    let title = scale.title;
    let part = |rise: &Rise| {
        let percent = (rise.ratio - 1.0) * 100.0;
        format!("{:.1} → {:.1} µs, **{percent:+.0} %**", rise.small, rise.large)
    };
    let (seen, fresh) = (part(seen), part(fresh));
    format!("| {title} | {seen} | {fresh} | {} MiB | {} MiB |", resident_kib / 1024, most_kib / 1024)
}

/// Replaces the table of sizes in the document.
pub(super) fn write_scale(results: &[(&Scale, scale::Found)]) -> Result<()> {
    const HEAD: &str = "\
| | token seen before, CPU | each token new, CPU | resident after the calls | the most it ever was |
|---|---|---|---|---|
";
    let rows: String = results.iter().map(|(scale, found)| rise(scale, found) + "\n").collect();
    replace(BEGIN_SCALE, &format!("{HEAD}{rows}"))
}

/// Replaces the table of the fleet in the document.
pub(super) fn write_fleet(found: &Found) -> Result<()> {
    replace(BEGIN_FLEET, &fleet(found))
}

/// A large fleet.
pub(super) fn fleet(found: &Found) -> String {
    let Found {
        size,
        bytes,
        parsed,
        applied,
        planned,
        applied_kib,
        called_kib,
        most_kib,
        started_kib,
        change,
    } = found;
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let mib = |kib: u64| format!("{:.0} MiB", kib as f64 / 1024.0);
    let seconds = |time: std::time::Duration| format!("{:.2} s", time.as_secs_f64());
    let ratio = |cost: &Cost| cost.cpu.as_secs_f64() * 1e3 / parsed;
    let both = |(middle, worst): (f64, f64)| format!("{middle:.0} ms ({worst:.0})");
    let felt = change.decided.0 - change.unchanged.0;
    format!(
        "\
| {} servers, {} agents, a file of {} KiB | wall | CPU of the server | goal |
|---|---|---|---|
| reading the file as TOML, with nothing checked | | {parsed:.0} ms | the measure |
| `apply`, all of it new, a secret for each agent | {} | {}, {:.0} times the reading | 5 s |
| `plan`, no changes | {} | {}, {:.1} times the reading | 1 s |
| applying it again unchanged, to the answer: median (worst) | {} | | |
| one agent changed, to the answer | {} | | |
| one agent changed, to the first call decided by it | {} | | {felt:.0} ms more than unchanged; goal 50 |
| resident after the apply | {} | | |
| resident a few seconds after plans, changes and {} calls | {} | | 150 MiB |
| the most it was meanwhile | {} | | |
| resident after a new start | {} | | 150 MiB |
",
        size.servers,
        size.agents,
        bytes / 1024,
        seconds(applied.wall),
        seconds(applied.cpu),
        ratio(applied),
        seconds(planned.wall),
        seconds(planned.cpu),
        ratio(planned),
        both(change.unchanged),
        both(change.answered),
        both(change.decided),
        mib(*applied_kib),
        change.calls,
        mib(*called_kib),
        mib(*most_kib),
        mib(*started_kib),
    )
}

fn replace(begin: &str, table: &str) -> Result<()> {
    let path = shell::root().join(DOCUMENT);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {DOCUMENT}"))?;
    let (before, rest) = text.split_once(begin).with_context(|| format!("{DOCUMENT} lacks {begin}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("{DOCUMENT} lacks {END}"))?;
    let table = format!("{before}{begin}\n{table}\n{END}{after}");
    fs::write(&path, table).with_context(|| format!("cannot write {DOCUMENT}"))?;
    println!("== bench: {DOCUMENT} written");
    Ok(())
}

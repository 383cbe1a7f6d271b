//! `portcullis audit`: what was recorded (PC-52).

use crate::admin::{Page, Place, segment};
use crate::calls;
use crate::exit::Failure;
use crate::noun::{Common, HELP, One, Part, cell, print_json, query};
use crate::terminal::{print, table, visible};
use serde_json::Value;
use std::time::Duration;

/// Follow, search and export what was recorded
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Calls(calls::Arguments),
    Export(Export),
    Search(Search),
    Tail(Tail),
}

/// Print the newest records, the newest last
#[derive(clap::Args)]
#[command(after_help = HELP)]
struct Tail {
    /// How many
    #[arg(short = 'n', long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=500))]
    lines: u32,

    /// Go on printing what is recorded from now on
    #[arg(short, long)]
    follow: bool,

    #[command(flatten)]
    filter: Filter,

    #[command(flatten)]
    common: Common,
}

/// Search the record, the newest first
#[derive(clap::Args)]
#[command(after_help = HELP)]
struct Search {
    #[command(flatten)]
    filter: Filter,

    /// Not before this: a time such as 2026-11-20T12:00:00Z, or an age such as 7d
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Before this, said in the same way
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    #[command(flatten)]
    part: Part,
}

/// Print records as JSON lines, the oldest first
#[derive(clap::Args)]
#[command(after_help = HELP)]
struct Export {
    #[command(flatten)]
    filter: Filter,

    /// Not before this: a time such as 2026-11-20T12:00:00Z, or an age such as 7d
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Before this, said in the same way
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// After the record of this number, to go on where another export ended
    #[arg(long, value_name = "NUMBER")]
    after: Option<u64>,

    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args)]
struct Filter {
    /// What happened, such as token.decided
    #[arg(long)]
    kind: Option<String>,

    /// Only what was allowed, or what was refused
    #[arg(long, value_parser = ["allowed", "refused"])]
    outcome: Option<String>,

    /// Who did it: an id, operator, system or stranger
    #[arg(long)]
    actor: Option<String>,

    /// An agent
    #[arg(long, value_name = "NAME", conflicts_with = "client")]
    agent: Option<String>,

    /// A client
    #[arg(long, value_name = "ID")]
    client: Option<String>,

    /// A user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// A server
    #[arg(long, value_name = "NAME")]
    server: Option<String>,

    /// A session
    #[arg(long, value_name = "ID")]
    session: Option<String>,
}

const PATH: &str = "/api/v1/audit";

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

const HEADS: [&str; 8] = ["NUMBER", "AT", "KIND", "OUTCOME", "BY", "WHO", "SERVER", "SESSION"];

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Calls(arguments) => calls::run(arguments).await,
        Command::Export(arguments) => export(&arguments).await,
        Command::Search(Search { filter, since, until, part }) => {
            let more = [("since", since.as_deref()), ("until", until.as_deref())];
            part.print(&filter.path(&more), HEADS, row).await
        }
        Command::Tail(arguments) => tail(&arguments).await,
    }
}

/// The record of one session, the oldest first.
pub(crate) async fn log_of_session(one: &One) -> Result<(), Failure> {
    let place = &one.common.place;
    // That there is no such session is an error, not an empty record.
    place.get(&format!("/api/v1/sessions/{}", segment(&one.name))).await?;
    let filters = [("session", Some(one.name.as_str())), ("order", Some("oldest"))];
    let records: Vec<Value> = place.pages(&query(PATH, &filters)).await?;
    if one.common.json {
        return print_json(&Value::from(records));
    }
    let rows: Vec<[String; 8]> = records.iter().map(row).collect();
    Ok(print(&table(HEADS, &rows))?)
}

impl Filter {
    fn path(&self, more: &[(&str, Option<&str>)]) -> String {
        let mut filters = vec![
            ("kind", self.kind.as_deref()),
            ("outcome", self.outcome.as_deref()),
            ("actor", self.actor.as_deref()),
            ("agent", self.agent.as_deref()),
            ("client", self.client.as_deref()),
            ("user", self.user.as_deref()),
            ("server", self.server.as_deref()),
            ("session", self.session.as_deref()),
        ];
        filters.extend_from_slice(more);
        query(PATH, &filters)
    }
}

fn row(record: &Value) -> [String; 8] {
    let outcome = match cell(record, "reason") {
        reason if reason.is_empty() => cell(record, "outcome"),
        reason => format!("{} ({reason})", cell(record, "outcome")),
    };
    let names = &record["names"];
    let who = [cell(names, "agent"), cell(names, "user"), cell(record, "client")];
    let who = who.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
    let by = match cell(record, "id") {
        id if id.is_empty() => cell(record, "actor"),
        id => id,
    };
    let of = |member| cell(record, member);
    [of("number"), of("at"), of("kind"), outcome, by, who, cell(names, "server"), of("session")]
}

async fn export(arguments: &Export) -> Result<(), Failure> {
    let Export { filter, since, until, after, place } = arguments;
    let mut after = *after;
    loop {
        let from = after.map(|number| number.to_string());
        let more = [
            ("since", since.as_deref()),
            ("until", until.as_deref()),
            ("order", Some("oldest")),
            ("after", from.as_deref()),
            ("limit", Some("500")),
        ];
        let page: Page<Value> = place.get(&filter.path(&more)).await?.json()?;
        for record in &page.items {
            print(&format!("{record}\n"))?;
        }
        let last = page.items.last().and_then(|record| record["number"].as_u64());
        match (last, page.next) {
            (Some(last), Some(_)) => after = Some(last),
            (_, _) => return Ok(()),
        }
    }
}

async fn tail(arguments: &Tail) -> Result<(), Failure> {
    let Tail { lines, follow, filter, common } = arguments;
    let limit = lines.to_string();
    let newest: Page<Value> = common.place.get(&filter.path(&[("limit", Some(&limit))])).await?.json()?;
    let mut last = 0;
    for record in newest.items.iter().rev() {
        last = last.max(record["number"].as_u64().unwrap_or(0));
        put(record, common.json)?;
    }
    if !follow {
        return Ok(());
    }
    loop {
        tokio::time::sleep(PAUSE).await;
        let after = last.to_string();
        let more = [("after", Some(after.as_str())), ("limit", Some("500"))];
        let page: Page<Value> = common.place.get(&filter.path(&more)).await?.json()?;
        for record in &page.items {
            last = last.max(record["number"].as_u64().unwrap_or(0));
            put(record, common.json)?;
        }
    }
}

/// One record, one line.
fn put(record: &Value, json: bool) -> Result<(), Failure> {
    if json {
        return Ok(print(&format!("{record}\n"))?);
    }
    let cells: Vec<String> =
        row(record).iter().filter(|cell| !cell.is_empty()).map(|cell| visible(cell)).collect();
    Ok(print(&format!("{}\n", cells.join("  ")))?)
}

//! `portcullis audit calls`: what the gateway of this machine decided, call by call (PC-50).

use crate::admin::{Answer, Place};
use crate::exit::Failure;
use crate::noun::{HELP, cell, print_json, query};
use crate::terminal::{print, table, visible};
use serde_json::{Value, json};

/// Search the calls that the gateway decided about, the newest first
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// An agent
    #[arg(long, value_name = "NAME", conflicts_with = "user")]
    agent: Option<String>,

    /// A user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// A server
    #[arg(long, value_name = "NAME")]
    server: Option<String>,

    /// A gateway that runs alone
    #[arg(long, value_name = "NAME")]
    gateway: Option<String>,

    /// A tool
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,

    /// A session
    #[arg(long, value_name = "ID")]
    session: Option<String>,

    /// Only what was allowed, refused, or allowed only because the server is observed
    #[arg(long, value_parser = ["allowed", "refused", "observed"])]
    outcome: Option<String>,

    /// Not before this: a time such as 2026-11-20T12:00:00Z, or an age such as 7d
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Before this
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// How many at most
    #[arg(long, default_value_t = 100)]
    limit: u32,

    /// Go on where the list before ended, as it said
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,

    #[command(flatten)]
    place: Place,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The most that one answer has.
const PAGE: u32 = 500;

const HEADS: [&str; 8] = ["TIME", "OUTCOME", "WHO", "SERVER", "METHOD", "OBJECT", "ENDED", "MS"];

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let (mut items, mut cursor): (Vec<Value>, _) = (Vec::new(), arguments.cursor.clone());
    let (mut torn, mut unreadable) = (0, 0);
    let wanted = usize::try_from(arguments.limit).unwrap_or(usize::MAX);
    loop {
        let left = u32::try_from(wanted - items.len()).unwrap_or(PAGE).min(PAGE);
        let page: Value = arguments.page(left, cursor.as_deref()).await?.json()?;
        items.extend(page["items"].as_array().into_iter().flatten().cloned());
        torn += page["torn"].as_u64().unwrap_or(0);
        unreadable += page["unreadable"].as_u64().unwrap_or(0);
        cursor = page["next"].as_str().map(str::to_owned);
        if cursor.is_none() || items.len() >= wanted {
            break;
        }
    }
    if arguments.json {
        return print_json(
            &json!({ "items": items, "next": cursor, "torn": torn, "unreadable": unreadable }),
        );
    }
    let rows: Vec<[String; 8]> = items.iter().map(row).collect();
    print(&table(HEADS, &rows))?;
    if torn + unreadable > 0 {
        print(&format!(
            "Lines left out: {torn} cut off (of a process that was killed), {unreadable} unreadable.\n"
        ))?;
    }
    if let Some(cursor) = cursor {
        print(&format!("There are more: --cursor {}\n", visible(&cursor)))?;
    }
    Ok(())
}

impl Arguments {
    async fn page(&self, limit: u32, cursor: Option<&str>) -> Result<Answer, Failure> {
        let limit = limit.to_string();
        let path = query(
            "/api/v1/calls",
            &[
                ("agent", self.agent.as_deref()),
                ("user", self.user.as_deref()),
                ("server", self.server.as_deref()),
                ("gateway", self.gateway.as_deref()),
                ("tool", self.tool.as_deref()),
                ("session", self.session.as_deref()),
                ("outcome", self.outcome.as_deref()),
                ("since", self.since.as_deref()),
                ("until", self.until.as_deref()),
                ("limit", Some(&limit)),
                ("cursor", cursor),
            ],
        );
        Ok(self.place.get(&path).await?)
    }
}

fn row(call: &Value) -> [String; 8] {
    let of = |member| cell(call, member);
    let outcome = match of("reason") {
        reason if !reason.is_empty() => format!("{} ({reason})", of("outcome")),
        _ if !call["observed"].is_null() => format!("{} (observed: {})", of("outcome"), of("observed")),
        _ => of("outcome"),
    };
    let who =
        ["agent", "user", "subject"].map(of).into_iter().find(|name| !name.is_empty()).unwrap_or_default();
    let ended = &call["ended"];
    let answered = match (cell(ended, "how"), cell(&ended["stream"], "how")) {
        (how, stream) if how == "answered" && stream.is_empty() => cell(ended, "status"),
        (how, stream) if how == "answered" => format!("{} ({stream})", cell(ended, "status")),
        (how, _) => how,
    };
    let server = match of("gateway") {
        gateway if gateway.is_empty() => of("server_name"),
        gateway => format!("{} (at {gateway})", of("server_name")),
    };
    [of("time"), outcome, who, server, of("method"), of("object"), answered, cell(ended, "milliseconds")]
}

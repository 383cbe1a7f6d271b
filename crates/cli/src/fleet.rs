//! `portcullis plan`, `apply`, `export`: the fleet as one reviewable file (PC-34).

use crate::admin::{AdminError, Answer, Body, Place};
use crate::exit::Failure;
use crate::terminal::{agreed, print, visible};
use serde::Deserialize;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const PLAN_HELP: &str = "Exit codes:
  0  the fleet is as the file says
  1  error: mistakes in the file (each with its line), or the server refuses or does not answer
  2  applying the file would change something (or the command line is wrong)";

const HELP: &str = "Exit codes:
  0  done, or nothing to do
  1  error: nothing was changed (mistakes in the file, each with its line; nobody agreed; somebody else changed the fleet
     since the plan; the server refuses or does not answer)
  2  the command line is wrong";

/// Show what applying a fleet file would change, and whom it would cut off
#[derive(clap::Args)]
#[command(after_help = PLAN_HELP)]
pub(crate) struct PlanArguments {
    /// The fleet file
    #[arg(value_name = "FLEET.toml")]
    file: PathBuf,

    #[command(flatten)]
    place: Place,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Make the registry what a fleet file says, in one transaction or not at all
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct ApplyArguments {
    /// The fleet file
    #[arg(value_name = "FLEET.toml")]
    file: PathBuf,

    /// Do not ask before something is taken away
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    place: Place,

    /// Print JSON: the plan, and what was done
    #[arg(long)]
    json: bool,
}

/// Print the registered fleet as a fleet file
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct ExportArguments {
    /// Write to this file instead of stdout
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    place: Place,

    /// Print JSON: the same text, as the member `toml`
    #[arg(long)]
    json: bool,
}

/// What the server says that would change.
#[derive(Deserialize)]
struct Plan {
    servers: Changes,
    agents: Changes,
    clients: Changes,
    roles: Changes,
    self_registered: Vec<Edit>,
    forbids: Vec<Edit>,
    narrowed: Vec<Narrowed>,
    takes_away: bool,
    secrets: Vec<String>,
    ends: Vec<Ending>,
    cut: Vec<Ending>,
    leavers: Vec<String>,
    remarks: Vec<String>,
    needs_owner: Vec<String>,
    needs_machine: Vec<String>,
}

#[derive(Deserialize)]
struct Changes {
    added: Vec<String>,
    changed: Vec<Changed>,
    removed: Vec<String>,
}

#[derive(Deserialize)]
struct Changed {
    name: String,
    fields: Vec<Edit>,
}

#[derive(Deserialize)]
struct Edit {
    field: String,
    before: Value,
    after: Value,
}

#[derive(Deserialize)]
struct Narrowed {
    whose: String,
    server: String,
    loses: Vec<String>,
    tools: Vec<String>,
}

#[derive(Deserialize)]
struct Ending {
    with: String,
    sessions: u64,
}

#[derive(Deserialize)]
struct Applied {
    put: u64,
    removed: u64,
    secrets: u64,
}

pub(crate) async fn plan(arguments: PlanArguments) -> Result<(), Failure> {
    let text = read(&arguments.file)?;
    let answer = planned(&arguments.place, text, arguments.json).await?;
    let plan: Plan = answer.json()?;
    if arguments.json {
        print(&format!("{:#}\n", answer.json::<Value>()?))?;
    } else {
        print(&plan.words())?;
    }
    if plan.is_empty() { Ok(()) } else { Err(Failure::Differs) }
}

/// The server's plan. Mistakes in the file are told on stdout too, where JSON is wanted.
async fn planned(place: &Place, text: String, json: bool) -> Result<Answer, Failure> {
    let outcome = place.post("/api/v1/fleet/plan", Body::Toml(text)).await;
    if let (true, Err(AdminError::Problem(problem))) = (json, &outcome) {
        print(&format!("{:#}\n", serde_json::json!(problem)))?;
    }
    Ok(outcome?)
}

pub(crate) async fn apply(arguments: ApplyArguments) -> Result<(), Failure> {
    let text = read(&arguments.file)?;
    let planned = planned(&arguments.place, text.clone(), arguments.json).await?;
    let plan: Plan = planned.json()?;
    if !arguments.json {
        print(&plan.words())?;
    }
    if plan.takes_away && !arguments.yes && !agreed("This takes something away. Apply it?")? {
        return Err(Failure::NotAgreed);
    }
    // What was shown is what is done, or nothing.
    let etag = planned.etag.as_deref().unwrap_or_default();
    let answer = arguments.place.post_if("/api/v1/fleet/apply", Body::Toml(text), etag).await?;
    said(&planned, &answer, arguments.json)
}

fn said(planned: &Answer, answer: &Answer, json: bool) -> Result<(), Failure> {
    if json {
        let both =
            serde_json::json!({ "plan": planned.json::<Value>()?, "applied": answer.json::<Value>()? });
        return Ok(print(&format!("{both:#}\n"))?);
    }
    let Applied { put, removed, secrets } = answer.json()?;
    if put + removed + secrets == 0 {
        return Ok(());
    }
    Ok(print(&format!("Applied: {put} added or changed, {removed} removed, {secrets} secrets delivered.\n"))?)
}

pub(crate) async fn export(arguments: ExportArguments) -> Result<(), Failure> {
    let answer = arguments.place.get("/api/v1/fleet").await?;
    let toml = answer.text()?;
    let text =
        if arguments.json { format!("{:#}\n", serde_json::json!({ "toml": toml })) } else { toml.to_owned() };
    match arguments.output {
        None => Ok(print(&text)?),
        Some(path) => Ok(portcullis_server::data::write_whole(&path, text.as_bytes())?),
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .map_err(|error| Failure::Operator(format!("cannot read {}: {error}", file.display())))
}

impl Plan {
    fn kinds(&self) -> [(&'static str, &Changes); 4] {
        [("server", &self.servers), ("agent", &self.agents), ("client", &self.clients), ("role", &self.roles)]
    }

    fn is_empty(&self) -> bool {
        let untouched = |changes: &Changes| {
            changes.added.is_empty() && changes.changed.is_empty() && changes.removed.is_empty()
        };
        self.kinds().iter().all(|(_, changes)| untouched(changes))
            && self.self_registered.is_empty()
            && self.forbids.is_empty()
            && self.secrets.is_empty()
    }

    /// For a reviewer: `+` new, `~` changed, `-` gone, `!` cut off, `?` perhaps not meant so, `x` refused when this operator applies it.
    fn words(&self) -> String {
        let mut text = String::new();
        if self.is_empty() {
            line(&mut text, "No changes: the fleet is as the file says.");
        }
        for (kind, changes) in self.kinds() {
            changes.added.iter().for_each(|name| line(&mut text, &format!("+ {kind} {name}")));
            for changed in &changes.changed {
                line(&mut text, &format!("~ {kind} {}", changed.name));
                changed.fields.iter().for_each(|field| line(&mut text, &field.words()));
            }
            changes.removed.iter().for_each(|name| line(&mut text, &format!("- {kind} {name}")));
        }
        if !self.self_registered.is_empty() {
            line(&mut text, "~ self_registered");
            self.self_registered.iter().for_each(|field| line(&mut text, &field.words()));
        }
        if !self.forbids.is_empty() {
            line(&mut text, "~ forbid");
            self.forbids.iter().for_each(|field| line(&mut text, &field.words()));
        }
        for name in &self.secrets {
            line(&mut text, &format!("  a secret is made for {name} and delivered"));
        }
        for Narrowed { whose, server, loses, tools } in &self.narrowed {
            if !loses.is_empty() {
                line(&mut text, &format!("! {whose}: loses {} on {server}", loses.join(" ")));
            }
            if !tools.is_empty() {
                line(&mut text, &format!("! {whose}: can no longer call {} on {server}", tools.join(" ")));
            }
        }
        for Ending { with, sessions } in &self.ends {
            line(&mut text, &format!("! sessions that end with {with}: {sessions}"));
        }
        for Ending { with, sessions } in &self.cut {
            line(&mut text, &format!("! running sessions of {with} that may do less: {sessions}"));
        }
        for name in &self.leavers {
            line(
                &mut text,
                &format!("! user {name} leaves a role: the tokens end, and are renewed without it"),
            );
        }
        for remark in &self.remarks {
            line(&mut text, &format!("? {remark}"));
        }
        for what in &self.needs_owner {
            line(&mut text, &format!("x this needs an owner: {what}"));
        }
        for whose in &self.needs_machine {
            line(
                &mut text,
                &format!("x this names a new file, which is done on the machine itself: {whose}"),
            );
        }
        text
    }
}

impl Edit {
    fn words(&self) -> String {
        let show = |value: &Value| if value.is_null() { "(not set)".to_owned() } else { value.to_string() };
        format!("    {}: {} -> {}", self.field, show(&self.before), show(&self.after))
    }
}

/// What stands in a file must not steer the terminal of whoever reviews it.
fn line(text: &mut String, words: &str) {
    let _infallible = writeln!(text, "{}", visible(words));
}

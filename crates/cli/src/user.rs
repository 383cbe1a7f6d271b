//! `portcullis user`: the people who may sign in.

use crate::admin::{Answer, Body, segment};
use crate::exit::Failure;
use crate::noun::{Common, Doomed, End, One, Part, cell, end, print_json};
use crate::revoke::USER;
use crate::terminal::{agreed, print, visible};
use serde::Deserialize;
use serde_json::{Value, json};

const HELP: &str = "Exit codes:
  0  done
  1  error: nothing was changed (no such user, the name is taken, the last administrator, the server refuses or does not answer)
  2  the command line is wrong";

const PATH: &str = "/api/v1/users";

/// List and change the people who may sign in
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Add(Add),
    /// Disable a user: sessions and tokens end, and they cannot sign in
    #[command(after_help = HELP, visible_alias = "remove")]
    Disable(Doomed),
    /// Let a disabled user sign in again
    #[command(after_help = HELP)]
    Enable(One),
    /// List all users, disabled ones included
    #[command(after_help = HELP)]
    List(Part),
    /// Give a user another password, to be changed at sign-in; they are signed out everywhere, and their tokens end
    #[command(after_help = HELP)]
    Password(One),
    /// End everything of a user: browsers, grants, sessions; they may sign in again
    #[command(after_help = HELP)]
    Revoke(Doomed),
    Set(Set),
    /// Show a user
    #[command(after_help = HELP)]
    Show(One),
}

/// Add a user, and print the password for the first sign-in
#[derive(clap::Args)]
#[command(after_help = HELP)]
struct Add {
    /// What they sign in with: letters, digits and . _ @ + -
    name: String,

    /// A group that roles can name (several times if needed)
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,

    /// They may administer
    #[arg(long)]
    admin: bool,

    #[command(flatten)]
    common: Common,
}

/// Change the groups of a user, or whether they may administer
#[derive(clap::Args)]
#[command(after_help = HELP)]
struct Set {
    /// Whose
    name: String,

    /// All groups that they are in from now on (several times if needed)
    #[arg(long, value_name = "GROUP", required_unless_present_any = ["no_groups", "admin"], conflicts_with = "no_groups")]
    group: Vec<String>,

    /// They are in no group from now on
    #[arg(long)]
    no_groups: bool,

    /// Whether they may administer
    #[arg(long, value_name = "YES|NO", value_parser = ["yes", "no"])]
    admin: Option<String>,

    #[command(flatten)]
    common: Common,
}

/// No `Debug`: it is a password.
#[derive(Deserialize)]
struct OneTime {
    username: String,
    password: String,
    ends_at: String,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Add(arguments) => add(arguments).await,
        Command::Disable(doomed) => disable(&doomed).await,
        Command::Enable(one) => change(&one.name, &json!({ "disabled": false }), &one.common).await,
        Command::List(part) => part.print(PATH, ["NAME", "ADMIN", "STATE", "GROUPS"], row).await,
        Command::Password(One { name, common }) => {
            let path = format!("{PATH}/{}/password", segment(&name));
            show(&common.place.post(&path, Body::Nothing).await?, common.json)
        }
        Command::Revoke(Doomed { name, sure }) => {
            let sessions = Some(("user", name.as_str()));
            end(&sure, &End { kind: "user", id: Some(&name), sessions, note: USER }).await
        }
        Command::Set(arguments) => set(&arguments).await,
        Command::Show(one) => one.print(PATH).await,
    }
}

fn row(user: &Value) -> [String; 4] {
    let state = match (user["disabled"] == true, user["must_change"] == true) {
        (true, _) => "disabled",
        (false, true) => "must choose a password",
        (false, false) => "active",
    };
    [cell(user, "name"), cell(user, "admin"), state.to_owned(), groups(user)]
}

fn groups(user: &Value) -> String {
    let groups = user["groups"].as_array().into_iter().flatten().filter_map(Value::as_str);
    groups.collect::<Vec<_>>().join(", ")
}

async fn add(arguments: Add) -> Result<(), Failure> {
    let Add { name, group, admin, common } = arguments;
    let body = json!({ "username": name, "groups": group, "admin": admin });
    show(&common.place.post(PATH, Body::Json(body)).await?, common.json)
}

/// The one place that writes a password: on stdout, for whoever asked.
fn show(answer: &Answer, json: bool) -> Result<(), Failure> {
    if json {
        return print_json(&answer.json()?);
    }
    let OneTime { username, password, ends_at } = answer.json()?;
    let (name, ends_at) = (visible(&username), visible(&ends_at));
    Ok(print(&format!(
        "The password of {name}, shown once, good until they choose their own, and not after {ends_at}:\n{password}\n"
    ))?)
}

async fn set(arguments: &Set) -> Result<(), Failure> {
    let Set { name, group, no_groups, admin, common } = arguments;
    let mut edit = json!({});
    if *no_groups || !group.is_empty() {
        edit["groups"] = json!(group);
    }
    if let Some(admin) = admin {
        edit["admin"] = (admin == "yes").into();
    }
    change(name, &edit, common).await
}

async fn change(name: &str, edit: &Value, common: &Common) -> Result<(), Failure> {
    let path = format!("{PATH}/{}", segment(name));
    let user: Value = common.place.patch(&path, Body::Json(edit.clone())).await?.json()?;
    if common.json {
        return print_json(&user);
    }
    let [name, admin, state, groups] = row(&user).map(|cell| visible(&cell));
    Ok(print(&format!("{name}: {state}; administrator: {admin}; groups: {groups}\n"))?)
}

async fn disable(doomed: &Doomed) -> Result<(), Failure> {
    let Doomed { name, sure } = doomed;
    let shown = visible(name);
    if !sure.yes && !agreed(&format!("{shown} cannot sign in any more, and all their sessions end."))? {
        return Err(Failure::NotAgreed);
    }
    sure.common.place.delete(&format!("{PATH}/{}", segment(name))).await?;
    if sure.common.json {
        return print_json(&json!({ "disabled": name }));
    }
    Ok(print(&format!("Disabled: {shown}\n"))?)
}

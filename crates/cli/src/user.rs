//! `portcullis user`: the people who may sign in.

use crate::admin::{Answer, Body, Place, segment};
use crate::exit::Failure;
use crate::terminal::{agreed, print, table, visible};
use serde::Deserialize;
use serde_json::{Value, json};

const HELP: &str = "Exit codes:
  0  done
  1  error: nothing was changed (no such user, the name is taken, the last administrator, no server runs on the data folder)
  2  the command line is wrong";

/// List and change the people who may sign in
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    List(List),
    Add(Add),
    Password(Password),
    Remove(Remove),
}

/// List all users, disabled ones included
#[derive(clap::Args)]
#[command(after_help = HELP)]
struct List {
    #[command(flatten)]
    place: Place,

    /// Print JSON
    #[arg(long)]
    json: bool,
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
    place: Place,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Give a user another password, to be changed at sign-in; they are signed out everywhere, and their tokens end
#[derive(clap::Args)]
#[command(after_help = HELP)]
struct Password {
    /// Whose
    name: String,

    #[command(flatten)]
    place: Place,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Disable a user for good: sessions and tokens end, and the name is not given again
#[derive(clap::Args)]
#[command(after_help = HELP)]
struct Remove {
    /// Whom
    name: String,

    /// Do not ask
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    place: Place,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct User {
    name: String,
    groups: Vec<String>,
    admin: bool,
    disabled: bool,
    must_change: bool,
}

/// No `Debug`: it is a password.
#[derive(Deserialize)]
struct OneTime {
    username: String,
    password: String,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::List(arguments) => list(arguments).await,
        Command::Add(arguments) => add(arguments).await,
        Command::Password(arguments) => password(arguments).await,
        Command::Remove(arguments) => remove(arguments).await,
    }
}

async fn list(arguments: List) -> Result<(), Failure> {
    const PATH: &str = "/api/v1/users";
    if arguments.json {
        let all: Vec<Value> = arguments.place.pages(PATH).await?;
        return Ok(print(&format!("{:#}\n", Value::from(all)))?);
    }
    let users: Vec<User> = arguments.place.pages(PATH).await?;
    let rows: Vec<[String; 4]> = users.into_iter().map(User::row).collect();
    Ok(print(&table(["NAME", "ADMIN", "STATE", "GROUPS"], &rows))?)
}

impl User {
    fn row(self) -> [String; 4] {
        let state = match (self.disabled, self.must_change) {
            (true, _) => "disabled",
            (false, true) => "must choose a password",
            (false, false) => "active",
        };
        let admin = if self.admin { "yes" } else { "no" };
        [self.name, admin.to_owned(), state.to_owned(), self.groups.join(", ")]
    }
}

async fn add(arguments: Add) -> Result<(), Failure> {
    let Add { name, group, admin, place, json } = arguments;
    let body = json!({ "username": name, "groups": group, "admin": admin });
    let answer = place.post("/api/v1/users", Body::Json(body)).await?;
    show(&answer, json)
}

async fn password(arguments: Password) -> Result<(), Failure> {
    let path = format!("/api/v1/users/{}/password", segment(&arguments.name));
    let answer = arguments.place.post(&path, Body::Nothing).await?;
    show(&answer, arguments.json)
}

/// The one place that writes a password: on stdout, for whoever asked.
fn show(answer: &Answer, json: bool) -> Result<(), Failure> {
    if json {
        return Ok(print(&format!("{:#}\n", answer.json::<Value>()?))?);
    }
    let OneTime { username, password } = answer.json()?;
    let name = visible(&username);
    Ok(print(&format!(
        "The password of {name}, shown once, good until they choose their own:\n{password}\n"
    ))?)
}

async fn remove(arguments: Remove) -> Result<(), Failure> {
    let Remove { name, yes, place, json } = arguments;
    let shown = visible(&name);
    if !yes && !agreed(&format!("{shown} is disabled for good, and all their sessions end."))? {
        return Err(Failure::NotAgreed);
    }
    place.delete(&format!("/api/v1/users/{}", segment(&name))).await?;
    if json {
        return Ok(print(&format!("{:#}\n", json!({ "disabled": name })))?);
    }
    Ok(print(&format!("Disabled: {shown}\n"))?)
}

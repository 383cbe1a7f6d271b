//! From the configuration files of MCP clients to a fleet file and `[command]` tables (PC-36). Nothing is started, nobody is
//! asked, and no value of a header or variable is copied (PC-43).

use super::Names;
use super::arguments::{address_without_secrets, without_secrets};
use super::client_file::{self, Entry, Reached};
use super::text::{comment, list, plain, quoted};
use portcullis_oauth::upstream::UpstreamUrl;
use std::collections::BTreeSet;
use std::fmt::Write as _;

const HEAD: &str = "\
# Drafted from the configuration of MCP clients. Nothing here is callable yet: a tool without a rule is refused.
# `portcullis server add` asks a server what it offers, and drafts its scopes and rules.
";

const COMMANDS_HEAD: &str = "\
# Belongs into portcullis.toml of the machine that runs the gateway. Only what stands there is ever started.
";

/// What was drafted.
#[derive(Debug, Default)]
pub struct Import {
    /// A fleet file.
    pub fleet: String,
    /// `[command.NAME]` tables for portcullis.toml; empty when there is no program.
    pub commands: String,
    /// Entries that were not drafted, and why.
    pub problems: Vec<String>,
    /// What somebody must look after.
    pub warnings: Vec<String>,
    /// How many servers were drafted.
    pub drafted: usize,
}

/// Drafts what these files, each with its name, hold. Servers with these names exist already.
pub fn import<'a>(
    files: impl IntoIterator<Item = (&'a str, &'a str)>,
    taken: impl IntoIterator<Item = String>,
) -> Import {
    let mut drafting = Drafting {
        names: Names::new(taken),
        seen: BTreeSet::new(),
        import: Import { fleet: HEAD.to_owned(), ..Import::default() },
    };
    for (file, text) in files {
        match client_file::entries(text) {
            Ok(entries) => entries.into_iter().for_each(|entry| drafting.entry(file, entry)),
            Err(says) => drafting.import.problems.push(format!("{}: {says}", plain(file, 300))),
        }
    }
    let mut import = drafting.import;
    if !import.commands.is_empty() {
        import.commands.insert_str(0, COMMANDS_HEAD);
    }
    import
}

struct Drafting {
    names: Names,
    /// What leads to the same server is drafted once.
    seen: BTreeSet<String>,
    import: Import,
}

impl Drafting {
    fn entry(&mut self, file: &str, entry: Entry) {
        let place = format!("{}: {}", plain(file, 300), plain(&entry.name, 80));
        if entry.disabled {
            self.import.problems.push(format!("{place}: is switched off there; left out"));
            return;
        }
        let drafted = match entry.reached {
            Err(says) => Err(says),
            Ok(Reached::Address { ref url, sse }) => self.address(&place, &entry, url, sse),
            Ok(Reached::Program { ref run, ref folder }) => {
                self.program(&place, &entry, run, folder.as_deref());
                Ok(())
            }
        };
        if let Err(says) = drafted {
            self.import.problems.push(format!("{place}: {says}"));
        }
    }

    fn address(&mut self, place: &str, entry: &Entry, url: &str, sse: bool) -> Result<(), String> {
        let Some((shown, left_out)) = address_without_secrets(url) else {
            return Err("its url is no address (a variable of the client?): write it out".to_owned());
        };
        shown.parse::<UpstreamUrl>().map_err(|error| format!("its url: {error}"))?;
        if !self.is_new(&shown) {
            return Ok(());
        }
        let name = self.begin(place, entry);
        let mut notes = String::new();
        if !left_out.is_empty() {
            let words = left_out.join(", ");
            notes += &comment(&format!("Left out of its address: {words}."));
            self.import.warnings.push(format!(
                "{place}: {words} of its address stood there in plain text and was not copied; rotate it if it is a secret"
            ));
        }
        if !entry.valued.is_empty() {
            let names = valued(entry);
            notes += &comment(&format!(
                "The client sends it {names}; the values were not copied, and Portcullis sends the server an assertion of its \
                 own instead."
            ));
        }
        if sse {
            notes += &comment("The old SSE transport, it seems: the gateway speaks Streamable HTTP only.");
            self.import.warnings.push(format!(
                "{place}: seems to speak the old SSE transport; the gateway needs Streamable HTTP"
            ));
        }
        self.write(&name, entry, &notes, &format!("url = {}", quoted(&shown)));
        Ok(())
    }

    fn program(&mut self, place: &str, entry: &Entry, run: &[String], folder: Option<&str>) {
        let (run, replaced) = without_secrets(run.iter().map(String::as_str));
        if !self.is_new(&format!("{run:?}{folder:?}")) {
            return;
        }
        let name = self.begin(place, entry);
        let mut table = format!("\n[command.{name}]\n");
        if replaced {
            table += &comment("What looked like a secret was not copied: put something else in its place.");
            self.import.warnings.push(format!(
                "{place}: its arguments hold what looks like a secret, in plain text; it was not copied; rotate it"
            ));
        }
        let _infallible = writeln!(table, "run = {}", list(run.iter().map(String::as_str)));
        if let Some(folder) = folder {
            let _infallible = writeln!(table, "folder = {}", quoted(folder));
        }
        if !entry.valued.is_empty() {
            table += &comment(
                "It wants these variables. The values stood there in plain text and were not copied:",
            );
            let pairs: Vec<String> = entry
                .valued
                .iter()
                .map(|name| format!("{} = {}", quoted(name), quoted(&format!("env:{name}"))))
                .collect();
            table += &comment_whole(&format!("env_from = {{ {} }}", pairs.join(", ")));
        }
        self.import.commands += &table;
        self.write(&name, entry, "", &format!("command = {}", quoted(&name)));
    }

    fn is_new(&mut self, reached: &str) -> bool {
        self.seen.insert(reached.to_owned())
    }

    fn begin(&mut self, place: &str, entry: &Entry) -> String {
        self.import.drafted += 1;
        if !entry.valued.is_empty() {
            let names = valued(entry);
            self.import.warnings.push(format!(
                "{place}: {names} stood there in plain text; not copied; rotate what is a secret, and keep it in one place"
            ));
        }
        self.names.give(&entry.name)
    }

    fn write(&mut self, name: &str, entry: &Entry, notes: &str, upstream: &str) {
        let title = plain(&entry.name, 80);
        let title = if title.is_empty() { name } else { &title };
        let _infallible = writeln!(
            self.import.fleet,
            "\n{notes}[[server]]\nname = {}\ntitle = {}\nupstream = {{ {upstream} }}",
            quoted(name),
            quoted(title)
        );
    }
}

/// A comment that is not cut: what stands in it is to be copied. Quoted texts have no line breaks.
fn comment_whole(line: &str) -> String {
    format!("# {line}\n")
}

fn valued(entry: &Entry) -> String {
    let names: Vec<String> = entry.valued.iter().map(|name| plain(name, 60)).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_domain::fleet::{Fleet, Surroundings};
    use proptest::prelude::*;

    const TWO: &str = r#"{"mcpServers": {
        "Git Hub": {"url": "https://gh.test/mcp?key=sesame-1", "headers": {"Authorization": "Bearer sesame-2"}},
        "files": {"command": "npx", "args": ["-y", "fs", "--api-key", "sesame-3"], "env": {"FS_TOKEN": "sesame-4"}},
        "bad": {}
    }}"#;

    fn parsed(import: &Import) -> Fleet {
        let commands: toml::Table = import.commands.parse().unwrap();
        let names = commands.get("command").and_then(|table| table.as_table());
        let names = names.into_iter().flat_map(|table| table.keys().cloned()).collect();
        let issuer = "https://mcp.example.com".parse().unwrap();
        Fleet::parse(&import.fleet, Surroundings { issuer: &issuer, commands: &names }).unwrap()
    }

    #[test]
    fn pc_36_servers_are_drafted_and_what_is_wrong_is_told() {
        let import = import([("a.json", TWO), ("b.json", TWO), ("c.json", "{")], ["files".to_owned()]);
        let fleet = parsed(&import);
        let names: Vec<&str> = fleet.servers.iter().map(|server| server.name.as_str()).collect();
        assert_eq!(names, ["git-hub", "files-2"], "each once, under a free name");
        assert_eq!(import.problems.len(), 3, "{:?}", import.problems);
        assert!(fleet.servers.iter().all(|server| server.rules.is_empty()), "nothing is callable");
        let config =
            crate::config::Config::parse(&import.commands, &crate::config::Options::default()).unwrap();
        assert_eq!(config.commands["files-2"].run, ["npx", "-y", "fs", "--api-key", "REPLACE-ME"]);
        assert!(config.commands["files-2"].env.is_empty());
    }

    #[test]
    fn pc_43_no_secret_of_a_client_is_copied() {
        let import = import([("a.json", TWO)], []);
        assert!(!format!("{import:?}").contains("sesame"), "{import:?}");
        assert!(import.commands.contains(r#""FS_TOKEN" = "env:FS_TOKEN""#));
        assert!(import.warnings.iter().any(|warning| warning.contains("FS_TOKEN")));
        assert!(import.warnings.iter().any(|warning| warning.contains("rotate")));
    }

    proptest! {
        #[test]
        fn pc_36_whatever_stands_there_the_draft_can_be_read(
            name in any::<String>(), url in "https?://[a-z]{1,9}/[a-zA-Z0-9?=/&#%]{0,30}",
            command in any::<String>(), args in proptest::collection::vec(any::<String>(), 0..4), key in any::<String>(),
        ) {
            let text = serde_json::json!({ "mcpServers": {
                name.clone(): { "url": url, "headers": { key.clone(): "v" } },
                format!("{name}2"): { "command": command, "args": args, "env": { key: "v" } },
            }}).to_string();
            let import = import([("x", text.as_str())], []);
            prop_assert_eq!(parsed(&import).servers.len(), import.drafted);
            let steered = import.fleet.contains('\u{1b}');
            prop_assert!(!steered);
        }
    }
}

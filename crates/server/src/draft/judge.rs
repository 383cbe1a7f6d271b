//! How much harm a tool can do, judged by the words in its name and by what its server hints at. Hints are a stranger's
//! words: they can make the judgement stricter, and only without a word against it milder.

use portcullis_client::DescribedTool;

/// What a tool does, by harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Read,
    Write,
    Admin,
}

/// A judgement, and why a person should look again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) level: Level,
    pub(super) unsure: Option<&'static str>,
}

const READ: [&str; 32] = [
    "check",
    "compare",
    "count",
    "describe",
    "diff",
    "download",
    "explain",
    "export",
    "fetch",
    "find",
    "get",
    "health",
    "help",
    "info",
    "inspect",
    "list",
    "lookup",
    "peek",
    "ping",
    "preview",
    "query",
    "read",
    "retrieve",
    "search",
    "show",
    "stat",
    "status",
    "summarize",
    "tail",
    "validate",
    "version",
    "view",
];

const WRITE: [&str; 40] = [
    "add",
    "append",
    "apply",
    "archive",
    "assign",
    "book",
    "change",
    "close",
    "comment",
    "configure",
    "copy",
    "create",
    "edit",
    "enable",
    "import",
    "insert",
    "invite",
    "link",
    "make",
    "modify",
    "move",
    "new",
    "open",
    "patch",
    "post",
    "push",
    "put",
    "rename",
    "reply",
    "save",
    "schedule",
    "send",
    "set",
    "start",
    "submit",
    "tag",
    "update",
    "upload",
    "upsert",
    "write",
];

const ADMIN: [&str; 44] = [
    "admin",
    "approve",
    "ban",
    "cancel",
    "charge",
    "clear",
    "delete",
    "deploy",
    "destroy",
    "disable",
    "drop",
    "erase",
    "eval",
    "evaluate",
    "exec",
    "execute",
    "force",
    "grant",
    "impersonate",
    "kill",
    "merge",
    "overwrite",
    "pay",
    "publish",
    "purge",
    "reboot",
    "refund",
    "remove",
    "reset",
    "restart",
    "restore",
    "revoke",
    "rm",
    "rollback",
    "run",
    "shell",
    "shutdown",
    "sql",
    "stop",
    "sudo",
    "terminate",
    "transfer",
    "truncate",
    "wipe",
];

/// Whether the name says that it can do harm.
pub(crate) fn is_harmful(tool: &str) -> bool {
    words(tool).iter().any(|word| level_of(word) == Some(Level::Admin))
}

/// Whether the name says that it changes nothing.
pub(crate) fn is_harmless(tool: &str) -> bool {
    let known: Vec<Level> = words(tool).iter().filter_map(|word| level_of(word)).collect();
    !known.is_empty() && known.iter().all(|level| *level == Level::Read)
}

/// Judges by name and hints.
pub(super) fn judge(tool: &DescribedTool) -> Judged {
    let words = words(&tool.name);
    let known: Vec<Level> = words.iter().filter_map(|word| level_of(word)).collect();
    let by_name = known.iter().max().copied();
    let mixed = known.first().copied() != by_name;
    let sure = |level| Judged { level, unsure: None };
    let unsure = |level, why| Judged { level, unsure: Some(why) };
    match (by_name, tool.read_only, tool.destructive) {
        (None, Some(true), _) => unsure(Level::Read, "only its own hint says that it changes nothing"),
        (None, Some(false), Some(false)) => {
            unsure(Level::Write, "only its own hint says that it destroys nothing")
        }
        (None, None | Some(false), _) => {
            unsure(Level::Admin, "neither name nor hints say that it is harmless")
        }
        (Some(Level::Admin), _, _) if mixed => unsure(Level::Admin, "its name says more than one thing"),
        (Some(level), Some(true), _) if level > Level::Read => {
            unsure(level, "hints that it changes nothing; its name says otherwise")
        }
        (Some(level), Some(false), Some(true)) if level < Level::Admin => {
            unsure(Level::Admin, "hints that it destroys something")
        }
        (Some(Level::Read), Some(false), _) => unsure(Level::Write, "hints that it changes something"),
        (Some(Level::Write), _, _) if mixed => unsure(Level::Write, "its name says more than one thing"),
        (Some(level), _, _) => sure(level),
    }
}

fn level_of(word: &str) -> Option<Level> {
    let is_in = |list: &[&str]| list.contains(&word);
    if is_in(&ADMIN) {
        Some(Level::Admin)
    } else if is_in(&WRITE) {
        Some(Level::Write)
    } else if is_in(&READ) {
        Some(Level::Read)
    } else {
        None
    }
}

/// The words of a name: cut at what is no letter, and where a small letter is followed by a capital.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in name.chars() {
        let begins = !c.is_alphabetic() || (c.is_uppercase() && before.is_lowercase());
        if begins {
            words.push(String::new());
        }
        if c.is_alphabetic()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tool(name: &str, read_only: Option<bool>, destructive: Option<bool>) -> DescribedTool {
        DescribedTool { name: name.to_owned(), read_only, destructive, ..DescribedTool::default() }
    }

    fn level(name: &str) -> (Level, bool) {
        let judged = judge(&tool(name, None, None));
        (judged.level, judged.unsure.is_some())
    }

    #[test]
    fn pc_36_tools_are_grouped_by_their_verbs() {
        for (name, wanted, unsure) in [
            ("list_notes", Level::Read, false),
            ("getUser", Level::Read, false),
            ("notes.search", Level::Read, false),
            ("create_note", Level::Write, false),
            ("update-issue", Level::Write, false),
            ("delete_note", Level::Admin, false),
            ("restart", Level::Admin, false),
            ("get_or_create", Level::Write, true),
            ("list_and_purge", Level::Admin, true),
            ("frobnicate", Level::Admin, true),
            ("uptime", Level::Admin, true),
            ("", Level::Admin, true),
        ] {
            assert_eq!(level(name), (wanted, unsure), "{name}");
        }
    }

    #[test]
    fn pc_36_hints_make_it_stricter_and_never_overrule_a_name() {
        let of = |name, read_only, destructive| judge(&tool(name, read_only, destructive)).level;
        assert_eq!(of("delete_all", Some(true), Some(false)), Level::Admin);
        assert_eq!(of("create_x", Some(true), None), Level::Write);
        assert_eq!(of("list_x", Some(false), None), Level::Write);
        assert_eq!(of("list_x", Some(false), Some(true)), Level::Admin);
        assert_eq!(of("uptime", Some(true), None), Level::Read);
        assert_eq!(of("frob", Some(false), Some(false)), Level::Write);
    }

    proptest! {
        #[test]
        fn pc_36_no_hint_makes_a_verb_milder(name in "[a-z_]{0,20}", read in any::<Option<bool>>(), harm in any::<Option<bool>>()) {
            let words = words(&name);
            if let Some(by_name) = words.iter().filter_map(|word| level_of(word)).max() {
                prop_assert!(judge(&tool(&name, read, harm)).level >= by_name);
            }
        }
    }
}

//! Day one, and learning from the record: drafts of the fleet, the calls that were made, and what a change would do to them.

mod common;

#[cfg(test)]
mod tests {
    use crate::common::{Demo, Ran, portcullis, run};
    use serde_json::Value;
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    fn operator(data: &Path, arguments: &[&str]) -> Ran {
        run(portcullis().args(arguments).arg("--data").arg(data))
    }

    fn with_agent<'a>(demo: &Demo, command: &'a mut Command) -> &'a mut Command {
        let (id, secret) = demo.agent();
        command.env("PORTCULLIS_CLIENT_ID", id).env("PORTCULLIS_CLIENT_SECRET", secret)
    }

    #[track_caller]
    fn json(ran: &Ran, code: i32) -> Value {
        assert_eq!(ran.code(), code, "{ran:?}");
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// Two calls that are allowed and one that is refused.
    fn called(demo: &Demo) {
        let mut call = portcullis();
        let list = with_agent(demo, &mut call).args(["call", demo.server("notes"), "list_notes"]);
        assert_eq!((run(list).code(), run(list).code()), (0, 0));
        let mut call = portcullis();
        let create = with_agent(demo, &mut call).args(["call", demo.server("notes"), "create_note"]);
        assert_eq!(run(create).code(), 4);
    }

    fn exported(demo: &Demo) -> String {
        let exported = operator(&demo.data(), &["export"]);
        assert_eq!(exported.code(), 0, "{exported:?}");
        exported.stdout
    }

    /// Simulates a changed text of the fleet.
    fn simulated(demo: &Demo, fleet: &str) -> Ran {
        let file = demo.data().join("changed.toml");
        fs::write(&file, fleet).unwrap();
        operator(&demo.data(), &["policy", "simulate", file.to_str().unwrap(), "--json"])
    }

    #[test]
    fn pc_50_the_calls_that_were_decided_are_searched() {
        let demo = Demo::start();
        called(&demo);
        let of = |more: &[&str]| {
            let ran = operator(
                &demo.data(),
                &[&["audit", "calls", "--json", "--agent", "demo-agent"], more].concat(),
            );
            json(&ran, 0)["items"].as_array().unwrap().clone()
        };
        let tools = of(&["--tool", "list_notes"]);
        assert_eq!(tools.len(), 2);
        assert_eq!(
            (tools[0]["outcome"].as_str(), tools[0]["ended"]["how"].as_str()),
            (Some("allowed"), Some("answered"))
        );
        let refused = of(&["--outcome", "refused", "--tool", "create_note"]);
        assert_eq!((refused.len(), refused[0]["needed"].as_str()), (1, Some("notes:write")));
        assert!(of(&["--server", "ops"]).is_empty());
        assert!(of(&["--until", "2000-01-01T00:00:00Z"]).is_empty());
        let all: Vec<Value> = of(&[]);
        let first = json(
            &operator(&demo.data(), &["audit", "calls", "--json", "--agent", "demo-agent", "--limit", "1"]),
            0,
        );
        assert_eq!(first["items"][0], all[0], "the newest first");
        let next = first["next"].as_str().unwrap();
        let second = of(&["--limit", "1", "--cursor", next]);
        assert_eq!(second[0], all[1]);
        for (arguments, code) in [
            (&["audit", "calls", "--since", "yesterday"][..], 1),
            (&["audit", "calls", "--user", "nobody"], 1),
            (&["audit", "calls", "--cursor", "x"], 1),
            (&["audit", "calls", "--outcome", "maybe"], 2),
        ] {
            assert_eq!(operator(&demo.data(), arguments).code(), code, "{arguments:?}");
        }
        let table = operator(&demo.data(), &["audit", "calls"]);
        assert!(table.stdout.contains("refused (beyond_agent)"), "{}", table.stdout);
    }

    #[test]
    fn pc_26_an_unchanged_fleet_changes_nothing_and_a_changed_one_says_for_whom() {
        let demo = Demo::start();
        called(&demo);
        let fleet = exported(&demo);
        let same = json(&simulated(&demo, &fleet), 0);
        assert_eq!(same["changes"].as_array().unwrap().len(), 0, "{same}");
        assert_eq!(same["calls"], same["unchanged"]);
        assert!(same["calls"].as_u64().unwrap() >= 3);

        // The rule goes: what was called is refused.
        let narrowed = fleet.replace("\"list_notes\"", "\"other\"");
        assert_ne!(narrowed, fleet);
        let narrowed = json(&simulated(&demo, &narrowed), 2);
        let changes = narrowed["changes"].as_array().unwrap();
        let of = |member: &str| changes[0][member].as_str().unwrap_or_default();
        assert_eq!(changes.len(), 1, "{narrowed}");
        assert_eq!(
            (of("effect"), of("who"), of("server"), of("what"), of("after")),
            ("refused", "agent demo-agent", "notes", "list_notes", "no rule is about it")
        );
        assert_eq!(changes[0]["count"], 2);

        // Another scope opens what was refused.
        let widened = fleet.replace(
            "tools = [\"create_note\"]\nscopes = [\"notes:write\"]",
            "tools = [\"create_note\"]\nscopes = [\"notes:read\"]",
        );
        assert_ne!(widened, fleet);
        let widened = json(&simulated(&demo, &widened), 2);
        assert_eq!(widened["changes"][0]["effect"], "allowed", "{widened}");
        assert_eq!(widened["changes"][0]["what"], "create_note");

        let mistaken = simulated(&demo, "[[server]]\n");
        assert_eq!(mistaken.code(), 1);
        assert!(mistaken.stderr.contains("line 1"), "{mistaken:?}");
    }

    #[test]
    fn pc_26_what_is_suggested_refuses_nothing_that_was_called() {
        let demo = Demo::start();
        let none = json(&operator(&demo.data(), &["policy", "suggest", "--json"]), 0);
        assert_eq!(
            none["suggestions"].as_array().unwrap().len(),
            0,
            "nothing was called, nothing was learned"
        );
        called(&demo);
        let found = json(&operator(&demo.data(), &["policy", "suggest", "--json"]), 0);
        let all = found["suggestions"].as_array().unwrap();
        let about =
            |kind: &str, about: &str| all.iter().find(|one| one["kind"] == kind && one["about"] == about);
        assert!(about("uncalled_tools", "server notes rule 2").is_some(), "{found}");
        let role = about("unused_scopes", "role demo-people").unwrap();
        assert_eq!(role["toml"], "access = {}");
        assert!(about("unused_scopes", "agent demo-agent").is_none(), "it used all it has");
    }

    #[test]
    fn pc_36_a_program_is_drafted_and_the_draft_can_be_planned_as_it_is() {
        let demo = Demo::start();
        let folder = tempfile::tempdir().unwrap();
        let config =
            format!("[command.demo-ops]\nrun = [{:?}, \"demo-ops\"]\n", env!("CARGO_BIN_EXE_portcullis"));
        fs::write(folder.path().join("portcullis.toml"), config).unwrap();
        let add = |arguments: &[&str]| {
            run(portcullis()
                .current_dir(folder.path())
                .args(["server", "add", "--command", "demo-ops"])
                .args(arguments))
        };
        let drafted = add(&["--name", "ops-two", "--output", "draft.toml"]);
        assert_eq!(drafted.code(), 0, "{drafted:?}");
        assert!(drafted.stderr.contains("look again: uptime"), "{drafted:?}");
        let file = folder.path().join("draft.toml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            text.contains("tools = [\"restart\"]\nscopes = [\"ops-two:admin\"]\nrisk = \"high\""),
            "{text}"
        );
        assert_eq!(add(&["--output", "draft.toml"]).code(), 1, "what is there is not overwritten");
        assert_eq!(fs::read_to_string(&file).unwrap(), text);

        let fleet = folder.path().join("fleet.toml");
        fs::write(&fleet, exported(&demo)).unwrap();
        let before = fs::read_to_string(&fleet).unwrap();
        assert_eq!(add(&["--name", "ops", "--into", "fleet.toml"]).code(), 1, "the name is taken");
        assert_eq!(fs::read_to_string(&fleet).unwrap(), before);
        let into = add(&["--into", "fleet.toml"]);
        assert_eq!(into.code(), 0, "{into:?}");
        let planned = operator(&demo.data(), &["plan", fleet.to_str().unwrap()]);
        assert_eq!(planned.code(), 2, "{planned:?}");
        assert!(planned.stdout.contains("+ server demo-ops"), "{}", planned.stdout);
    }

    #[test]
    fn pc_36_a_server_behind_oauth_is_drafted_with_a_token_and_says_so_without() {
        let demo = Demo::start();
        let url = demo.server("notes");
        let folder = tempfile::tempdir().unwrap();
        let add = || {
            let mut command = portcullis();
            command.current_dir(folder.path()).args(["server", "add", url]);
            command
        };
        let refused = run(&mut add());
        assert_eq!(refused.code(), 1);
        assert!(refused.stderr.contains(&format!("its tokens come from {}", demo.issuer())), "{refused:?}");
        let mut token = portcullis();
        let token = run(with_agent(&demo, &mut token).args(["token", url]));
        assert_eq!(token.code(), 0, "{token:?}");
        let header = format!("Bearer {}", token.stdout.trim());
        let drafted =
            run(add().args(["--header-from", "Authorization=env:NOTES_AUTH"]).env("NOTES_AUTH", header));
        assert_eq!(drafted.code(), 0, "{drafted:?}");
        assert!(drafted.stdout.contains("tools = [\"list_notes\"]"), "{}", drafted.stdout);
        assert!(
            !drafted.stdout.contains(token.stdout.trim()) && !drafted.stderr.contains(token.stdout.trim())
        );
        assert_eq!(run(add().args(["--header-from", "Authorization=secret"])).code(), 2);
        let nobody = run(portcullis().args(["server", "add", "http://127.0.0.1:1/mcp"]));
        assert_eq!(nobody.code(), 1);
        assert!(nobody.stderr.contains("cannot reach"), "{nobody:?}");
    }

    #[test]
    fn pc_36_client_files_are_imported_and_their_secrets_stay_where_they_are() {
        let demo = Demo::start();
        let folder = tempfile::tempdir().unwrap();
        let file = r#"{"mcpServers": {"Git Hub": {"url": "https://gh.test/mcp", "headers": {"Authorization": "open-sesame"}},
            "files": {"command": "npx", "args": ["fs"], "env": {"TOKEN": "open-sesame"}}, "bad": {}}}"#;
        fs::write(folder.path().join("mcp.json"), file).unwrap();
        let import =
            |arguments: &[&str]| run(portcullis().current_dir(folder.path()).arg("import").args(arguments));
        let imported =
            import(&["mcp.json", "none.json", "--output", "fleet.toml", "--commands", "commands.toml"]);
        assert_eq!(imported.code(), 1, "not everything was drafted");
        for says in
            ["not drafted: mcp.json: bad", "not drafted: none.json", "TOKEN stood there in plain text"]
        {
            assert!(imported.stderr.contains(says), "{imported:?}");
        }
        let fleet = fs::read_to_string(folder.path().join("fleet.toml")).unwrap();
        let commands = fs::read_to_string(folder.path().join("commands.toml")).unwrap();
        assert!(!format!("{fleet}{commands}{}{}", imported.stdout, imported.stderr).contains("sesame"));
        let addresses: String = fleet
            .split("[[server]]")
            .filter(|part| !part.contains("command ="))
            .collect::<Vec<_>>()
            .join("[[server]]");
        let planned = folder.path().join("planned.toml");
        fs::write(&planned, addresses).unwrap();
        let planned = operator(&demo.data(), &["plan", planned.to_str().unwrap()]);
        assert!(planned.stdout.contains("+ server git-hub"), "{planned:?}");
        assert_eq!(import(&["mcp.json", "--output", "fleet.toml"]).code(), 1);
        assert_eq!(fs::read_to_string(folder.path().join("fleet.toml")).unwrap(), fleet, "not overwritten");
    }
}

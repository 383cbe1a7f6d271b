//! `portcullis token` and `portcullis call` against a running demo.

mod common;

#[cfg(test)]
mod tests {
    use crate::common::{Demo, Ran, Serving, portcullis, run};
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;
    use std::process::Command;

    /// With the agent's credentials in the environment.
    fn agent(demo: &Demo) -> Command {
        let (id, secret) = demo.agent();
        let mut command = portcullis();
        command.env("PORTCULLIS_CLIENT_ID", id).env("PORTCULLIS_CLIENT_SECRET", secret);
        command
    }

    fn token(demo: &Demo) -> String {
        let ran = run(agent(demo).args(["token", demo.server("notes")]));
        assert_eq!(ran.code(), 0, "{ran:?}");
        assert_eq!(ran.stdout.lines().count(), 1, "the token alone");
        ran.stdout.trim_end().to_owned()
    }

    fn call_with(token: &str, arguments: &[&str]) -> Ran {
        run(portcullis().arg("call").args(arguments).env("PORTCULLIS_TOKEN", token))
    }

    /// One or two lines that name the way out, and the promised code.
    fn refused(ran: &Ran, code: i32, says: &str) {
        assert_eq!(ran.code(), code, "{ran:?}");
        assert!(ran.stderr.contains(says), "{says:?} is not in {ran:?}");
        assert!(ran.stderr.lines().count() <= 2, "{ran:?}");
        assert!(ran.stdout.is_empty(), "{ran:?}");
    }

    #[test]
    fn pc_14_an_agent_gets_a_token_and_calls_and_the_same_token_is_refused_elsewhere() {
        let demo = Demo::start();
        let token = token(&demo);
        // By token from the environment, and by credentials.
        let called = call_with(&token, &[demo.server("notes"), "list_notes"]);
        assert_eq!(called.code(), 0, "{called:?}");
        assert!(!called.stdout.trim().is_empty());
        let called = run(agent(&demo).args(["call", demo.server("notes"), "list_notes", "--json"]));
        assert_eq!(called.code(), 0, "{called:?}");
        let result: serde_json::Value = serde_json::from_str(&called.stdout).unwrap();
        assert!(result["content"].is_array());

        // PC-01, AUD: good at `notes`, so at `ops` only the audience is wrong.
        let elsewhere = call_with(&token, &[demo.server("ops"), "uptime"]);
        refused(&elsewhere, 3, "401");
        // PC-23: what the call needs, by name.
        let beyond =
            call_with(&token, &[demo.server("notes"), "create_note", r#"{"title": "Milk", "text": "two"}"#]);
        refused(&beyond, 4, "notes:write");
        // And the token still works.
        assert_eq!(call_with(&token, &[demo.server("notes"), "list_notes"]).code(), 0);
    }

    #[test]
    fn pc_17_the_whole_answer_as_json_and_the_same_session_again() {
        let demo = Demo::start();
        let parse = |ran: &Ran| -> serde_json::Value { serde_json::from_str(&ran.stdout).unwrap() };
        let first =
            run(agent(&demo).args(["token", demo.server("notes"), "--json", "--scope", "notes:read"]));
        assert_eq!(first.code(), 0, "{first:?}");
        let first = parse(&first);
        assert_eq!(first["token_type"], "Bearer");
        assert_eq!(first["scope"], "notes:read");
        assert_eq!(first["expires_in"], 900);
        let session = first["session_id"].as_str().unwrap();
        let again = run(agent(&demo).args(["token", demo.server("notes"), "--json", "--session", session]));
        assert_eq!(again.code(), 0, "{again:?}");
        assert_eq!(parse(&again)["session_id"], first["session_id"]);
    }

    #[test]
    fn pc_63_refusals_of_the_authority_are_told_with_a_way_out() {
        let demo = Demo::start();
        token(&demo);
        let (id, _) = demo.agent();
        let wrong = run(portcullis()
            .args(["token", demo.server("notes")])
            .env("PORTCULLIS_CLIENT_ID", id)
            .env("PORTCULLIS_CLIENT_SECRET", "not-the-secret"));
        refused(&wrong, 3, "invalid_client");
        assert!(!wrong.stderr.contains("not-the-secret"));
        let beyond = run(agent(&demo).args(["token", demo.server("notes"), "--scope", "notes:write"]));
        refused(&beyond, 4, "invalid_scope");
        let elsewhere = run(agent(&demo).args(["token", demo.server("ops")]));
        assert_eq!(elsewhere.code(), 4, "{elsewhere:?}");
        let unknown = format!("{}/mcp/nowhere", demo.issuer());
        refused(&run(agent(&demo).args(["token", &unknown])), 5, "check the address");
        let garbage = call_with("garbage", &[demo.server("notes"), "list_notes"]);
        refused(&garbage, 3, "401");
    }

    #[test]
    fn pc_63_wrong_usage_is_told_before_anything_is_sent() {
        let nobody = "http://127.0.0.1:9/mcp/notes"; // RFC 863: the discard port; nothing is sent there
        for (arguments, says) in [
            (vec!["token"], "<URL>"),
            (vec!["token", "notes"], "absolute URL"),
            (vec!["token", "http://mcp.example.com/mcp/notes"], "https"),
            (vec!["token", "https://mcp.example.com/mcp/notes/"], "path"),
            (vec!["token", nobody, "--scope", "a b"], "scope"),
            (vec!["token", nobody], "PORTCULLIS_CLIENT_ID"),
            (vec!["token", nobody, "--credentials", "/nowhere/agent.json"], "/nowhere/agent.json"),
            (vec!["call", nobody], "<TOOL>"),
            (vec!["call", nobody, "list_notes", "[1]"], "JSON object"),
            (vec!["call", nobody, "list_notes", "--token-env", "NOT_SET_HERE"], "NOT_SET_HERE"),
            (vec!["call", nobody, "list_notes"], "PORTCULLIS_CLIENT_ID"),
        ] {
            let ran = run(portcullis().args(&arguments));
            assert_eq!(ran.code(), 2, "{arguments:?}: {ran:?}");
            assert!(ran.stderr.contains(says), "{arguments:?}: {ran:?}");
        }
        let half = run(portcullis().args(["token", nobody]).env("PORTCULLIS_CLIENT_ID", "a"));
        refused(&half, 2, "PORTCULLIS_CLIENT_SECRET is not");
        let elsewhere = run(portcullis().args(["server", "list", "--url", "http://127.0.0.1:9"]));
        refused(&elsewhere, 1, "no token for --url: set PORTCULLIS_TOKEN, or");
        let away = call_with("x", &[nobody, "list_notes"]);
        refused(&away, 5, "127.0.0.1:9");
    }

    #[test]
    fn pc_42_credentials_from_a_file_that_only_its_owner_can_read() {
        let demo = Demo::start();
        let facts: PathBuf = demo.data().join("demo.json");
        let mode = fs::metadata(&facts).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let path = facts.to_str().unwrap();
        let called = ["call", demo.server("notes"), "list_notes", "--credentials", path];
        let good = run(portcullis().args(called));
        assert_eq!(good.code(), 0, "{good:?}");
        fs::set_permissions(&facts, fs::Permissions::from_mode(0o644)).unwrap();
        refused(&run(portcullis().args(called)), 2, "chmod 600");
    }

    /// The first block of TOML in the page for users.
    fn documented_fleet() -> &'static str {
        let page = include_str!("../../../docs/tasks/protect-a-server.md");
        let (_, after) = page.split_once("```toml\n").unwrap();
        after.split_once("```").unwrap().0
    }

    #[test]
    fn pc_34_the_fleet_file_of_the_documentation_works_as_it_stands() {
        let serving = Serving::start(&["--fleet", "fleet.toml"], &[("fleet.toml", documented_fleet())]);
        let server = format!("{}/mcp/notes", serving.origin);
        let credentials = serving.data().join("../ci-bot.json");
        let credentials = ["--credentials", credentials.to_str().unwrap()];
        let token = run(portcullis().args(["token", &server]).args(credentials));
        assert_eq!(token.code(), 0, "{token:?}");
        // Its upstream is not there, and is said not to be; what is beyond the agent is refused before.
        let absent = run(portcullis().args(["call", &server, "list_notes"]).args(credentials));
        refused(&absent, 5, "server notes");
        let twice = run(portcullis().args(["token", &server, "--scope", "notes:write"]).args(credentials));
        refused(&twice, 4, "invalid_scope");
    }

    #[test]
    fn help_lists_the_exit_codes() {
        for command in ["token", "call"] {
            let ran = run(portcullis().args([command, "--help"]));
            assert_eq!(ran.code(), 0);
            assert!(ran.stdout.contains("Exit codes:") && ran.stdout.contains("unreachable"));
        }
    }
}

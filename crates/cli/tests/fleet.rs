//! The fleet commands against a running server, through its socket (PC-34).

mod common;

#[cfg(test)]
mod tests {
    use crate::common::{Ran, Serving, free_port, log, portcullis, run, until};
    use serde_json::Value;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::{Path, PathBuf};
    use std::process::{Child, Stdio};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    const FLEET: &str = r#"
[[server]]
name = "notes"
title = "Team notes"
upstream = { url = "http://127.0.0.1:9/mcp" }
[server.scopes]
"notes:read" = "Read notes"
[[server.rule]]
tools = ["list_*"]
scopes = ["notes:read"]

[[agent]]
name = "ci-bot"
owner = "platform"
access = { notes = ["notes:read"] }
"#;

    struct Operator {
        serving: Serving,
        files: tempfile::TempDir,
    }

    impl Operator {
        fn start() -> Self {
            Self { serving: Serving::start(&[], &[]), files: tempfile::tempdir().unwrap() }
        }

        fn file(&self, text: &str) -> PathBuf {
            let path = self.files.path().join("fleet.toml");
            fs::write(&path, text).unwrap();
            path
        }

        /// Runs a command with a fleet file, if there is one.
        fn run(&self, arguments: &[&str], fleet: Option<&str>) -> Ran {
            let mut command = portcullis();
            command.args(arguments).arg("--data").arg(self.serving.data());
            command.args(fleet.map(|text| self.file(text)));
            run(&mut command)
        }
    }

    #[test]
    fn pc_34_plan_apply_and_export_agree() {
        let operator = Operator::start();
        let socket = fs::metadata(operator.serving.data().join("admin.sock")).unwrap();
        assert_eq!(socket.permissions().mode() & 0o777, 0o600);

        let planned = operator.run(&["plan"], Some(FLEET));
        assert_eq!(planned.code(), 2, "{planned:?}");
        assert!(planned.stdout.contains("+ server notes\n+ agent ci-bot\n"), "{}", planned.stdout);
        assert_eq!(operator.run(&["plan"], Some(FLEET)).code(), 2, "planning changes nothing");

        let applied = operator.run(&["apply"], Some(FLEET));
        assert_eq!(applied.code(), 0, "{applied:?}");
        assert!(applied.stdout.contains("Applied: 2 added or changed, 0 removed"), "{}", applied.stdout);
        let planned = operator.run(&["plan"], Some(FLEET));
        assert_eq!((planned.code(), planned.stdout.lines().count()), (0, 1), "{}", planned.stdout);

        let export = operator.run(&["export"], None);
        assert_eq!(export.code(), 0, "{export:?}");
        assert_eq!(operator.run(&["plan"], Some(&export.stdout)).code(), 0, "{}", export.stdout);
        let file = operator.files.path().join("out.toml");
        let to_file = operator.run(&["export", "--output", file.to_str().unwrap()], None);
        assert_eq!((to_file.code(), to_file.stdout.as_str()), (0, ""));
        assert_eq!(fs::read_to_string(file).unwrap(), export.stdout);
    }

    #[test]
    fn pc_34_nothing_is_taken_away_that_nobody_agreed_to() {
        let operator = Operator::start();
        assert_eq!(operator.run(&["apply"], Some(FLEET)).code(), 0);
        let narrower = FLEET.replace("access = { notes = [\"notes:read\"] }", "");
        let refused = operator.run(&["apply"], Some(&narrower));
        assert_eq!(refused.code(), 1, "{refused:?}");
        assert!(refused.stdout.contains("! agent ci-bot: loses notes:read on notes"), "{}", refused.stdout);
        assert!(refused.stderr.contains("--yes"), "{}", refused.stderr);
        assert_eq!(operator.run(&["plan"], Some(FLEET)).code(), 0, "nothing was changed");

        let applied = operator.run(&["apply", "--yes", "--json"], Some(&narrower));
        assert_eq!(applied.code(), 0, "{applied:?}");
        let said: Value = serde_json::from_str(&applied.stdout).unwrap();
        assert_eq!(said["applied"]["put"], 1);
        assert_eq!(said["plan"]["narrowed"][0]["whose"], "agent ci-bot");
        let planned = operator.run(&["plan", "--json"], Some(&narrower));
        assert_eq!(planned.code(), 0);
        assert_eq!(serde_json::from_str::<Value>(&planned.stdout).unwrap()["takes_away"], false);
    }

    #[test]
    fn pc_36_policy_explain_answers_in_a_sentence() {
        let operator = Operator::start();
        assert_eq!(operator.run(&["apply"], Some(FLEET)).code(), 0);
        let explain = |more: &[&str]| operator.run(&[&["policy", "explain"], more].concat(), None);
        let ask = ["--agent", "ci-bot", "--server", "notes", "--tool"];
        let yes = explain(&[&ask[..], &["list_all"]].concat());
        assert_eq!(yes.code(), 0, "{yes:?}");
        assert!(yes.stdout.starts_with("allowed: ") && yes.stdout.contains("rule 1"), "{}", yes.stdout);
        let no = explain(&[&ask[..], &["drop", "--json"]].concat());
        assert_eq!(serde_json::from_str::<Value>(&no.stdout).unwrap()["allowed"], false);
        let nobody = explain(&["--user", "nobody", "--server", "notes", "--tool", "x"]);
        assert_eq!(nobody.code(), 1);
        assert!(nobody.stderr.contains("there is no user \"nobody\""), "{}", nobody.stderr);
        assert_eq!(explain(&["--server", "notes", "--tool", "x"]).code(), 2, "somebody must be named");
    }

    #[test]
    fn pc_63_mistakes_have_lines_and_no_server_is_said_so() {
        let operator = Operator::start();
        let bad = FLEET.replace("scopes = [\"notes:read\"]", "scopes = [\"notes:raed\"]");
        for command in [&["plan"][..], &["apply", "--yes"]] {
            let refused = operator.run(command, Some(&bad));
            assert_eq!(refused.code(), 1, "{refused:?}");
            assert!(refused.stderr.contains("line 10: "), "{}", refused.stderr);
        }
        let missing = operator.run(&["plan", "/no/such/file.toml"], None);
        assert_eq!(missing.code(), 1);
        assert!(missing.stderr.contains("/no/such/file.toml"), "{}", missing.stderr);
        let elsewhere = run(portcullis().args(["export", "--data"]).arg(operator.files.path()));
        assert_eq!(elsewhere.code(), 1);
        assert!(elsewhere.stderr.contains("start `portcullis serve --data"), "{}", elsewhere.stderr);
    }

    #[test]
    fn pc_63_every_kind_of_mistake_is_named_at_once_and_nothing_is_applied() {
        let operator = Operator::start();
        let bad = r#"
[[server]]
name = "a"
canonical_uri = "https://a.example/x"
upstream = { command = "rm" }
[server.scopes]
"r" = "Read"
[[server.rule]]
tools = ["*"]
scopes = ["r"]
[[server.rule]]
tools = ["list"]
scopes = ["r"]
[[server.rule]]
tools = ["get"]
scopes = ["x"]
[[server]]
name = "b"
canonical_uri = "https://A.example:443/X"
mode = "direct"
[[agent]]
name = "one"
owner = "o"
expires = "soon"
credential = { secret = { deliver = "file:/run/one" } }
access = { nothere = ["r"] }
[[client]]
name = "two"
owner = "o"
redirect_uris = ["http://client.example/cb"]
auth = "secret"
credential = { secret = { deliver = "file:/run/./one" } }
[[client]]
name = "three"
owner = "o"
redirect_uris = ["https://client.example/cb"]
auth = "secret"
credential = { secret = { deliver = "file:CHANGEME" } }
"#;
        for command in [&["plan"][..], &["apply", "--yes"]] {
            let refused = operator.run(command, Some(bad));
            assert_eq!(refused.code(), 1, "{refused:?}");
            for (line, says) in [
                (5, "no program \"rm\""),
                (12, "\"list\" of rule 2 has no effect"),
                (16, "does not declare the scope \"x\""),
                (19, "can be confused"),
                (24, "expires is a date like"),
                (26, "there is no server \"nothere\""),
                (30, "a redirect URI is"),
                (32, "delivered to this file too"),
                (38, "placeholder"),
            ] {
                let told = refused
                    .stderr
                    .lines()
                    .any(|told| told.contains(&format!("line {line}: ")) && told.contains(says));
                assert!(told, "line {line}, {says:?}: {}", refused.stderr);
            }
        }
        assert!(!operator.run(&["export"], None).stdout.contains("[[server]]"), "nothing was applied");
    }

    #[test]
    fn pc_34_a_plan_names_what_is_cut_off_and_what_ends_soon() {
        let operator = Operator::start();
        assert_eq!(operator.run(&["apply"], Some(FLEET)).code(), 0);
        let disabled = FLEET.replace("owner = \"platform\"", "owner = \"platform\"\ndisabled = true");
        let planned = operator.run(&["plan"], Some(&disabled));
        assert_eq!(planned.code(), 2, "{planned:?}");
        for line in [
            "    disabled: (not set) -> true",
            "! agent ci-bot: loses notes:read on notes",
            "! agent ci-bot: can no longer call list_* on notes",
        ] {
            assert!(planned.stdout.lines().any(|told| told == line), "{line}: {}", planned.stdout);
        }
        assert_eq!(operator.run(&["apply"], Some(&disabled)).code(), 1, "it takes something away");
        assert_eq!(operator.run(&["apply", "--yes"], Some(&disabled)).code(), 0);
        let listed = operator.run(&["agent", "list"], None);
        assert!(listed.stdout.contains("disabled"), "{}", listed.stdout);
        let over = FLEET.replace("owner = \"platform\"", "owner = \"platform\"\nexpires = 2020-01-31");
        let planned = operator.run(&["plan"], Some(&over));
        assert!(planned.stdout.contains("? agent ci-bot: its time is over"), "{}", planned.stdout);
    }

    /// A server that can be killed; it dies with this value.
    struct Mortal(Child);

    impl Drop for Mortal {
        fn drop(&mut self) {
            let _killed = self.0.kill();
            let _reaped = self.0.wait();
        }
    }

    impl Mortal {
        fn start(folder: &Path, address: &str) -> Self {
            let child = portcullis()
                .args(["serve", "--data", "data", "--listen", address])
                .current_dir(folder)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log("fleet-kill"))
                .spawn()
                .unwrap();
            let mortal = Self(child);
            until("it serves", || (on(folder, &["export"]).code() == 0).then_some(()));
            mortal
        }
    }

    fn on(folder: &Path, arguments: &[&str]) -> Ran {
        run(portcullis().current_dir(folder).args(arguments).args(["--data", "data"]))
    }

    #[test]
    fn pc_61_kill_9_during_an_apply_leaves_the_old_fleet_or_the_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        // Many things, so that an apply is many statements.
        let many = |count: usize| -> String {
            let server = |at: usize| {
                FLEET[..FLEET.find("[[agent]]").unwrap()].replace("\"notes\"", &format!("\"s{at}\""))
            };
            (0..count).map(server).collect()
        };
        fs::write(folder.join("a.toml"), FLEET).unwrap();
        fs::write(folder.join("b.toml"), many(60)).unwrap();
        // The same each time: default addresses of servers lie below it.
        let address = format!("127.0.0.1:{}", free_port());
        let begun = Mortal::start(folder, &address);
        assert_eq!(on(folder, &["apply", "a.toml"]).code(), 0);
        drop(begun);
        for round in 0..4 {
            let mut server = Mortal::start(folder, &address);
            let done = AtomicUsize::new(0);
            thread::scope(|scope| {
                scope.spawn(|| {
                    for file in ["b.toml", "a.toml"].iter().cycle() {
                        if on(folder, &["apply", "--yes", file]).code() != 0 {
                            return;
                        }
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                });
                // Whatever the next one is doing then.
                until("applies are under way", || (done.load(Ordering::SeqCst) > round).then_some(()));
                server.0.kill().unwrap();
            });
            drop(server);
            let _again = Mortal::start(folder, &address);
            let plans = ["a.toml", "b.toml"].map(|file| on(folder, &["plan", file]));
            let codes = plans.each_ref().map(Ran::code);
            assert!(codes == [0, 2] || codes == [2, 0], "round {round}: {codes:?}\n{}", plans[0].stdout);
        }
    }
}

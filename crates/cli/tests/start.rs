//! Starting and ending the real binary (PC-60, PC-63): what goes well, and what stops it with a clear message.

mod common;

#[cfg(test)]
mod tests {
    use crate::common::http::{self, Answer};
    use crate::common::{Ran, free_port, log, portcullis, run, until};
    use serde_json::Value;
    use sqlx::{Connection as _, Executor as _};
    use std::collections::BTreeSet;
    use std::fs;
    use std::net::TcpListener;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::process::{Child, Command, ExitStatus, Stdio};

    /// A server on a folder of the test's choice.
    struct Running {
        child: Child,
        address: String,
    }

    fn serve(data: &Path, address: &str) -> Command {
        let mut command = portcullis();
        command.args(["serve", "--listen", address, "--data"]).arg(data).stdin(Stdio::null());
        command.current_dir(data.parent().unwrap());
        command
    }

    fn free_address() -> String {
        format!("127.0.0.1:{}", free_port())
    }

    impl Running {
        fn start(command: &mut Command, address: &str, printed: &Path) -> Self {
            Self::logging(command.stderr(log("start")), address, printed)
        }

        /// Where its errors go is the command's.
        fn logging(command: &mut Command, address: &str, printed: &Path) -> Self {
            let out = fs::File::create(printed).unwrap();
            let child = command.stdout(out).spawn().unwrap();
            let mut running = Self { child, address: address.to_owned() };
            until("the server is up", || {
                assert!(running.child.try_wait().unwrap().is_none(), "it ended at its start");
                let printed = fs::read_to_string(printed).unwrap();
                (printed.contains("Console") && running.get("/oauth/jwks")?.status == 200).then_some(())
            });
            running
        }

        fn get(&self, path: &str) -> Option<Answer> {
            http::get(&format!("http://{}{path}", self.address))
        }

        fn signal(&self, name: &str) {
            let asked = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
            assert!(asked.unwrap().success());
        }

        fn ended(&mut self) -> ExitStatus {
            until("the server has ended", || self.child.try_wait().unwrap())
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            let _ended = self.child.kill();
            let _reaped = self.child.wait();
        }
    }

    fn refused(ran: &Ran, says: &[&str]) {
        assert_eq!(ran.code(), 1, "{ran:?}");
        for says in says {
            assert!(ran.stderr.contains(says), "{says:?} is not in {ran:?}");
        }
        assert!(ran.stdout.is_empty(), "{ran:?}");
    }

    #[test]
    fn pc_63_a_port_in_use_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        refused(&run(&mut serve(&data, &address)), &[&address, "in use", "--listen"]);
        assert!(!data.exists());
    }

    #[test]
    fn dos_09_the_limit_of_open_files_is_raised() {
        let folder = tempfile::tempdir().unwrap();
        let address = free_address();
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"ulimit -Sn 300; exec "$0" "$@""#, env!("CARGO_BIN_EXE_portcullis")])
            .args(["serve", "--listen", &address, "--data", "data"])
            .stdin(Stdio::null())
            .current_dir(folder.path());
        let running = Running::start(&mut command, &address, &folder.path().join("printed"));
        let limits = fs::read_to_string(format!("/proc/{}/limits", running.child.id())).unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        let limits: Vec<&str> = line.split_whitespace().take(2).collect();
        assert_eq!(limits[0], limits[1], "soft and hard");
    }

    #[test]
    fn pc_63_a_data_folder_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let data = file.join("data");
        let mut command = serve(&data, &free_address());
        command.current_dir(folder.path());
        refused(&run(&mut command), &[data.to_str().unwrap(), "--data"]);
    }

    #[test]
    fn a_file_is_no_data_folder_and_help_tells_the_exit_codes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        refused(&run(&mut serve(&file, &free_address())), &["is a file, not a folder", "--data"]);
        for command in ["serve", "config"] {
            let ran = run(portcullis().args([command, "--help"]));
            assert!(ran.stdout.contains("Exit codes:"), "{command}");
        }
    }

    #[test]
    fn pc_63_an_unknown_key_is_told_with_line_and_nearest_key() {
        let folder = tempfile::tempdir().unwrap();
        let config = "[tokens]\n\nacess = \"15m\"\n[limit]\n";
        fs::write(folder.path().join("portcullis.toml"), config).unwrap();
        let data = folder.path().join("data");
        let ran = run(&mut serve(&data, &free_address()));
        refused(
            &ran,
            &["portcullis.toml", "line 3: tokens.acess", "\"access\"", "line 4: limit", "\"limits\""],
        );
        assert!(!data.exists());
        let absent = run(serve(&data, &free_address()).args(["--config", "absent.toml"]));
        refused(&absent, &["absent.toml"]);
    }

    #[test]
    fn def_02_the_demo_and_plain_http_stay_on_this_machine() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let address = format!("0.0.0.0:{}", free_port());
        refused(&run(serve(&data, &address).arg("--demo")), &["loopback", &address]);
        refused(&run(&mut serve(&data, &address)), &["public_url", "https"]);
        assert!(!data.exists());
    }

    #[test]
    fn key_08_a_key_file_that_others_can_read_or_that_is_gone_stops_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let address = free_address();
        let mut running = Running::start(&mut serve(&data, &address), &address, &folder.path().join("out"));
        running.signal("TERM");
        assert!(running.ended().success());
        let key = data.join("master.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        refused(&run(&mut serve(&data, &address)), &["master.key", "0644", "chmod 600"]);
        fs::remove_file(&key).unwrap();
        refused(&run(&mut serve(&data, &address)), &["master.key", "backup"]);
        assert!(!key.exists(), "never a silent new key");
    }

    #[tokio::test]
    async fn pc_63_a_database_of_a_newer_version_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let address = free_address();
        let mut running = Running::start(&mut serve(&data, &address), &address, &folder.path().join("out"));
        running.signal("INT");
        assert!(running.ended().success());
        let url = format!("sqlite:{}", data.join("portcullis.db").display());
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        let future = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                      VALUES (999999, 'of the future', TRUE, X'00', 0)";
        connection.execute(future).await.unwrap();
        connection.close().await.unwrap();
        refused(&run(&mut serve(&data, &address)), &["999999", "newer"]);
    }

    #[test]
    fn a_data_folder_has_one_server_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let address = free_address();
        let running = Running::start(&mut serve(&data, &address), &address, &folder.path().join("out"));
        refused(&run(&mut serve(&data, &free_address())), &["another running portcullis", "--data"]);
        assert_eq!(running.get("/oauth/jwks").unwrap().status, 200, "the first one is not disturbed");
    }

    #[test]
    fn the_first_password_is_printed_once() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let address = free_address();
        let printed = folder.path().join("out");
        let mut shown = Vec::new();
        for _ in 0..2 {
            let mut running = Running::start(&mut serve(&data, &address), &address, &printed);
            running.signal("TERM");
            assert!(running.ended().success());
            shown.push(fs::read_to_string(&printed).unwrap().matches("pcp_").count());
            // Whoever copies the one file then has everything.
            let log = fs::metadata(data.join("portcullis.db-wal"));
            assert_eq!(log.map_or(0, |log| log.len()), 0);
        }
        assert_eq!(shown, [1, 0]);
    }

    #[test]
    fn a_first_password_that_nobody_could_read_is_no_password() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let address = free_address();
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut unread = serve(&data, &address).stdout(full).stderr(log("start")).spawn().unwrap();
        let status = until("it ended", || unread.try_wait().unwrap());
        assert_eq!(status.code(), Some(1));
        let printed = folder.path().join("out");
        let _running = Running::start(&mut serve(&data, &address), &address, &printed);
        assert_eq!(fs::read_to_string(&printed).unwrap().matches("pcp_").count(), 1);
    }

    #[test]
    fn the_demo_leaves_the_data_of_others_alone() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let address = free_address();
        let mut own = Running::start(&mut serve(&data, &address), &address, &folder.path().join("out"));
        own.signal("INT");
        assert!(own.ended().success());
        refused(&run(serve(&data, &address).arg("--demo")), &["not made by the demo", "--data"]);
        assert!(!data.join("demo.json").exists());
        let again = Running::start(&mut serve(&data, &address), &address, &folder.path().join("again"));
        assert_eq!(again.get("/oauth/jwks").unwrap().status, 200, "what was there is as it was");
    }

    #[test]
    fn nobody_serves_others_on_the_data_of_the_demo() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let address = free_address();
        let out = folder.path().join("out");
        for _ in 0..2 {
            let mut demo = Running::start(serve(&data, &address).arg("--demo"), &address, &out);
            demo.signal("INT");
            assert!(demo.ended().success());
            refused(&run(&mut serve(&data, &address)), &["belongs to the demo", "demo.json", "--data"]);
        }
    }

    #[test]
    fn the_demo_warns_of_nobody_that_it_is_about_to_make() {
        let folder = tempfile::tempdir().unwrap();
        let address = free_address();
        let (printed, logged) = (folder.path().join("out"), folder.path().join("log"));
        let mut demo = serve(&folder.path().join("data"), &address);
        demo.arg("--demo").stderr(fs::File::create(&logged).unwrap());
        let _running = Running::logging(&mut demo, &address, &printed);
        let logged = fs::read_to_string(logged).unwrap();
        assert!(!logged.is_empty() && !logged.contains("there is no user"), "{logged}");
    }

    fn keys(value: &Value) -> BTreeSet<&str> {
        value.as_object().unwrap().keys().map(String::as_str).collect()
    }

    #[test]
    fn demo_json_is_private_and_has_the_shape_that_scripts_read() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let address = free_address();
        let printed = folder.path().join("out");
        let start = || Running::start(serve(&data, &address).arg("--demo"), &address, &printed);
        let facts =
            || -> Value { serde_json::from_slice(&fs::read(data.join("demo.json")).unwrap()).unwrap() };
        let mut running = start();
        let first = facts();
        for file in ["demo.json", "agent.json", "master.key"] {
            let mode = fs::metadata(data.join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        let top = ["issuer", "console", "admin", "user", "agent", "introspector", "servers"];
        assert_eq!(keys(&first), BTreeSet::from(top));
        assert_eq!(first["issuer"], format!("http://{address}"));
        assert_eq!(first["console"], format!("http://{address}/console"));
        for person in ["admin", "user"] {
            assert_eq!(keys(&first[person]), BTreeSet::from(["username", "password"]));
        }
        assert_eq!(keys(&first["agent"]), BTreeSet::from(["client_id", "client_secret", "access"]));
        assert_eq!(first["agent"]["access"], serde_json::json!({"notes": ["notes:read"]}));
        assert_eq!(keys(&first["introspector"]), BTreeSet::from(["client_id", "client_secret"]));
        assert_eq!(
            first["servers"],
            serde_json::json!([
                {"name": "notes", "url": format!("http://{address}/mcp/notes"),
                 "tools": {"list_notes": ["notes:read"], "create_note": ["notes:write"]}},
                {"name": "ops", "url": format!("http://{address}/mcp/ops"),
                 "tools": {"uptime": ["ops:read"], "restart": ["ops:admin"]}},
            ])
        );
        let agent: Value = serde_json::from_slice(&fs::read(data.join("agent.json")).unwrap()).unwrap();
        assert_eq!(keys(&agent), BTreeSet::from(["client_id", "client_secret", "issuer"]));
        assert_eq!(agent["issuer"], first["issuer"], "the secret says whom it may be shown to");
        assert!(agent["client_secret"] == first["agent"]["client_secret"]);
        // Again: the same credentials.
        running.signal("INT");
        assert!(running.ended().success());
        let mut running = start();
        assert!(facts() == first, "a restart keeps every credential");
        // Lost: made anew, for the same accounts and agents.
        running.signal("INT");
        running.ended();
        fs::remove_file(data.join("demo.json")).unwrap();
        fs::remove_file(data.join("agent.json")).unwrap();
        let _running = start();
        let reset = facts();
        assert!(reset["user"]["password"] != first["user"]["password"]);
        assert_eq!(reset["agent"]["client_id"], first["agent"]["client_id"]);
        assert!(reset["agent"]["client_secret"] != first["agent"]["client_secret"]);
        assert!(reset["introspector"] == first["introspector"]);
    }

    #[test]
    fn pc_63_a_fleet_file_that_is_not_right_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::write(folder.path().join("fleet.toml"), "[[server]]\nname = \"Notes\"\n").unwrap();
        let ran = run(serve(&data, &free_address()).args(["--fleet", "fleet.toml"]));
        refused(&ran, &["fleet.toml", "line 2"]);
        assert!(!data.exists());
    }
}

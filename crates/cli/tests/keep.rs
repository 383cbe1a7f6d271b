//! `kill -9` at any point of a restore or an apply: what was, or what is to be, never between; and whatever a delivered file
//! holds counts.

mod common;

#[cfg(test)]
mod tests {
    use crate::common::{Ran, free_port, http, log, portcullis, run, until};
    use portcullis_store::testing::TestDatabase;
    use serde_json::Value;
    use std::collections::BTreeSet;
    use std::fmt::Write as _;
    use std::fs;
    use std::path::Path;
    use std::process::{Child, Stdio};
    use std::time::Duration;

    /// A folder with a configuration, and a database of the engine that this run is about.
    struct Place {
        folder: tempfile::TempDir,
        address: String,
        _database: TestDatabase,
    }

    struct Mortal(Child);

    impl Drop for Mortal {
        fn drop(&mut self) {
            let _killed = self.0.kill();
            let _reaped = self.0.wait();
        }
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let database = tokio::runtime::Runtime::new().unwrap().block_on(TestDatabase::create());
            let address = format!("127.0.0.1:{}", free_port());
            let config = format!("database.url = {:?}\nlisten.address = {address:?}\n", database.url());
            fs::write(folder.path().join("portcullis.toml"), config).unwrap();
            Self { folder, address, _database: database }
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.folder.path().join(name)
        }

        fn serve(&self, arguments: &[&str]) -> Mortal {
            let child = portcullis()
                .current_dir(self.folder.path())
                .args(["serve", "--data", "data"])
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log("keep"))
                .spawn()
                .unwrap();
            let mut server = Mortal(child);
            let url = format!("http://{}/oauth/jwks", self.address);
            until("the server is up", || {
                assert!(server.0.try_wait().unwrap().is_none(), "the server ended at its start");
                http::get(&url).is_some_and(|answer| answer.status == 200).then_some(())
            });
            server
        }

        fn run(&self, arguments: &[&str]) -> Ran {
            run(portcullis().current_dir(self.folder.path()).args(arguments).args(["--data", "data"]))
        }

        fn begin(&self, arguments: &[&str]) -> Mortal {
            let mut command = portcullis();
            command.current_dir(self.folder.path()).args(arguments).args(["--data", "data"]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log("keep"));
            Mortal(command.spawn().unwrap())
        }

        /// Everything in the database but what differs between two restores of one backup.
        fn content(&self) -> BTreeSet<String> {
            let _old = fs::remove_file(self.path("now"));
            let ran = self.run(&["backup", "now"]);
            assert_eq!(ran.code(), 0, "{ran:?}");
            let text = fs::read_to_string(self.path("now")).unwrap();
            text.lines().skip(1).filter(|line| !line.contains("sha256")).map(str::to_owned).collect()
        }

        /// Kills it after a while.
        fn kill_within(&self, arguments: &[&str], wait: Duration) -> bool {
            let mut restore = self.begin(arguments);
            wait_for(wait);
            let finished = restore.0.try_wait().unwrap().is_some();
            restore.0.kill().unwrap();
            restore.0.wait().unwrap();
            finished
        }
    }

    #[expect(clippy::disallowed_methods, reason = "another process shall get so far, and no further")]
    fn wait_for(time: Duration) {
        std::thread::sleep(time);
    }

    /// Servers and agents whose names begin with `prefix`; the agents' secrets go into `folder`.
    fn fleet(prefix: &str, count: usize, folder: &Path) -> String {
        let mut text = String::new();
        for n in 0..count {
            let path = folder.join(format!("{prefix}-{n}.json"));
            let _infallible = write!(
                text,
                "[[server]]\nname = \"{prefix}-{n}\"\nupstream = {{ url = \"http://127.0.0.1:9/{n}\" }}\n\
                 [server.scopes]\n\"s:read\" = \"Read\"\n[[server.rule]]\ntools = [\"list_*\"]\nscopes = [\"s:read\"]\n\
                 [[agent]]\nname = \"{prefix}-{n}\"\nowner = \"o\"\naccess = {{ {prefix}-{n} = [\"s:read\"] }}\n\
                 credential = {{ secret = {{ deliver = \"file:{}\" }} }}\n",
                path.display()
            );
        }
        text
    }

    #[test]
    fn pc_61_kill_9_at_any_point_of_a_restore_leaves_the_old_or_the_new() {
        let place = Place::new();
        fs::write(place.path("a.toml"), fleet("alpha", 60, place.folder.path())).unwrap();
        fs::write(place.path("b.toml"), fleet("beta", 60, place.folder.path())).unwrap();
        let server = place.serve(&["--fleet", "a.toml"]);
        assert_eq!(place.run(&["backup", "a.backup"]).code(), 0, "while it serves");
        let refused = place.run(&["restore", "a.backup", "--replace", "--yes"]);
        assert_eq!(refused.code(), 1, "not while it serves");
        assert!(refused.stderr.contains("used by another running portcullis"), "{refused:?}");
        drop(server);
        drop(place.serve(&["--fleet", "b.toml"]));
        let kept = fs::read_to_string(place.path("a.backup")).unwrap();
        let servers: Vec<&str> = kept.lines().filter(|line| line.contains("alpha-")).collect();
        assert!(servers.len() >= 120);
        let mut before = place.content();
        let (mut old, mut new) = (0, 0);
        for round in 0..14 {
            let wait = Duration::from_millis(25 * round);
            let finished = place.kill_within(&["restore", "a.backup", "--replace", "--yes"], wait);
            let now = place.content();
            if now == before {
                assert!(!finished);
                old += 1;
                continue;
            }
            new += 1;
            assert!(
                servers.iter().all(|line| now.contains(*line) || line.contains("\"session\"")),
                "round {round}: all of it"
            );
            assert!(!now.iter().any(|line| line.contains("beta-")), "round {round}: nothing else");
            assert!(
                now.iter().any(|line| line.contains("database.restored")),
                "round {round}: and it is recorded"
            );
            // Back to the other state, for the next round.
            let replaced = fs::read_dir(place.path("data")).unwrap().flatten();
            for file in replaced.filter(|file| file.file_name().to_string_lossy().starts_with("replaced-")) {
                fs::remove_file(file.path()).unwrap();
            }
            drop(place.serve(&["--fleet", "b.toml"]));
            before = place.content();
        }
        assert!(old > 0, "it was killed in time at least once");
        let last = place.run(&["restore", "a.backup", "--replace", "--yes"]);
        assert_eq!(last.code(), 0, "{last:?}");
        assert!(new > 0 || place.content() != before);
        drop(place.serve(&[]));
    }

    /// What `doctor` says of delivered secrets.
    fn wrong_secrets(place: &Place) -> Vec<String> {
        let said = place.run(&["doctor", "--json"]);
        let said: Value = serde_json::from_str(&said.stdout).unwrap();
        let findings = said["findings"].as_array().unwrap().iter();
        let wrong = findings.filter(|finding| {
            finding["level"] != "ok" && finding["what"].as_str().unwrap().starts_with("secret of")
        });
        wrong.map(ToString::to_string).collect()
    }

    #[test]
    fn pc_34_kill_9_at_any_point_of_an_apply_leaves_files_that_count() {
        let place = Place::new();
        let count = 100;
        fs::write(place.path("a.toml"), fleet("alpha", count, place.folder.path())).unwrap();
        fs::write(place.path("b.toml"), fleet("beta", count, place.folder.path())).unwrap();
        drop(place.serve(&["--fleet", "a.toml"]));
        let mut target = "b.toml";
        for round in 0..6 {
            let server = place.serve(&[]);
            let mut apply = place.begin(&["apply", "--yes", target]);
            wait_for(Duration::from_millis(60 + 90 * round));
            drop(server); // SIGKILL
            apply.0.kill().unwrap();
            drop(apply);
            let again = place.serve(&[]);
            let codes = ["a.toml", "b.toml"].map(|file| place.run(&["plan", file]).code());
            assert!(codes == [0, 2] || codes == [2, 0], "round {round}: {codes:?}");
            assert_eq!(wrong_secrets(&place), Vec::<String>::new(), "round {round}");
            target = if codes[0] == 0 { "b.toml" } else { "a.toml" };
            drop(again);
        }
    }

    /// Level and words of what `doctor` says about a thing.
    fn said_of(place: &Place, what: &str) -> Vec<(String, String)> {
        let said: Value = serde_json::from_str(&place.run(&["doctor", "--json"]).stdout).unwrap();
        let findings = said["findings"].as_array().unwrap().iter();
        let about = findings.filter(|finding| finding["what"].as_str().unwrap().starts_with(what));
        let text = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
        about.map(|finding| (text(finding, "level"), text(finding, "says"))).collect()
    }

    #[test]
    fn doctor_names_what_is_wrong_changes_nothing_and_shows_no_secret() {
        use std::os::unix::fs::PermissionsExt as _;
        let place = Place::new();
        let first = place.run(&["doctor"]);
        assert_eq!(first.code(), 1, "before the first start there are warnings only: {}", first.stdout);
        assert!(!place.path("data").exists());
        fs::write(place.path("a.toml"), fleet("alpha", 1, place.folder.path())).unwrap();
        let server = place.serve(&["--fleet", "a.toml"]);
        let level =
            |what: &str| said_of(&place, what).iter().map(|(level, _)| level.clone()).collect::<Vec<_>>();
        for good in [
            "configuration",
            "data folder",
            "master key",
            "database",
            "clock",
            "keys",
            "server",
            "address",
            "public",
        ] {
            assert_eq!(level(good), ["ok"], "{good}");
        }
        assert_eq!(level("upstream of alpha-0"), ["problem"], "nobody is there");
        assert_eq!(level("backup"), ["warning"]);
        assert_eq!(place.run(&["backup", "b"]).code(), 0);
        assert_eq!(level("backup"), ["ok"]);
        let file = place.path("alpha-0.json");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(level("secret of agent alpha-0"), ["problem"]);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let credentials: Value = serde_json::from_str(&text).unwrap();
        let secret = credentials["client_secret"].as_str().unwrap();
        fs::write(&file, text.replace(secret, "another")).unwrap();
        assert!(said_of(&place, "secret of")[0].1.contains("does not authenticate"));
        fs::remove_file(&file).unwrap();
        assert_eq!(level("secret of agent alpha-0"), ["warning"]);
        let all = place.run(&["doctor"]);
        assert_eq!(all.code(), 2);
        assert!(!all.stdout.contains(secret) && !all.stdout.contains("another\""));
        drop(server);
        let key = place.path("data").join("master.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(level("master key"), ["problem"]);
        assert_eq!(level("data folder"), ["problem"]);
        assert_eq!(level("server"), ["warning"]);
        fs::write(place.path("portcullis.toml"), "nonsense = 1\nlisten.address = \"x\"\n").unwrap();
        assert_eq!(level("configuration"), ["problem", "problem"]);
    }

    #[test]
    fn doctor_misses_no_program_that_the_demo_brings_along() {
        let place = Place::new();
        let _server = place.serve(&["--demo"]);
        assert_eq!(said_of(&place, "database")[0].0, "ok");
        assert_eq!(said_of(&place, "server ops"), []);
    }

    #[test]
    fn def_05_a_hangup_ends_no_server() {
        let place = Place::new();
        let mut server = place.serve(&[]);
        let hangup = || {
            let mut kill = std::process::Command::new("kill");
            assert!(kill.args(["-s", "HUP", &server.0.id().to_string()]).status().unwrap().success());
        };
        for _ in 0..3 {
            hangup();
            assert_eq!(place.run(&["export"]).code(), 0);
        }
        assert!(server.0.try_wait().unwrap().is_none());
    }

    #[test]
    fn pc_34_a_fleet_file_is_applied_again_when_it_changes() {
        let place = Place::new();
        let path = place.path("fleet.toml");
        fs::write(&path, fleet("alpha", 1, place.folder.path())).unwrap();
        let server = place.serve(&["--fleet", "fleet.toml"]);
        let has = |name: &str| place.run(&["export"]).stdout.contains(&format!("name = \"{name}\""));
        assert!(has("alpha-0") && !has("alpha-1"));
        fs::write(&path, fleet("alpha", 2, place.folder.path())).unwrap();
        until("the change is applied", || has("alpha-1").then_some(()));
        // A bad one changes nothing, and the server goes on.
        fs::write(&path, "[[server]]\nname = 1\n").unwrap();
        let reload = || {
            let mut kill = std::process::Command::new("kill");
            assert!(kill.args(["-s", "HUP", &server.0.id().to_string()]).status().unwrap().success());
        };
        reload();
        assert!(has("alpha-1"));
        // What was changed otherwise is undone by the file, when it is asked for.
        let good = fleet("alpha", 2, place.folder.path());
        fs::write(&path, &good).unwrap();
        fs::write(place.path("other.toml"), fleet("alpha", 3, place.folder.path())).unwrap();
        until("the good file is taken", || {
            let applied = place.run(&["apply", "--yes", "other.toml"]);
            assert_eq!(applied.code(), 0, "{applied:?}");
            reload();
            (0..20).any(|_| !has("alpha-2")).then_some(())
        });
        assert!(has("alpha-1"));
    }

    #[test]
    fn pc_34_a_fleet_file_that_is_broken_is_said_until_it_is_mended() {
        let place = Place::new();
        let ops = format!("127.0.0.1:{}", free_port());
        let config = fs::read_to_string(place.path("portcullis.toml")).unwrap();
        fs::write(place.path("portcullis.toml"), format!("{config}listen.ops = {ops:?}\n")).unwrap();
        let path = place.path("fleet.toml");
        let good = fleet("alpha", 1, place.folder.path());
        fs::write(&path, &good).unwrap();
        let server = place.serve(&["--fleet", "fleet.toml"]);
        let page = |path: &str| {
            let answer = http::get(&format!("http://{ops}{path}")).unwrap();
            assert_eq!(answer.status, 200, "it serves as before, so it is ready");
            answer.body
        };
        let warnings =
            || serde_json::from_str::<Value>(&page("/readyz")).unwrap()["warnings"].as_array().unwrap().len();
        let level = || said_of(&place, "fleet file").into_iter().map(|(level, _)| level).collect::<Vec<_>>();
        assert_eq!((warnings(), level()), (0, vec!["ok".to_owned()]));
        assert!(page("/metrics").contains("portcullis_fleet_file_applied 1\n"));

        fs::write(&path, "[[server]]\nname = 1\n").unwrap();
        until("it is said", || (warnings() == 1).then_some(()));
        assert!(page("/metrics").contains("portcullis_fleet_file_applied 0\n"));
        assert_eq!(level(), ["problem"]);
        assert!(said_of(&place, "fleet file")[0].1.contains("line 2"), "with the line");
        let recorded = || {
            let ran =
                place.run(&["audit", "search", "--kind", "fleet.applied", "--outcome", "refused", "--json"]);
            assert_eq!(ran.code(), 0, "{ran:?}");
            ran.stdout.matches("fleet.toml").count()
        };
        assert_eq!(recorded(), 1);

        // What was there before is right again, without a change of the fleet; and a file that is gone is said too.
        fs::write(&path, &good).unwrap();
        until("it is mended", || (warnings() == 0).then_some(()));
        assert_eq!(level(), ["ok"]);
        fs::remove_file(&path).unwrap();
        until("it is missed", || (warnings() == 1).then_some(()));
        fs::write(&path, &good).unwrap();
        until("it is back", || (warnings() == 0).then_some(()));
        assert_eq!(recorded(), 2, "once each time, not at every look");
        drop(server);
        assert_eq!(level(), Vec::<String>::new(), "nobody follows it now");
    }

    /// A collector that takes everything: what came to it, path and body together.
    fn collector() -> (String, std::sync::Arc<std::sync::Mutex<Vec<u8>>>) {
        use std::io::{BufRead as _, BufReader, Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let kept = std::sync::Arc::clone(&seen);
        let serve = move |stream: std::net::TcpStream| {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            loop {
                let (mut head, mut line, mut length) = (String::new(), String::new(), 0);
                while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                    if let Some((name, value)) = line.split_once(':')
                        && name.eq_ignore_ascii_case("content-length")
                    {
                        length = value.trim().parse().unwrap();
                    }
                    head += &line;
                    line.clear();
                }
                let mut body = vec![0; length];
                if head.is_empty() || reader.read_exact(&mut body).is_err() {
                    return;
                }
                kept.lock().unwrap().extend([head.as_bytes(), &body].concat());
                let _gone = (&stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            }
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serve = serve.clone();
                std::thread::spawn(move || serve(stream));
            }
        });
        (address, seen)
    }

    #[test]
    fn pc_43_54_log_lines_reach_the_collector_and_no_secret_does() {
        let place = Place::new();
        let (address, seen) = collector();
        let config = fs::read_to_string(place.path("portcullis.toml")).unwrap();
        fs::write(place.path("portcullis.toml"), format!("{config}telemetry.otlp = {address:?}\n")).unwrap();
        fs::write(place.path("fleet.toml"), fleet("alpha", 1, place.folder.path())).unwrap();
        let server = place.serve(&["--fleet", "fleet.toml"]);
        let credentials = fs::read_to_string(place.path("alpha-0.json")).unwrap();
        let credentials: Value = serde_json::from_str(&credentials).unwrap();
        let secret = credentials["client_secret"].as_str().unwrap();
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={secret}&scope=s:read&resource=http://{}/mcp/alpha-0",
            credentials["client_id"].as_str().unwrap(),
            place.address
        );
        let answer = http::post(
            &format!("http://{}/oauth/token", place.address),
            "application/x-www-form-urlencoded",
            &form,
        );
        assert_eq!(answer.status, 200);
        let token: Value = serde_json::from_str(&answer.body).unwrap();
        let token = token["access_token"].as_str().unwrap();
        let has = |what: &str| {
            let seen = seen.lock().unwrap();
            seen.windows(what.len()).any(|window| window == what.as_bytes())
        };
        until("what was logged at the start is there", || {
            (has("POST /v1/logs") && has("fleet applied") && has("serving")).then_some(())
        });
        until("and the request's span, so that what came before it came too", || {
            (has("POST /v1/traces") && has("POST /oauth/token")).then_some(())
        });
        drop(server);
        for secret in [secret, token, token.rsplit('.').next().unwrap()] {
            assert!(!has(secret), "one of the secrets was delivered");
        }
    }
}

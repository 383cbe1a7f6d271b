//! A gateway that runs alone (PC-62), as its operator runs it: two processes, an enrolment file, and `kill -9`.

mod common;

#[cfg(test)]
mod tests {
    use crate::common::http::{self, Answer, form};
    use crate::common::{Demo, Ran, free_port, log, portcullis, run, until};
    use serde_json::{Value, json};
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::{Path, PathBuf};
    use std::process::{Child, Stdio};

    /// `serve --role gateway`; killed with this value.
    struct Alone {
        child: Child,
        address: String,
        ops: String,
    }

    impl Alone {
        fn start(folder: &Path, more: &[&str]) -> Self {
            let [address, ops] = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
            let config = format!("[listen]\nops = {ops:?}\n[gateway]\nmax_staleness = \"1h\"\n");
            fs::write(folder.join("portcullis.toml"), config).unwrap();
            let child = portcullis()
                .current_dir(folder)
                .args(["serve", "--role", "gateway", "--listen", &address, "--data", "data"])
                .args(more)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log("alone"))
                .spawn()
                .unwrap();
            let mut alone = Self { child, address, ops: format!("http://{ops}") };
            until("the gateway is ready", || {
                assert!(alone.child.try_wait().unwrap().is_none(), "the gateway ended at its start");
                (alone.ready()?.status == 200).then_some(())
            });
            alone
        }

        fn ready(&self) -> Option<Answer> {
            http::get(&format!("{}/readyz", self.ops))
        }

        /// One call at the server's own address, sent to this process.
        fn call(&self, url: &str, token: &str, tool: &str) -> u16 {
            let bearer = format!("Bearer {token}");
            let headers = [
                ("Authorization", bearer.as_str()),
                ("Content-Type", "application/json"),
                ("Accept", "application/json, text/event-stream"),
                ("MCP-Protocol-Version", "2026-07-28"),
                ("Mcp-Method", "tools/call"),
                ("Mcp-Name", tool),
            ];
            let meta = json!({
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            });
            let body = json!({
                "jsonrpc": "2.0", "id": 1, "method": "tools/call",
                "params": { "name": tool, "arguments": {}, "_meta": meta },
            });
            http::send_to(&self.address, "POST", url, &headers, &body.to_string()).unwrap().status
        }

        fn kill(mut self) {
            self.child.kill().unwrap(); // SIGKILL
            self.child.wait().unwrap();
        }
    }

    impl Drop for Alone {
        fn drop(&mut self) {
            let _killed = self.child.kill();
            let _reaped = self.child.wait();
        }
    }

    fn gateway(demo: &Demo, arguments: &[&str]) -> Ran {
        run(portcullis().arg("gateway").args(arguments).arg("--data").arg(demo.data()))
    }

    fn token(demo: &Demo, resource: &str) -> String {
        let (id, secret) = demo.agent();
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", id),
            ("client_secret", secret),
            ("resource", resource),
        ];
        let url = format!("{}/oauth/token", demo.issuer());
        let answer = http::post(&url, "application/x-www-form-urlencoded", &form(&fields));
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// What the control room shows of the calls at the gateway.
    fn calls(demo: &Demo) -> Vec<Value> {
        let command = ["audit", "calls", "--json", "--gateway", "far", "--data"];
        let ran = run(portcullis().args(command).arg(demo.data()));
        assert_eq!(ran.code(), 0, "{ran:?}");
        serde_json::from_str::<Value>(&ran.stdout).unwrap()["items"].as_array().unwrap().clone()
    }

    fn enrolled(demo: &Demo, folder: &Path) -> (Alone, PathBuf) {
        let file = folder.join("far.json");
        let added = gateway(demo, &["add", "far", "--servers", "notes", "--to", file.to_str().unwrap()]);
        assert_eq!(added.code(), 0, "{added:?}");
        assert!(!added.stdout.contains("pce_"), "the secret is in the file only");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        (Alone::start(folder, &["--enrol", file.to_str().unwrap()]), file)
    }

    #[test]
    fn pc_62_an_operator_enrols_a_gateway_and_kill_9_loses_no_record() {
        let (demo, folder) = (Demo::start(), tempfile::tempdir().unwrap());
        let (alone, file) = enrolled(&demo, folder.path());
        let notes = demo.server("notes").to_owned();
        let token = token(&demo, &notes);
        assert_eq!(alone.call(&notes, &token, "list_notes"), 200);
        assert_eq!(alone.call(&notes, &token, "create_note"), 403);
        assert_eq!(alone.call(demo.server("ops"), &token, "uptime"), 404, "not its server");
        assert_eq!(alone.call(&notes, "garbage", "list_notes"), 401);
        let listed: Value = serde_json::from_str(&gateway(&demo, &["list", "--json"]).stdout).unwrap();
        let far = &listed["items"][0];
        assert_eq!(
            (&far["name"], &far["state"], &far["connected"]),
            (&json!("far"), &json!("enrolled"), &json!(true))
        );

        alone.kill();
        // The file is spent, and not needed.
        fs::remove_file(file).unwrap();
        let again = Alone::start(folder.path(), &[]);
        assert_eq!(again.call(&notes, &token, "list_notes"), 200);
        until("every call is in the control room", || (calls(&demo).len() >= 3).then_some(()));
        let told = calls(&demo);
        assert_eq!(told.len(), 3, "each once: {told:?}");
        assert!(told.iter().all(|call| call["gateway"] == "far"));

        let removed = gateway(&demo, &["remove", "far", "--yes"]);
        assert_eq!(removed.code(), 0, "{removed:?}");
        until("it serves nobody any more", || {
            (again.call(&notes, &token, "list_notes") == 503).then_some(())
        });
        until("it says why", || {
            again.ready().filter(|said| said.status == 503 && said.body.contains("was removed")).map(drop)
        });
    }

    #[test]
    fn pc_63_what_a_gateway_cannot_be_is_said_and_nothing_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let serve = |more: &[&str]| {
            let command = ["serve", "--role", "gateway", "--listen", "127.0.0.1:0", "--data", "data"];
            run(portcullis().current_dir(folder.path()).args(command).args(more))
        };
        for (more, code, says) in [
            (&[][..], 1, "holds no identity of a gateway"),
            (&["--enrol", "none.json"], 1, "cannot read or write none.json"),
            (&["--demo"], 2, "cannot be used with"),
            (&["--fleet", "x.toml"], 2, "--fleet is the control room's"),
            (&["--control", "http://example.com"], 2, "must be https"),
        ] {
            let ran = serve(more);
            assert!(ran.code() == code && ran.stderr.contains(says), "{more:?}: {ran:?}");
        }
        fs::write(folder.path().join("bad.json"), "{}").unwrap();
        let ran = serve(&["--enrol", "bad.json"]);
        assert!(ran.code() == 1 && ran.stderr.contains("is no enrolment file"), "{ran:?}");
        let other = run(portcullis().current_dir(folder.path()).args(["serve", "--enrol", "bad.json"]));
        assert!(other.code() == 2 && other.stderr.contains("are for --role gateway"), "{other:?}");

        // Everything that has no place there, at once; and nobody who answers at the address of the file.
        let enrolment = json!({
            "issuer": format!("http://127.0.0.1:{}", free_port()), "gateway": "gtw_00000000000000000000000000000001",
            "name": "far", "secret": "pce_x", "expires": "2027-01-01T00:00:00Z",
        });
        fs::write(folder.path().join("good.json"), enrolment.to_string()).unwrap();
        let config = "public_url = \"https://mcp.example.com\"\n[database]\nurl = \"sqlite:x\"\n[tokens]\naccess = \"5m\"\n";
        fs::write(folder.path().join("portcullis.toml"), config).unwrap();
        let ran = serve(&["--enrol", "good.json"]);
        for key in ["line 1: public_url", "database", "tokens"] {
            assert!(ran.code() == 1 && ran.stderr.contains(key), "{key}: {ran:?}");
        }
        fs::write(folder.path().join("portcullis.toml"), "[listen]\nops = \"off\"\n").unwrap();
        let ran = serve(&["--enrol", "good.json"]);
        assert!(ran.code() == 1 && ran.stderr.contains("cannot be reached"), "{ran:?}");
    }
}

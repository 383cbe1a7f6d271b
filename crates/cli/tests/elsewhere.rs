//! The command line against a deployment elsewhere, with `--url` and a token or client credentials: over TCP, as one process
//! to another.

mod common;

#[cfg(test)]
mod tests {
    use crate::common::{Ran, Serving, portcullis, run, until};
    use serde_json::Value;
    use std::fmt::Write as _;
    use std::fs;

    /// More than one page has.
    const ROLES: usize = 501;

    /// An agent that administers, one that only looks, and one that may do nothing here.
    fn fleet(folder: &str) -> String {
        let mut fleet = r#"
[[server]]
name = "notes"
title = "Team notes"
upstream = { url = "http://127.0.0.1:9/mcp" }
[server.scopes]
"notes:read" = "Read notes"
[[server.rule]]
tools = ["list_*"]
scopes = ["notes:read"]
"#
        .to_owned();
        let agents = [
            ("operator", "portcullis = [\"admin:write\"]"),
            ("reader", "portcullis = [\"admin:read\"]"),
            ("bot", "notes = [\"notes:read\"]"),
        ];
        for (name, access) in agents {
            write!(
                fleet,
                "\n[[agent]]\nname = \"{name}\"\nowner = \"platform\"\naccess = {{ {access} }}\n\
                 credential = {{ secret = {{ deliver = \"file:{folder}/{name}.json\" }} }}\n"
            )
            .unwrap();
        }
        for number in 0..ROLES {
            write!(
                fleet,
                "\n[[role]]\nname = \"role-{number:03}\"\nmembers = {{ users = [\"dana\"] }}\n\
                 access = {{ notes = [\"notes:read\"] }}\n"
            )
            .unwrap();
        }
        fleet
    }

    struct Elsewhere {
        serving: Serving,
        files: tempfile::TempDir,
    }

    impl Elsewhere {
        fn start() -> Self {
            let (serving, files) = (Serving::start(&[], &[]), tempfile::tempdir().unwrap());
            let elsewhere = Self { serving, files };
            let file = elsewhere.fleet(&fleet(elsewhere.files.path().to_str().unwrap()));
            until("there is a socket", || elsewhere.serving.data().join("admin.sock").exists().then_some(()));
            let applied = run(portcullis().args(["apply", &file, "--data"]).arg(elsewhere.serving.data()));
            assert_eq!(applied.code(), 0, "{applied:?}");
            elsewhere
        }

        fn fleet(&self, text: &str) -> String {
            let path = self.files.path().join("fleet.toml");
            fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        }

        fn credentials(&self, agent: &str) -> [String; 2] {
            let file = fs::read(self.files.path().join(format!("{agent}.json"))).unwrap();
            let read: Value = serde_json::from_slice(&file).unwrap();
            ["client_id", "client_secret"].map(|name| read[name].as_str().unwrap().to_owned())
        }

        fn with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
            let mut command = portcullis();
            command.args(arguments).args(["--url", &self.serving.origin]);
            run(command.envs(variables.iter().copied()))
        }

        fn as_agent(&self, agent: &str, arguments: &[&str]) -> Ran {
            let [id, secret] = self.credentials(agent);
            self.with(&[("PORTCULLIS_CLIENT_ID", &id), ("PORTCULLIS_CLIENT_SECRET", &secret)], arguments)
        }
    }

    #[test]
    fn pc_63_an_operator_administers_from_elsewhere() {
        let elsewhere = Elsewhere::start();
        let listed = elsewhere.as_agent("operator", &["role", "list", "--json"]);
        assert_eq!(listed.code(), 0, "{listed:?}");
        let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
        assert_eq!(listed["items"].as_array().unwrap().len(), ROLES, "every page of it");

        let added = elsewhere.as_agent("operator", &["user", "add", "dana"]);
        assert_eq!((added.code(), added.stdout.matches("pcp_").count()), (0, 1), "{added:?}");
        let shown = elsewhere.as_agent("reader", &["user", "show", "dana"]);
        assert_eq!(shown.code(), 0, "{shown:?}");

        // The same with a token.
        let [id, secret] = elsewhere.credentials("reader");
        let credentials = [("PORTCULLIS_CLIENT_ID", id.as_str()), ("PORTCULLIS_CLIENT_SECRET", &secret)];
        let mut command = portcullis();
        command.args(["token", &format!("{}/api/v1", elsewhere.serving.origin)]);
        let token = run(command.envs(credentials));
        assert_eq!(token.code(), 0, "{token:?}");
        let token = token.stdout.trim();
        let listed = elsewhere.with(&[("PORTCULLIS_TOKEN", token)], &["user", "list"]);
        assert!(listed.code() == 0 && listed.stdout.contains("dana"), "{listed:?}");

        // What only owners do is told by the plan, and refused.
        let text = fleet(elsewhere.files.path().to_str().unwrap());
        let file = elsewhere.fleet(&text.replace("[\"admin:read\"]", "[\"admin:write\"]"));
        let planned = elsewhere.as_agent("operator", &["plan", &file]);
        assert_eq!(planned.code(), 2, "{planned:?}");
        assert!(planned.stdout.contains("x this needs an owner: agent reader"), "{}", planned.stdout);
        let applied = elsewhere.as_agent("operator", &["apply", &file, "--yes"]);
        assert_eq!(applied.code(), 1, "{applied:?}");
        assert!(applied.stderr.contains("an administrator has to do this"), "{applied:?}");
    }

    #[test]
    fn adm_01_who_may_not_is_told_why_and_changes_nothing() {
        let elsewhere = Elsewhere::start();
        let [id, secret] = elsewhere.credentials("operator");
        let [_, other] = elsewhere.credentials("bot");
        let add = ["user", "add", "mallory"];
        for (variables, arguments) in [
            // A wrong token, a wrong secret, nobody, and half of it.
            (vec![("PORTCULLIS_TOKEN", "garbage")], &add[..]),
            (vec![("PORTCULLIS_CLIENT_ID", &*id), ("PORTCULLIS_CLIENT_SECRET", &*other)], &add),
            (vec![], &add),
            (vec![("PORTCULLIS_CLIENT_ID", &*id)], &add),
        ] {
            let refused = elsewhere.with(&variables, arguments);
            assert!(refused.code() != 0 && refused.stdout.is_empty(), "{refused:?}");
            assert!(refused.stderr.starts_with("error: "), "{refused:?}");
            assert!(!refused.stderr.contains(&secret) && !refused.stderr.contains(&other));
        }
        for agent in ["reader", "bot"] {
            let refused = elsewhere.as_agent(agent, &add);
            assert!(refused.code() != 0 && refused.stdout.is_empty(), "{agent}: {refused:?}");
        }
        let nowhere = run(portcullis()
            .args(["user", "list", "--url", "http://127.0.0.1:9"])
            .env("PORTCULLIS_TOKEN", "garbage"));
        assert!(nowhere.code() != 0 && nowhere.stdout.is_empty(), "{nowhere:?}");
        let listed = elsewhere.as_agent("operator", &["user", "list"]);
        assert!(listed.code() == 0 && !listed.stdout.contains("mallory"), "{listed:?}");
    }
}

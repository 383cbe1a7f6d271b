//! People, agents and sessions from the command line, against a running server.

mod common;

#[cfg(test)]
mod tests {
    use crate::common::http::{form, get, send};
    use crate::common::person::header;
    use crate::common::{Demo, Ran, Serving, portcullis, run, until};
    use serde_json::Value;
    use std::path::Path;

    fn operator(data: &Path, arguments: &[&str]) -> Ran {
        run(portcullis().args(arguments).arg("--data").arg(data))
    }

    /// The administrator's password is printed before it counts.
    fn administered(serving: &Serving) {
        until("there is an administrator", || {
            let listed = operator(&serving.data(), &["user", "list"]);
            listed.stdout.lines().any(|line| line.starts_with("admin ")).then_some(())
        });
    }

    #[track_caller]
    fn json(ran: &Ran) -> Value {
        assert_eq!(ran.code(), 0, "{ran:?}");
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// Signs in; what the account page then shows, or `None` if the password is wrong.
    fn account(origin: &str, name: &str, password: &str) -> Option<String> {
        let page = get(&format!("{origin}/login")).unwrap();
        let visit = header(&page, "set-cookie").unwrap();
        let flow = page.body.split("name=\"flow\" value=\"").nth(1).unwrap().split('"').next().unwrap();
        let fields = form(&[("flow", flow), ("username", name), ("password", password)]);
        let headers = [
            ("Cookie", visit.split(';').next().unwrap()),
            ("Origin", origin),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ];
        let answer = send("POST", &format!("{origin}/login"), &headers, &fields).unwrap();
        if answer.status != 303 {
            return None;
        }
        let cookies: Vec<&str> = answer
            .head
            .lines()
            .filter_map(|line| {
                line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"))
            })
            .map(|(_, value)| value.split(';').next().unwrap())
            .collect();
        let signed_in = [("Cookie", cookies.join("; "))];
        let signed_in: Vec<(&str, &str)> = signed_in.iter().map(|(n, v)| (*n, v.as_str())).collect();
        Some(send("GET", &format!("{origin}/account"), &signed_in, "").unwrap().body)
    }

    #[test]
    fn pc_44_a_user_who_was_added_signs_in_and_must_choose_a_password() {
        let serving = Serving::start(&[], &[]);
        administered(&serving);
        let data = serving.data();
        let added = operator(&data, &["user", "add", "dana", "--group", "ops", "--group", "dev"]);
        assert_eq!((added.code(), added.stdout.matches("pcp_").count()), (0, 1), "{added:?}");
        assert!(!added.stderr.contains("pcp_"));
        let password = added.stdout.lines().last().unwrap();
        let page = account(&serving.origin, "dana", password).expect("she is signed in");
        assert!(page.contains("new_password"), "and must choose one of her own");

        let listed = operator(&data, &["user", "list"]);
        assert!(
            listed.stdout.contains("dana   no     must choose a password  ops, dev\n"),
            "{}",
            listed.stdout
        );
        for (arguments, code, says) in [
            (&["user", "add", "dana"][..], 1, "never given again"),
            (&["user", "add", "a b"], 1, "a user name is"),
            (&["user", "password", "nobody"], 1, "no user"),
            (&["user", "remove", "dana"], 1, "--yes"),
            (&["user", "remove", "admin", "--yes"], 1, "last administrator"),
            (&["user", "add"], 2, "NAME"),
        ] {
            let refused = operator(&data, arguments);
            assert_eq!((refused.code(), refused.stdout.as_str()), (code, ""), "{refused:?}");
            assert!(refused.stderr.contains(says), "{refused:?}");
        }
        assert_eq!(operator(&data, &["user", "remove", "dana", "--yes"]).code(), 0);
        assert!(account(&serving.origin, "dana", password).is_none());
    }

    #[test]
    fn a_lost_administrator_is_recovered() {
        let serving = Serving::start(&[], &[]);
        let printed = serving.printed("pcp_");
        let lost = printed.split_whitespace().find(|word| word.starts_with("pcp_")).unwrap();
        administered(&serving);
        assert!(account(&serving.origin, "admin", lost).is_some());
        let reset = json(&operator(&serving.data(), &["user", "password", "admin", "--json"]));
        assert!(account(&serving.origin, "admin", lost).is_none());
        let page = account(&serving.origin, "admin", reset["password"].as_str().unwrap()).unwrap();
        assert!(page.contains("new_password"));
    }

    /// Gets a token, or says with which code that failed.
    fn token(demo: &Demo, secret: &str) -> Result<Value, i32> {
        let mut command = portcullis();
        command.env("PORTCULLIS_CLIENT_ID", demo.agent().0).env("PORTCULLIS_CLIENT_SECRET", secret);
        let ran = run(command.args(["token", demo.server("notes"), "--json"]));
        if ran.code() == 0 { Ok(json(&ran)) } else { Err(ran.code()) }
    }

    fn call(demo: &Demo, token: &Value) -> Ran {
        let token = token["access_token"].as_str().unwrap();
        run(portcullis().args(["call", demo.server("notes"), "list_notes"]).env("PORTCULLIS_TOKEN", token))
    }

    #[test]
    fn pc_45_the_token_of_a_revoked_session_gets_401() {
        let demo = Demo::start();
        let [one, other] = [(); 2].map(|()| token(&demo, demo.agent().1).unwrap());
        assert_eq!(call(&demo, &one).code(), 0);
        let id = one["session_id"].as_str().unwrap();
        let listed = operator(&demo.data(), &["session", "list"]);
        assert!(listed.stdout.contains(id), "{}", listed.stdout);
        let revoked = operator(&demo.data(), &["session", "revoke", id, "--yes"]);
        assert_eq!(revoked.code(), 0, "{revoked:?}");
        let refused = call(&demo, &one);
        assert_eq!(refused.code(), 3, "{refused:?}");
        assert!(refused.stderr.contains("401"), "{refused:?}");
        assert_eq!(call(&demo, &other).code(), 0, "and no other");
        assert_eq!(operator(&demo.data(), &["session", "revoke", id, "--yes"]).code(), 1, "once");
    }

    #[test]
    fn pc_14_a_rotated_agent_has_both_secrets_in_the_overlap_and_one_without() {
        let demo = Demo::start();
        let listed = json(&operator(&demo.data(), &["agent", "list", "--json"]));
        let name = listed["items"][0]["name"].as_str().unwrap();
        let old = demo.agent().1.to_owned();
        let mut secrets = vec![old];
        for arguments in [&["--overlap", "1h"][..], &["--now"]] {
            let rotated =
                json(&operator(&demo.data(), &[&["agent", "rotate", name, "--json"], arguments].concat()));
            let file = std::fs::read(rotated["delivered_to"].as_str().unwrap()).unwrap();
            let delivered: Value = serde_json::from_slice(&file).unwrap();
            let new = delivered["client_secret"].as_str().unwrap().to_owned();
            assert!(token(&demo, &new).is_ok());
            for secret in &secrets {
                let still = token(&demo, secret);
                if arguments == ["--now"] {
                    assert_eq!(still.err(), Some(3));
                } else {
                    assert!(still.is_ok());
                }
            }
            secrets.push(new);
        }
    }
}

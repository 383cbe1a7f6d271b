//! `kill -9` during traffic, and a restart (PC-61): every token that was handed out still works, every retired refresh
//! token is still recognised.

mod common;

#[cfg(test)]
mod tests {
    use crate::common::http::{self, form};
    use crate::common::person::{Person, register, token};
    use crate::common::{free_port, log, pause, portcullis, until};
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use portcullis_store::testing::TestDatabase;
    use serde_json::Value;
    use std::fs;
    use std::path::Path;
    use std::process::{Child, Stdio};
    use std::thread;

    struct Server {
        child: Child,
        facts: Value,
    }

    impl Server {
        fn start(folder: &Path, address: &str, database: &TestDatabase) -> Self {
            let data = folder.join("data");
            let config = format!("tokens.refresh_grace = \"5m\"\ndatabase.url = {:?}\n", database.url());
            fs::write(folder.join("portcullis.toml"), config).unwrap();
            let child = portcullis()
                .args(["serve", "--demo", "--listen", address, "--data"])
                .arg(&data)
                .current_dir(folder)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log("kill"))
                .spawn()
                .unwrap();
            let mut server = Self { child, facts: Value::Null };
            until("the demo is up", || {
                assert!(server.child.try_wait().unwrap().is_none(), "the demo ended at its start");
                server.facts = serde_json::from_slice(&fs::read(data.join("demo.json")).ok()?).ok()?;
                (http::get(&format!("http://{address}/oauth/jwks"))?.status == 200).then_some(())
            });
            server
        }

        fn text(&self, pointer: &str) -> &str {
            self.facts.pointer(pointer).and_then(Value::as_str).unwrap()
        }

        /// Whether the authority still believes an access token.
        fn believes(&self, token: &str) -> bool {
            let pair = ["/introspector/client_id", "/introspector/client_secret"].map(|name| self.text(name));
            let basic = URL_SAFE_NO_PAD.encode(pair.join(":")).replace('-', "+").replace('_', "/");
            let padded = format!("Basic {basic}{}", "=".repeat((4 - basic.len() % 4) % 4));
            let headers =
                [("Authorization", padded.as_str()), ("Content-Type", "application/x-www-form-urlencoded")];
            let url = format!("{}/oauth/introspect", self.text("/issuer"));
            let answer = http::send("POST", &url, &headers, &form(&[("token", token)])).unwrap();
            assert_eq!(answer.status, 200);
            answer.json()["active"] == true
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            let _killed = self.child.kill();
            let _reaped = self.child.wait();
        }
    }

    /// What one client was handed.
    #[derive(Default)]
    struct Handed {
        access: Vec<String>,
        refresh: Vec<String>,
    }

    impl Handed {
        fn take(&mut self, answer: &Value) {
            self.access.push(answer["access_token"].as_str().unwrap().to_owned());
            self.refresh.extend(answer["refresh_token"].as_str().map(str::to_owned));
        }
    }

    fn refresh(issuer: &str, client: &str, refresh_token: &str) -> Option<(u16, Value)> {
        token(
            issuer,
            &[("grant_type", "refresh_token"), ("client_id", client), ("refresh_token", refresh_token)],
        )
    }

    /// Refreshes until the server is gone.
    fn refresh_until_the_end(issuer: &str, client: &str, mut handed: Handed) -> Handed {
        loop {
            let newest = handed.refresh.last().unwrap();
            match refresh(issuer, client, newest) {
                Some((200, answer)) => handed.take(&answer),
                Some((status, _)) => panic!("a refresh was answered with {status}"),
                None => return handed,
            }
        }
    }

    fn machine_tokens_until_the_end(issuer: &str, id: &str, secret: &str, resource: &str) -> Handed {
        let mut handed = Handed::default();
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", id),
            ("client_secret", secret),
            ("resource", resource),
        ];
        while let Some((status, answer)) = token(issuer, &fields) {
            assert_eq!(status, 200);
            handed.take(&answer);
        }
        handed
    }

    #[test]
    fn pc_61_kill_9_loses_no_token_and_forgets_no_retired_one() {
        let folder = tempfile::tempdir().unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        // On the engine that this run is about.
        let database = runtime.block_on(TestDatabase::create());
        let mut server = Server::start(folder.path(), &address, &database);
        let issuer = server.text("/issuer").to_owned();
        let resource = server.text("/servers/0/url").to_owned();
        let client = register(&issuer);
        let mut person = Person::new(server.text("/user/username"), server.text("/user/password"));
        let families: Vec<Handed> = (0..3)
            .map(|_| {
                let mut handed = Handed::default();
                handed.take(&person.tokens(&client, &resource, "notes:read"));
                handed
            })
            .collect();
        let machines: Vec<_> = (0..2)
            .map(|_| {
                let (issuer, resource) = (issuer.clone(), resource.clone());
                let [id, secret] =
                    ["/agent/client_id", "/agent/client_secret"].map(|name| server.text(name).to_owned());
                thread::spawn(move || machine_tokens_until_the_end(&issuer, &id, &secret, &resource))
            })
            .collect();
        let people: Vec<_> = families
            .into_iter()
            .map(|handed| {
                let (issuer, client) = (issuer.clone(), client.clone());
                thread::spawn(move || refresh_until_the_end(&issuer, &client, handed))
            })
            .collect();
        for _ in 0..40 {
            pause(); // traffic
        }
        server.child.kill().unwrap(); // SIGKILL
        server.child.wait().unwrap();
        let machines: Vec<Handed> = machines.into_iter().map(|thread| thread.join().unwrap()).collect();
        let people: Vec<Handed> = people.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(machines.iter().all(|handed| !handed.access.is_empty()), "there was traffic");
        assert!(people.iter().all(|handed| handed.refresh.len() > 3), "there was traffic");

        let again = Server::start(folder.path(), &address, &database);
        for token in machines.iter().chain(&people).flat_map(|handed| &handed.access) {
            assert!(again.believes(token), "a token that was handed out works");
        }
        for handed in &people {
            // The newest works, also if the server had moved on and its answer was lost.
            let newest = handed.refresh.last().unwrap();
            let (status, answer) = refresh(&issuer, &client, newest).unwrap();
            assert_eq!(status, 200);
            let successor = answer["refresh_token"].as_str().unwrap();
            // A retired one is recognised, and ends everything of its session.
            let retired = &handed.refresh[handed.refresh.len() - 4];
            assert_eq!(refresh(&issuer, &client, retired).unwrap().0, 400);
            assert_eq!(refresh(&issuer, &client, successor).unwrap().0, 400);
            assert!(!again.believes(handed.access.last().unwrap()), "PC-13: access tokens included");
        }
        assert!(again.believes(&machines[0].access[0]), "nobody else's");
    }
}

//! Applying a fleet (PC-34).

use crate::app::{FLEET, START, TestApp, config_at, form};
use crate::oauth::actors::{Browser, NOTES, Program, as_agent, is_active};
use axum::http::Request;
use portcullis_domain::audit::Kind;
use portcullis_domain::principal::RevokedTarget;
use portcullis_domain::secret::Hashed;
use portcullis_server::app::App;
use portcullis_server::clock::Clock;
use portcullis_server::entropy::Entropy;
use portcullis_server::fleet::{self, Applied, Ending, preview, remarks};
use portcullis_server::listener::Answers as _;
use portcullis_server::router::front;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

async fn events(test: &TestApp) -> Vec<Kind> {
    let mut handle = test.app.store.read().await.unwrap();
    let records = handle.reader().audit_after(0, 1000).await.unwrap();
    records.into_iter().map(|(_, _, event)| event.kind).collect()
}

#[tokio::test]
async fn pc_34_a_fleet_is_applied_once_and_then_there_is_nothing_to_do() {
    let test = TestApp::start().await;
    let current = test.app.current.load_full();
    assert_eq!(current.snapshot.servers.len(), 3, "with the admin API");
    assert_eq!(current.snapshot.agents.len(), 2);
    assert_eq!(current.snapshot.roles.len(), 3, "with those that come with it");
    assert_eq!(current.policy.server("notes").unwrap().server().title, "Team notes");
    assert_eq!(current.snapshot.servers[0].canonical_uri.as_str(), "http://127.0.0.1:8080/mcp/notes");
    let before = events(&test).await;
    assert_eq!(before.iter().filter(|kind| **kind == Kind::FleetApplied).count(), 1);
    assert_eq!(test.apply(FLEET).await.unwrap(), Applied::default());
    assert_eq!(events(&test).await, before, "nothing changed, nothing is recorded");
}

#[tokio::test]
async fn what_has_no_effect_is_remarked() {
    let test = TestApp::start().await;
    for name in ["alice", "bob"] {
        test.user(name, "a password that is long").await;
    }
    assert_eq!(remarks(&test.app, &test.fleet(FLEET).unwrap()).await.unwrap(), Vec::<String>::new());
    let changed = FLEET.replace("/ci-bot.json", "/elsewhere.json").replace("\"alice\"", "\"alicia\"");
    let said = remarks(&test.app, &test.fleet(&changed).unwrap()).await.unwrap();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("agent ci-bot") && said[0].contains("no effect"), "{said:?}");
    assert!(said[1].contains("no user \"alicia\""), "{said:?}");
}

#[tokio::test]
async fn pc_44_a_delivered_secret_is_private_and_known_to_us_as_a_hash() {
    let test = TestApp::start().await;
    let mode = std::fs::metadata(test.file("ci-bot")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let credentials = test.credentials("ci-bot");
    let client = {
        let mut handle = test.app.store.read().await.unwrap();
        let id = credentials.client_id.parse().unwrap();
        handle.reader().client(&id, test.app.clock.now()).await.unwrap().unwrap()
    };
    assert!(client.secrets.iter().any(|secret| secret.matches(&Hashed::of(&credentials.client_secret))));
    assert!(!client.secrets.iter().any(|secret| secret.matches(&Hashed::of("guess"))));
    assert!(events(&test).await.contains(&Kind::SecretCreated));
}

#[tokio::test]
async fn pc_34_a_change_keeps_ids_and_a_new_address_is_a_new_server() {
    let test = TestApp::start().await;
    let id = |test: &TestApp, name: &str| test.app.current.load().policy.server(name).unwrap().server().id;
    let (notes, ops) = (id(&test, "notes"), id(&test, "ops"));
    let secret = test.credentials("ci-bot").client_secret;
    let renamed = FLEET.replace("Team notes", "Our notes").replace(
        "name = \"ops\"\n",
        "name = \"ops\"\ncanonical_uri = \"http://127.0.0.1:8080/mcp/operations\"\n",
    );
    let applied = test.apply(&renamed).await.unwrap();
    assert_eq!(applied, Applied { put: 2, removed: 1, secrets: 0 });
    assert_eq!(id(&test, "notes"), notes);
    assert_ne!(id(&test, "ops"), ops, "what was granted for the old address is not inherited");
    assert_eq!(test.credentials("ci-bot").client_secret, secret);
}

#[tokio::test]
async fn pc_45_a_removed_agent_is_revoked() {
    let test = TestApp::start().await;
    let client = test.credentials("ci-bot").client_id;
    let (before, agent) = FLEET.split_once("[[agent]]\nname = \"ci-bot\"").unwrap();
    let without = format!("{before}{}", &agent[agent.find("[[agent]]").unwrap()..]);
    assert_eq!(test.apply(&without).await.unwrap(), Applied { put: 0, removed: 1, secrets: 0 });
    let mut handle = test.app.store.read().await.unwrap();
    let revocations = handle.reader().revocations(test.app.clock.now()).await.unwrap();
    let target = RevokedTarget::Client(client.parse().unwrap());
    let revocation = revocations.iter().find(|revocation| revocation.target == target).unwrap();
    let longest = test.app.config.tokens.revocation_memory();
    assert_eq!(revocation.until, test.app.clock.now() + longest);
    let stored = handle.reader().client(&client.parse().unwrap(), test.app.clock.now()).await.unwrap();
    assert!(stored.is_none_or(|client| client.disabled && client.secrets.is_empty()));
}

#[tokio::test]
async fn pc_21_leaving_a_role_ends_the_tokens_that_name_it() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let alice = program.tokens(&mut Browser::of_alice(&test).await).await;
    test.user("bob", "a long enough password").await;
    let bob = program.tokens(&mut Browser::new(&test, "bob", "a long enough password")).await;
    assert!(is_active(&test, &alice.access_token).await && is_active(&test, &bob.access_token).await);
    test.advance(Duration::from_secs(5)).await;
    test.apply(&FLEET.replace(r#"["alice", "bob"]"#, r#"["bob"]"#)).await.unwrap();
    let served = async |token: &str| {
        let request = Request::post("/mcp/notes").header("authorization", format!("Bearer {token}"));
        test.send(request.header("content-type", "application/json").body("{}".into()).unwrap()).await.status
    };
    assert_eq!(served(&alice.access_token).await, 401, "the gateway refuses at once");
    assert_eq!(served(&bob.access_token).await, 400, "who stays is not touched: the body is what is wrong");
    assert!(!is_active(&test, &alice.access_token).await && is_active(&test, &bob.access_token).await);
}

#[tokio::test]
async fn pc_41_no_secret_is_stored_that_cannot_be_delivered() {
    let test = TestApp::start_with("", "").await;
    let nowhere = FLEET.replace("@DATA@/ci-bot.json", "@DATA@/no/such/folder/ci-bot.json");
    let error = test.apply(&nowhere).await.unwrap_err();
    assert!(error.to_string().contains("ci-bot"), "{error}");
    assert!(test.app.store.read().await.unwrap().reader().registry().await.unwrap().servers.is_empty());
    test.apply(FLEET).await.unwrap();
}

#[tokio::test]
async fn pc_21_no_token_is_made_by_a_registry_that_has_changed() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let tokens = program.tokens(&mut Browser::of_alice(&test).await).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(test.folder.path().join("master.key"), folder.path().join("master.key")).unwrap();
    // Another node, which has not heard of the change: as a request that was under way while it was made.
    let other = App::open(
        config_at("", &test.database, folder.path()),
        Clock::fixed(START),
        Entropy::insecure_seeded(2),
    );
    let other = other.await.unwrap();
    let asks = async |refresh: &str| {
        let fields =
            [("grant_type", "refresh_token"), ("client_id", &program.id), ("refresh_token", refresh)];
        let mut request = form("/oauth/token", &fields);
        request.headers_mut().insert("host", "127.0.0.1:8080".parse().unwrap());
        let response = front(&other, axum::Router::new()).answer(request, None).await;
        let status = response.status();
        (status, axum::body::to_bytes(response.into_body(), 10_000).await.unwrap())
    };
    let (status, renewed) = asks(&tokens.refresh_token.unwrap()).await;
    assert_eq!(status, 200, "the good request is served");
    let renewed: serde_json::Value = serde_json::from_slice(&renewed).unwrap();
    test.apply(&FLEET.replace(r#"["alice", "bob"]"#, r#"["bob"]"#)).await.unwrap();
    let (status, refused) = asks(renewed["refresh_token"].as_str().unwrap()).await;
    assert_eq!(status, 400);
    assert!(refused.starts_with(br#"{"error":"invalid_grant""#));
}

#[tokio::test]
async fn pc_34_a_plan_says_whose_sessions_may_do_less_and_who_leaves() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    program.tokens(&mut Browser::of_alice(&test).await).await;
    let machine = [("grant_type", "client_credentials"), ("resource", NOTES)];
    as_agent(&test, "ci-bot", "/oauth/token", &machine).await;
    let plan = async |fleet: &str| preview(&test.app, &test.fleet(fleet).unwrap(), None).await.unwrap();
    let unchanged = plan(FLEET).await;
    assert!(unchanged.cut.is_empty() && unchanged.leavers.is_empty() && !unchanged.takes_away);
    let line = |line: &str| FLEET.replace("name = \"ci-bot\"\n", &format!("name = \"ci-bot\"\n{line}\n"));
    for ended in ["disabled = true", "expires = 2027-01-15"] {
        let said = plan(&line(ended)).await;
        assert_eq!(said.cut, [Ending { with: "agent ci-bot".to_owned(), sessions: 1 }], "{ended}");
        assert!(said.takes_away && said.ends.is_empty(), "{ended}");
    }
    let narrower = plan(&FLEET.replace("tools = [\"list_notes\"]", "tools = [\"list_other\"]")).await;
    assert_eq!(narrower.cut.len(), 1, "a rule that is another");
    let without = plan(&FLEET.replace(r#"["alice", "bob"]"#, r#"["bob"]"#)).await;
    assert_eq!(without.leavers, ["alice"]);
    assert!(without.takes_away);
}

#[tokio::test]
async fn an_end_that_is_near_is_remarked() {
    let test = TestApp::start().await;
    for name in ["alice", "bob"] {
        test.user(name, "a password that is long").await;
    }
    let ending = FLEET.replace("name = \"ci-bot\"\n", "name = \"ci-bot\"\nexpires = 2027-01-20\n");
    let said = remarks(&test.app, &test.fleet(&ending).unwrap()).await.unwrap();
    assert!(said.len() == 1 && said[0].contains("expires in 4 days"), "{said:?}");
    let over =
        remarks(&test.app, &test.fleet(&ending.replace("2027-01-20", "2027-01-15")).unwrap()).await.unwrap();
    assert!(over.len() == 1 && over[0].contains("is over"), "{over:?}");
    let far =
        remarks(&test.app, &test.fleet(&ending.replace("2027-01-20", "2027-03-01")).unwrap()).await.unwrap();
    assert_eq!(far, Vec::<String>::new());
}

/// A fleet file that follows from a number: which of four servers, agents, roles and clients there are, and what they may.
fn random_fleet(rng: &mut impl rand::Rng) -> String {
    let mut dice = |sides: u32| rng.next_u32() % sides;
    let mut text = String::new();
    let servers: Vec<u32> = (0..4).filter(|_| dice(3) > 0).collect();
    let scopes = ["\"s:read\"", "\"s:write\"", "\"s:read\", \"s:write\""];
    for at in &servers {
        let (title, risk) = (dice(2), if dice(2) == 0 { "risk = \"high\"\n" } else { "" });
        let (labels, life) = (dice(2), 5 + dice(3));
        let observe = dice(4) == 0;
        write!(
            text,
            "[[server]]\nname = \"s{at}\"\ntitle = \"S {title}\"\nupstream = {{ url = \"http://127.0.0.1:9/{at}\" }}\n\
             labels = [\"l{labels}\"]\naccess = \"{life}m\"\nobserve = {observe}\n[server.scopes]\n\"s:read\" = \"Read\"\n\
             \"s:write\" = {{ says = \"Write\", implies = [\"s:read\"] }}\n[[server.rule]]\ntools = [\"list_*\", \"t{}\"]\n\
             scopes = [\"s:read\"]\n[[server.rule]]\ntools = [\"write\"]\nscopes = [{}]\n{risk}",
            dice(3),
            scopes[dice(3) as usize],
        )
        .unwrap();
    }
    for (kind, more) in [
        ("agent", "owner = \"o\"\n"),
        ("role", "members = { users = [\"alice\"] }\n"),
        ("client", "owner = \"o\"\nredirect_uris = [\"https://c.test/cb\"]\n"),
    ] {
        for at in 0..3 {
            if dice(3) == 0 {
                continue;
            }
            let mut access = Vec::new();
            for server in &servers {
                if dice(2) == 0 {
                    access.push(format!("s{server} = [{}]", scopes[dice(3) as usize]));
                }
            }
            let off = if kind != "role" && dice(4) == 0 { "disabled = true\n" } else { "" };
            let access = access.join(", ");
            write!(text, "[[{kind}]]\nname = \"x{at}\"\n{more}{off}access = {{ {access} }}\n").unwrap();
        }
    }
    if dice(2) == 0 && !servers.is_empty() {
        text +=
            "[[forbid]]\nname = \"f\"\nscopes = [\"s:write\"]\nwhen = { outside = \"07:00-19:00 UTC\" }\n";
    }
    text
}

#[tokio::test]
async fn pc_34_after_any_apply_the_plan_is_empty_and_what_is_exported_changes_nothing() {
    let test = TestApp::start_with("", "").await;
    test.user("alice", "a password that is long").await;
    let mut rng = Entropy::insecure_seeded(34).rng();
    let mut changes = 0;
    for round in 0..24 {
        let written = random_fleet(&mut rng);
        let fleet = test.fleet(&written).unwrap_or_else(|problems| panic!("{problems:?}\n{written}"));
        let planned = preview(&test.app, &fleet, None).await.unwrap().difference;
        let applied = fleet::apply(&test.app, &fleet).await.unwrap();
        assert_eq!(planned.is_empty(), applied == Applied::default(), "round {round}: {written}");
        changes += applied.put + applied.removed;

        let after = preview(&test.app, &fleet, None).await.unwrap().difference;
        assert!(after.is_empty(), "round {round}: {after:?}\n{written}");
        assert_eq!(fleet::apply(&test.app, &fleet).await.unwrap(), Applied::default(), "round {round}");

        let (exported, version) = fleet::export(&test.app).await.unwrap();
        let written = exported.to_toml(&test.app.config.issuer).unwrap();
        let read = test.fleet(&written).unwrap_or_else(|problems| panic!("{problems:?}\n{written}"));
        assert_eq!(
            fleet::apply(&test.app, &read).await.unwrap(),
            Applied::default(),
            "round {round}: {written}"
        );
        assert_eq!(fleet::export(&test.app).await.unwrap().1, version);
    }
    assert!(changes > 100, "these fleets differ: {changes}");
}

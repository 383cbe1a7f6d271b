//! Plan, apply, export.

use super::{Operator, assert_problem};
use crate::app::{Answer, FLEET, TestApp};
use http::StatusCode;
use portcullis_domain::audit::{Actor, Event, Kind};
use portcullis_store::Registry;
use proptest::prelude::*;
use serde_json::{Value, json};

const PLAN: &str = "/api/v1/fleet/plan";
const APPLY: &str = "/api/v1/fleet/apply";

fn here(test: &TestApp, fleet: &str) -> String {
    fleet.replace("@DATA@", &test.folder.path().display().to_string())
}

async fn registry(test: &TestApp) -> Registry {
    test.app.store.read().await.unwrap().reader().registry().await.unwrap()
}

/// A token of ci-bot for notes, and with it a session.
async fn machine_token(test: &TestApp) -> Answer {
    let credentials = test.credentials("ci-bot");
    let fields = [
        ("grant_type", "client_credentials"),
        ("resource", "http://127.0.0.1:8080/mcp/notes"),
        ("client_id", &credentials.client_id),
        ("client_secret", &credentials.client_secret),
    ];
    let answer = test.post("/oauth/token", &fields).await;
    assert_eq!(answer.status, StatusCode::OK);
    answer
}

async fn last_event(test: &TestApp) -> Event {
    let mut handle = test.app.store.read().await.unwrap();
    handle.reader().audit_after(0, 10_000).await.unwrap().pop().unwrap().2
}

fn is_nothing(plan: &Value) -> bool {
    let empty = |pointer: &str| plan.pointer(pointer).and_then(Value::as_array).unwrap().is_empty();
    ["servers", "agents", "clients", "roles"]
        .iter()
        .all(|kind| ["added", "changed", "removed"].iter().all(|how| empty(&format!("/{kind}/{how}"))))
        && ["/self_registered", "/narrowed", "/secrets", "/ends", "/cut", "/leavers"]
            .iter()
            .all(|pointer| empty(pointer))
        && plan["takes_away"] == false
}

/// The registered servers without `ops`, and what names it.
fn without_ops() -> String {
    let (before, rest) = FLEET.split_once("[[server]]\nname = \"ops\"").unwrap();
    let rest = &rest[rest.find("[[agent]]").unwrap()..];
    format!("{before}{rest}")
        .replace("[\"notes\", \"ops\"]", "[\"notes\"]")
        .replace(", ops = [\"ops:read\"]", "")
}

#[tokio::test]
async fn pc_34_a_plan_says_what_changes_and_changes_nothing() {
    let test = TestApp::start().await;
    let operator = Operator::of(&test);
    let before = registry(&test).await;
    let unchanged = operator.toml(PLAN, &here(&test, FLEET), None).await;
    assert_eq!(unchanged.status, StatusCode::OK);
    assert!(is_nothing(&unchanged.json()), "{}", unchanged.text());

    machine_token(&test).await;
    let changed =
        FLEET.replace("Team notes", "Our notes").replace("name = \"ci-bot\"", "name = \"new-bot\"").replace(
            "access = { notes = [\"notes:read\", \"notes:write\"], ops = [\"ops:read\"] }",
            "access = { notes = [\"notes:read\"] }",
        );
    let plan: Value = operator.toml(PLAN, &here(&test, &changed), None).await.json();
    assert_eq!(
        plan["servers"]["changed"],
        json!([{ "name": "notes", "fields": [{ "field": "title", "before": "Team notes", "after": "Our notes" }] }])
    );
    assert_eq!(plan["agents"]["added"], json!(["new-bot"]));
    assert_eq!(plan["agents"]["removed"], json!(["ci-bot"]));
    assert_eq!(plan["secrets"], json!(["agent new-bot"]));
    assert_eq!(plan["ends"], json!([{ "with": "agent ci-bot", "sessions": 1 }]));
    let lost = json!({ "whose": "role team", "server": "notes", "loses": ["notes:write"], "tools": ["create_note"] });
    assert!(plan["narrowed"].as_array().unwrap().contains(&lost), "{plan:#}");
    assert_eq!(plan["takes_away"], true);
    assert_eq!(registry(&test).await.servers, before.servers);
    assert_eq!(registry(&test).await.agents, before.agents);
}

#[tokio::test]
async fn pc_34_an_apply_makes_it_so_and_names_who_asked() {
    let test = TestApp::start().await;
    let operator = Operator::of(&test);
    let fleet = here(&test, &without_ops());
    let planned = operator.toml(PLAN, &fleet, None).await;
    let plan: Value = planned.json();
    assert_eq!(plan["servers"]["removed"], json!(["ops"]));
    let applied = operator.toml(APPLY, &fleet, planned.header("etag")).await;
    assert_eq!(applied.status, StatusCode::OK, "{}", applied.text());
    assert_eq!(applied.json::<Value>()["removed"], 1);
    assert!(test.app.current.load().policy.server("ops").is_none(), "this node knows at once");
    let event = last_event(&test).await;
    assert_eq!((event.kind, &event.actor), (Kind::FleetApplied, &Actor::Operator));
    assert_eq!(event.detail["uid"], "0");
    assert!(is_nothing(&operator.toml(PLAN, &fleet, None).await.json()), "plan after apply is empty");
    let again: Value = operator.toml(APPLY, &fleet, None).await.json();
    assert_eq!(again, json!({ "put": 0, "removed": 0, "secrets": 0 }));
}

#[tokio::test]
async fn pc_34_what_was_planned_for_another_registry_is_not_applied() {
    let test = TestApp::start().await;
    let operator = Operator::of(&test);
    let mine = here(&test, &FLEET.replace("Team notes", "Mine"));
    let planned = operator.toml(PLAN, &mine, None).await;
    test.apply(&FLEET.replace("Team notes", "Theirs")).await.unwrap();
    let before = registry(&test).await;
    let weak = format!("W/{}", planned.header("etag").unwrap());
    for tag in [planned.header("etag").unwrap(), &weak, "*, \"x\"", "\"\"", "", "W/\"x\"", "1, 2"] {
        let refused = operator.toml(APPLY, &mine, Some(tag)).await;
        assert_problem(&refused, StatusCode::PRECONDITION_FAILED, "moved");
    }
    assert_eq!(registry(&test).await, before);
    let planned = operator.toml(PLAN, &mine, None).await;
    let several = format!("\"x\", {}", planned.header("etag").unwrap());
    assert_eq!(operator.toml(APPLY, &mine, Some(&several)).await.status, StatusCode::OK);
    assert_eq!(operator.toml(APPLY, &mine, Some("*")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn pc_34_a_revocation_does_not_make_a_plan_stale() {
    let test = TestApp::start().await;
    let operator = Operator::of(&test);
    let fleet = here(&test, &FLEET.replace("Team notes", "Mine"));
    let planned = operator.toml(PLAN, &fleet, None).await;
    let numbered = registry(&test).await.number;
    let token: Value = machine_token(&test).await.json();
    let credentials = test.credentials("ci-bot");
    let fields = [
        ("token", token["access_token"].as_str().unwrap()),
        ("client_id", &credentials.client_id),
        ("client_secret", &credentials.client_secret),
    ];
    assert_eq!(test.post("/oauth/revoke", &fields).await.status, StatusCode::OK);
    assert!(registry(&test).await.number > numbered, "the feed moved on");
    assert_eq!(operator.toml(APPLY, &fleet, planned.header("etag")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn pc_63_mistakes_are_told_with_their_lines_and_nothing_changes() {
    let test = TestApp::start().await;
    let operator = Operator::of(&test);
    let before = registry(&test).await;
    let bad = FLEET
        .replace("default_scopes = [\"ops:read\"]", "default_scopes = [\"ops:raed\"]")
        .replace("risk = \"high\"", "scopes = []");
    let worse = FLEET
        .replace("[\"notes:read\"] }\n\n[[agent]]", "[\"nots:read\"] }\n\n[[agent]]")
        .replace("\"ops:read\"]\n[server", "\"x\"]\n[server");
    for path in [PLAN, APPLY] {
        let refused = operator.toml(path, &here(&test, &bad), None).await;
        assert_problem(&refused, StatusCode::UNPROCESSABLE_ENTITY, "fleet_mistakes");
        let refused = operator.toml(path, &here(&test, &worse), None).await;
        assert_problem(&refused, StatusCode::UNPROCESSABLE_ENTITY, "fleet_mistakes");
        let problems = refused.json::<Value>()["problems"].clone();
        assert_eq!(problems.as_array().unwrap().len(), 2, "all at once: {problems:#}");
        let at = |word: &str| 1 + worse.lines().position(|line| line.contains(word)).unwrap();
        assert_eq!(problems[0]["line"], at("\"x\""));
        assert_eq!(problems[1]["line"], at("nots:read"));
    }
    let nowhere = FLEET
        .replace("name = \"ci-bot\"", "name = \"bot2\"")
        .replace("@DATA@/ci-bot.json", "@DATA@/no/such/folder/x.json");
    let refused = operator.toml(APPLY, &here(&test, &nowhere), None).await;
    assert_problem(&refused, StatusCode::UNPROCESSABLE_ENTITY, "undeliverable");
    assert_eq!(registry(&test).await, before);
}

#[tokio::test]
async fn pc_34_what_is_exported_can_be_applied_and_changes_nothing() {
    let test = TestApp::start().await;
    let operator = Operator::of(&test);
    let before = registry(&test).await;
    let export = operator.get("/api/v1/fleet").await;
    assert_eq!((export.status, export.header("content-type")), (StatusCode::OK, Some("application/toml")));
    assert!(!export.text().contains("pcc_"), "no secret is in it");
    assert!(is_nothing(&operator.toml(PLAN, export.text(), None).await.json()), "{}", export.text());
    let applied: Value = operator.toml(APPLY, export.text(), export.header("etag")).await.json();
    assert_eq!(applied, json!({ "put": 0, "removed": 0, "secrets": 0 }));
    assert_eq!(registry(&test).await, before);
}

/// Texts of random fleets: servers, scopes, rules, agents, clients, roles, each there or not.
fn fleets() -> impl Strategy<Value = String> {
    let server = |at: usize| {
        (any::<bool>(), "[a-zA-Z][a-zA-Z \"']{0,8}", prop::collection::btree_set(0..3_usize, 0..3), any::<bool>()).prop_map(move |(own, title, rules, observe)| {
            let uri = if own { format!("canonical_uri = \"https://s{at}.example.net\"\n") } else { String::new() };
            let rules: Vec<String> = rules.iter().map(|scope| format!("[[server.rule]]\ntools = [\"t{scope}*\"]\nscopes = [\"s:{scope}\"]\n")).collect();
            let rules = rules.concat();
            format!("[[server]]\nname = \"s{at}\"\ntitle = {title:?}\n{uri}observe = {observe}\nupstream = {{ url = \"http://127.0.0.1:9\" }}\n[server.scopes]\n\"s:0\" = \"A\"\n\"s:1\" = {{ says = \"B\", implies = [\"s:0\"] }}\n\"s:2\" = \"C\"\n{rules}")
        })
    };
    let who = |table: &'static str| {
        (prop::option::of(0..3_usize), any::<bool>()).prop_map(move |(scope, other)| {
            let more = match (table, other) {
                ("agent", false) => "owner = \"x\"",
                ("agent", true) => "owner = \"x\"\ndisabled = true\nexpires = 2031-01-31\nlabels = [\"a\"]",
                ("client", false) => "owner = \"x\"\nredirect_uris = [\"https://c.example/cb\"]",
                ("client", true) => "owner = \"y\"\nredirect_uris = [\"http://[::1]/cb\"]\ndisabled = true",
                _ => "members = { users = [\"u\"] }",
            };
            scope
                .map(|scope| {
                    format!("[[{table}]]\nname = \"n\"\n{more}\naccess = {{ s0 = [\"s:{scope}\"] }}\n")
                })
                .unwrap_or_default()
        })
    };
    (server(0), prop::option::of(server(1)), who("agent"), who("client"), who("role")).prop_map(
        |(first, second, agent, client, role)| {
            format!("{first}{}{agent}{client}{role}", second.unwrap_or_default())
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn pc_34_plan_after_apply_is_empty_and_export_then_apply_changes_nothing(first in fleets(), second in fleets()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let test = TestApp::start_with("", &first).await;
            let operator = Operator::of(&test);
            let differs = !is_nothing(&operator.toml(PLAN, &second, None).await.json());
            let applied: Value = operator.toml(APPLY, &second, None).await.json();
            let did = applied != json!({ "put": 0, "removed": 0, "secrets": 0 });
            prop_assert_eq!(did, differs, "a plan is empty exactly when applying does nothing");
            prop_assert!(is_nothing(&operator.toml(PLAN, &second, None).await.json()));
            let before = registry(&test).await;
            let export = operator.get("/api/v1/fleet").await;
            let applied: Value = operator.toml(APPLY, export.text(), None).await.json();
            prop_assert_eq!(applied, json!({ "put": 0, "removed": 0, "secrets": 0 }));
            prop_assert_eq!(registry(&test).await, before);
            Ok(())
        })?;
    }
}

//! The way of a person to a third party and back, and whose account is used afterwards.

use super::world::{OURS, World, call, call_in_session, from_elsewhere, path_at};
use crate::app::TestApp;
use crate::oauth::actors::{as_agent, flow_of, is_sign_in};
use http::StatusCode;
use portcullis_domain::audit::Kind;
use serde_json::{Value, json};

#[tokio::test]
async fn pc_05_a_person_connects_once_and_the_third_party_sees_their_own_account() {
    let world = World::new().await;
    let mut alice = world.person("alice").await;
    assert_eq!(alice.who().await, None, "not before");
    alice.connect().await;
    assert_eq!(alice.who().await, Some(alice.id_there().await));
    assert_eq!(alice.who().await, Some(alice.id_there().await), "and again, by the copy");
    let got = world.recorded(Kind::ConnectionMade).await;
    assert_eq!((world.recorded(Kind::ConnectionBegun).await, got), (1, 1));
}

#[tokio::test]
async fn ups_06_two_people_are_never_mixed() {
    let world = World::new().await;
    let (mut alice, mut bob) = (world.person("alice").await, world.person("bob").await);
    alice.connect().await;
    assert_eq!(bob.who().await, None, "alice's connection is not bob's");
    bob.connect().await;
    assert_eq!(world.asked("POST /oauth/register"), 1, "we registered once for both");
    for _ in 0..3 {
        assert_eq!(alice.who().await, Some(alice.id_there().await));
        assert_eq!(bob.who().await, Some(bob.id_there().await));
    }
    alice.disconnect().await;
    assert_eq!(alice.who().await, None);
    assert_eq!(bob.who().await, Some(bob.id_there().await));
}

#[tokio::test]
async fn the_page_says_where_one_signs_in_for_what_and_as_whom() {
    let world = World::new().await;
    let mut alice = world.person("alice").await;
    let page = alice.look().await;
    let html = page.text();
    for said in ["Issue tracker", "alice", "tracker:read", &world.there] {
        assert!(html.contains(said), "{said}: {html}");
    }
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains(&format!("form-action 'self' {};", world.there)), "{policy}");
    assert!(!html.contains("<script"));
    let address = alice.set_out().await;
    let url = url::Url::parse(&address).unwrap();
    let parameter = |name: &str| {
        let mut found = url.query_pairs().filter(|(key, _)| key == name);
        let first = found.next().map(|(_, value)| value.into_owned());
        assert!(found.next().is_none(), "{name}");
        first.unwrap_or_default()
    };
    assert_eq!(parameter("code_challenge_method"), "S256");
    assert_eq!(parameter("resource"), format!("{}/mcp/tracker", world.there));
    assert_eq!(parameter("redirect_uri"), format!("{OURS}/connect/callback"));
    assert_eq!(parameter("scope"), "tracker:read");
    assert_eq!(parameter("response_type"), "code");
}

#[tokio::test]
async fn ups_06_an_answer_counts_once_and_only_for_whom_it_was_asked() {
    let world = World::new().await;
    let (mut alice, mut bob) = (world.person("alice").await, world.person("bob").await);
    let address = alice.set_out().await;
    let back = alice.agree_there(&address).await;
    let stolen = bob.come_back(&back).await;
    assert_eq!(stolen.status, StatusCode::FORBIDDEN, "another person");
    let stranger = world.ours.get(path_at(&back, OURS)).await;
    assert_eq!(stranger.status, StatusCode::FORBIDDEN, "nobody");
    let cookies = alice.here.cookies.clone();
    alice.here.cookies.remove("portcullis");
    let again = alice.here.get("/login").await;
    alice.here.sign_in(&again).await;
    let other = alice.come_back(&back).await;
    assert_eq!(other.status, StatusCode::FORBIDDEN, "the same person in another browser");
    assert_eq!(world.asked("POST /oauth/token"), 0, "nothing was tried");
    alice.here.cookies = cookies;
    assert_eq!(alice.come_back(&back).await.status, StatusCode::OK, "the same is good from where it began");
    assert_eq!(alice.come_back(&back).await.status, StatusCode::FORBIDDEN, "once");
    assert_eq!((alice.who().await, bob.who().await), (Some(alice.id_there().await), None));
}

/// An address with one parameter replaced, or left out.
fn with(address: &str, name: &str, value: Option<&str>) -> String {
    let mut url = url::Url::parse(address).unwrap();
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs.iter().filter(|(known, _)| known != name));
    if let Some(value) = value {
        query.append_pair(name, value);
    }
    url.set_query(Some(&query.finish()));
    url.to_string()
}

#[tokio::test]
async fn authz_an_answer_of_another_issuer_or_with_another_state_connects_nobody() {
    let world = World::new().await;
    let mut alice = world.person("alice").await;
    for iss in [Some("https://evil.example"), None] {
        let address = alice.set_out().await;
        let back = alice.agree_there(&address).await;
        let foreign = alice.come_back(&with(&back, "state", Some("another"))).await;
        assert_eq!(foreign.status, StatusCode::FORBIDDEN);
        let page = alice.come_back(&with(&back, "iss", iss)).await;
        assert_eq!(page.status, StatusCode::BAD_GATEWAY, "{}", page.text());
        assert!(!page.text().contains("evil"));
        assert_eq!(world.asked("POST /oauth/token"), 0, "the code is shown to nobody");
        assert_eq!(alice.come_back(&back).await.status, StatusCode::FORBIDDEN, "that answer is spent");
    }
    assert_eq!(alice.who().await, None);
}

#[tokio::test]
async fn a_person_who_says_no_over_there_is_told_and_nothing_is_kept() {
    let world = World::new().await;
    let mut alice = world.person("alice").await;
    let address = alice.set_out().await;
    let url = url::Url::parse(&address).unwrap();
    let state = url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let back = format!("{OURS}/connect/callback?error=access_denied&state={state}&iss={}", world.there);
    let page = alice.come_back(&back).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text().contains("Not connected"), "{}", page.text());
    assert_eq!(alice.who().await, None);
    assert_eq!(alice.come_back(&back).await.status, StatusCode::FORBIDDEN, "once");
}

#[tokio::test]
async fn ui_13_the_form_counts_in_its_own_browser_only_and_strangers_sign_in_first() {
    let world = World::new().await;
    let (mut alice, mut bob) = (world.person("alice").await, world.person("bob").await);
    let flow = flow_of(&alice.look().await);
    let fields = [("flow", flow.as_str())];
    let by_bob = bob.here.post("/connect/tracker", &fields).await;
    assert_eq!(by_bob.status, StatusCode::FORBIDDEN);
    let from_elsewhere = alice.here.send(from_elsewhere("/connect/tracker", &fields)).await;
    assert_eq!(from_elsewhere.status, StatusCode::FORBIDDEN);
    assert_eq!(world.ours.post("/connect/tracker", &fields).await.status, StatusCode::FORBIDDEN);
    assert!(is_sign_in(&world.ours.get("/connect/tracker").await));
    assert!(is_sign_in(&world.ours.get("/connect/no-such-server").await), "strangers learn nothing");
    assert_eq!(alice.here.get("/connect/no-such-server").await.status, StatusCode::NOT_FOUND);
    assert_eq!(alice.here.post("/connect/tracker", &fields).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn whoever_has_no_role_there_is_not_offered_to_connect() {
    let world = World::new().await;
    world.ours.user("carol", super::world::PASSWORD).await;
    let mut carol = crate::oauth::actors::Browser::new(&world.ours, "carol", super::world::PASSWORD);
    let page = carol.get("/connect/tracker").await;
    carol.sign_in(&page).await;
    assert_eq!(carol.get("/connect/tracker").await.status, StatusCode::NOT_FOUND);
    let list = carol.get("/connect").await;
    assert!(!list.text().contains("tracker"), "{}", list.text());
    assert_eq!(world.asked("GET /mcp/tracker"), 0, "nobody was asked for her");
}

#[tokio::test]
async fn a_call_without_a_connection_says_where_to_connect_in_the_words_of_each_revision() {
    let world = World::new().await;
    let alice = world.person("alice").await;
    let place = format!("{OURS}/connect/tracker");
    // 2025-11-25: URLElicitationRequiredError.
    let answer = call_in_session(&world.ours, &alice.token).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let body: Value = answer.json();
    assert_eq!((body["id"].as_i64(), body["error"]["code"].as_i64()), (Some(7), Some(-32042)));
    assert!(body["error"]["message"].as_str().unwrap().contains(&place));
    let asked = &body["error"]["data"]["elicitations"][0];
    assert_eq!((asked["mode"].as_str(), asked["url"].as_str()), (Some("url"), Some(&*place)));
    assert!(asked["elicitationId"].as_str().is_some_and(|id| !id.is_empty()));
    // 2026-07-28: an input request, for clients that can open an address.
    let answer = call(&world.ours, &alice.token, json!({ "elicitation": { "url": {} } })).await;
    assert_eq!(answer.status, StatusCode::OK);
    let body: Value = answer.json();
    assert_eq!(body["result"]["resultType"], "input_required");
    let request = &body["result"]["inputRequests"]["portcullis/connect"];
    assert_eq!(request["method"], "elicitation/create");
    assert_eq!(
        (request["params"]["mode"].as_str(), request["params"]["url"].as_str()),
        (Some("url"), Some(&*place))
    );
    let parsed: rmcp::model::InputRequiredResult = serde_json::from_value(body["result"].clone()).unwrap();
    assert_eq!(parsed.input_requests.unwrap().len(), 1);
    // And for those that cannot, the same in words.
    let answer = call(&world.ours, &alice.token, json!({})).await;
    let body: Value = answer.json();
    assert_eq!((answer.status, body["error"]["code"].as_i64()), (StatusCode::OK, Some(-31424)));
    assert!(body["error"]["message"].as_str().unwrap().contains(&place));
    assert_eq!(body["error"]["data"]["connect"], *place);
    assert_eq!(world.asked("POST /mcp/tracker"), 0, "nothing went there");
}

#[tokio::test]
async fn an_agent_cannot_connect_and_is_told_so() {
    let world = World::new().await;
    let mut alice = world.person("alice").await;
    alice.connect().await;
    let before = world.asked("POST /mcp/tracker");
    let fields = [("grant_type", "client_credentials"), ("resource", "http://127.0.0.1:8080/mcp/tracker")];
    let answer = as_agent(&world.ours, "ci-bot", "/oauth/token", &fields).await;
    let token = answer.json::<Value>()["access_token"].as_str().unwrap().to_owned();
    let answer = call(&world.ours, &token, json!({ "elicitation": { "url": {} } })).await;
    let body: Value = answer.json();
    assert_eq!(body["error"]["code"], -31403, "{body}");
    assert!(!answer.text().contains("/connect/"), "there is nobody who could");
    assert_eq!(world.asked("POST /mcp/tracker"), before, "UPS-06: nobody else's is used");
}

#[tokio::test]
async fn an_answer_that_is_lost_after_the_exchange_keeps_nothing_and_the_person_begins_again() {
    let world = World::new().await;
    let mut alice = world.person("alice").await;
    let address = alice.set_out().await;
    let back = alice.agree_there(&address).await;
    world.wire.lock().unwrap().lost = vec!["/oauth/token".into()];
    assert_eq!(alice.come_back(&back).await.status, StatusCode::BAD_GATEWAY);
    world.wire.lock().unwrap().lost.clear();
    assert_eq!(alice.who().await, None);
    assert_eq!(alice.come_back(&back).await.status, StatusCode::FORBIDDEN, "a code is shown once");
    alice.connect().await;
    assert_eq!(alice.who().await, Some(alice.id_there().await));
}

#[tokio::test]
async fn our_own_metadata_document_says_who_we_are_where_we_are_https() {
    let test = TestApp::start_with("public_url = \"https://mcp.example.com\"", "").await;
    let answer = test.get("/connect/client.json").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let document: Value = answer.json();
    assert_eq!(document["client_id"], "https://mcp.example.com/connect/client.json");
    assert_eq!(document["redirect_uris"], json!(["https://mcp.example.com/connect/callback"]));
    assert_eq!(document["token_endpoint_auth_method"], "none");
    assert!(document.get("client_secret").is_none(), "CIMD-09");
    let plain = TestApp::start_with("", "").await;
    assert_eq!(plain.get("/connect/client.json").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_pages_are_well_formed_and_load_nothing_from_elsewhere() {
    let world = World::new().await;
    let mut alice = world.person("alice").await;
    alice.connect().await;
    for path in ["/connect", "/connect/tracker"] {
        let page = alice.here.get(path).await;
        let html = page.text();
        assert_eq!(html.matches("<h1>").count(), 1, "{path}");
        for banned in ["<script", "style=", "onclick", "src=\"http", "href=\"http"] {
            assert!(!html.contains(banned), "{path}: {banned}");
        }
        assert_eq!(html.matches("<form").count(), html.matches("name=\"flow\"").count(), "CSRF");
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    }
}

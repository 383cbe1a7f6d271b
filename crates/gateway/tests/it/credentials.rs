//! What upstreams get instead of an assertion: a secret of this machine, or a token of their own issuer (PC-05).

use crate::world::{Answered, Recorder, Seen, World, json, respond, tool};
use axum::body::Body;
use base64::Engine as _;
use http::Response;
use portcullis_domain::principal::{Revocation, RevokedTarget};
use portcullis_domain::registry::{
    ClientCredentials, Placement, Risk, SecretPlace, TokenEndpoint, UpstreamCredential,
};
use portcullis_domain::snapshot::{Snapshot, Update};
use portcullis_gateway::Settings;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Says = Box<dyn Fn(&Seen) -> Response<Body> + Send + Sync>;

fn says(answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static) -> Says {
    Box::new(answer)
}

/// Secrets of the gateway's machine, by place.
#[derive(Clone, Default)]
struct Machine(Arc<Mutex<HashMap<String, String>>>);

impl Machine {
    fn holding(place: &str, secret: &str) -> Self {
        let machine = Self::default();
        machine.put(place, secret);
        machine
    }

    fn put(&self, place: &str, secret: &str) {
        self.0.lock().unwrap().insert(place.to_owned(), secret.to_owned());
    }

    fn lose(&self, place: &str) {
        self.0.lock().unwrap().remove(place);
    }

    fn told(&self) -> impl FnOnce(&mut Settings) + use<> {
        let held = Arc::clone(&self.0);
        move |settings| {
            settings.secrets =
                Arc::new(move |place: &SecretPlace| held.lock().unwrap().get(&place.to_string()).cloned());
            settings.limits.issuers.patience = Duration::from_millis(500);
            settings.max_staleness = Duration::from_hours(24);
        }
    }
}

fn shows(shown: UpstreamCredential) -> impl FnOnce(&mut Snapshot) {
    move |snapshot| {
        if let Placement::Gateway { credential, .. } = &mut snapshot.servers[0].placement {
            *credential = shown;
        }
    }
}

const PLACE: &str = "file:/run/secrets/notes";

async fn with_bearer(machine: &Machine) -> World {
    World::with(machine.told(), shows(UpstreamCredential::Bearer(PLACE.parse().unwrap()))).await
}

fn authorization(seen: &Seen) -> &str {
    seen.headers["authorization"].to_str().unwrap()
}

/// An upstream that takes one credential only, and challenges others.
fn taking(wanted: &str) -> impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static {
    let wanted = wanted.to_owned();
    move |seen| {
        if authorization(seen) == wanted {
            return json(200, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        }
        let mut refused = json(401, r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"inside"}}"#);
        refused.headers_mut().insert("www-authenticate", "Bearer realm=inside".parse().unwrap());
        refused.headers_mut().insert("set-cookie", "inside=1".parse().unwrap());
        refused
    }
}

/// Nothing that was said to the caller or written down holds any of these.
fn nowhere(world: &World, answered: &Answered, secrets: &[&str]) {
    let everything = format!("{:?} {} {:?}", answered.headers, answered.text(), world.records());
    for secret in secrets {
        assert!(!everything.contains(secret), "{everything}");
    }
}

#[tokio::test]
async fn pc_05_ups_07_a_bearer_goes_to_the_upstream_and_to_nobody_else() {
    let machine = Machine::holding(PLACE, "open-sesame");
    let world = with_bearer(&machine).await;
    let token = world.token();
    let answered = world.served(tool(&token, "list_notes")).await;
    assert_eq!(authorization(&world.upstream.last()), "Bearer open-sesame");
    assert!(!format!("{:?}", world.upstream.last().headers).contains(&token));
    nowhere(&world, &answered, &["sesame", &token]);
    // What the upstream says about it is between it and us.
    world.upstream.answers(taking("Bearer something-else"));
    let before = world.upstream.count();
    let answered = world.send(tool(&token, "list_notes")).await;
    assert_eq!((answered.status.as_u16(), answered.code()), (502, -31502));
    assert_eq!(world.upstream.count(), before + 1, "nothing better is known, so it is not asked again");
    assert_eq!((answered.challenge(), answered.header("set-cookie")), ("", ""));
    nowhere(&world, &answered, &["sesame", "inside"]);
}

#[tokio::test]
async fn pc_05_a_changed_bearer_is_read_again_when_it_is_refused_and_after_a_while() {
    let machine = Machine::holding(PLACE, "old");
    let world = with_bearer(&machine).await;
    let ask = tool(&world.token(), "list_notes");
    world.served(ask.clone()).await;
    machine.put(PLACE, "new");
    world.served(ask.clone()).await;
    assert_eq!(authorization(&world.upstream.last()), "Bearer old", "it was read a moment ago");
    world.upstream.answers(taking("Bearer new"));
    let before = world.upstream.count();
    assert_eq!(world.send(ask.clone()).await.status, 200);
    let shown: Vec<String> =
        world.upstream.newest(2).iter().map(|seen| authorization(seen).to_owned()).collect();
    assert_eq!((shown, world.upstream.count()), (vec!["Bearer old".into(), "Bearer new".into()], before + 2));
    machine.put(PLACE, "newer");
    world.upstream.answers(taking("Bearer newer"));
    world.advance(Duration::from_secs(10));
    world.served(ask).await;
}

#[tokio::test]
async fn pc_05_without_its_bearer_nothing_goes_upstream() {
    let machine = Machine::holding(PLACE, "open-sesame");
    let world = with_bearer(&machine).await;
    let ask = tool(&world.token(), "list_notes");
    world.served(ask.clone()).await;
    machine.lose(PLACE);
    world.advance(Duration::from_secs(10));
    let answered = world.refused(ask.clone(), 503).await;
    assert_eq!((answered.code(), answered.header("retry-after")), (-31503, "1"));
    assert!(answered.text().contains("server notes: the secret for the upstream cannot be read"));
    nowhere(&world, &answered, &["/run/secrets"]);
    for unusable in ["", "two words", "line\r\nx-user: root", "ünïcode"] {
        machine.put(PLACE, unusable);
        world.refused(ask.clone(), 503).await;
    }
}

/// An issuer that gives out tokens `t1`, `t2` and so on, each for a minute.
struct TokenIssuer {
    recorder: Recorder,
    given: Arc<AtomicUsize>,
}

impl TokenIssuer {
    async fn start() -> Self {
        let issuer = Self { recorder: Recorder::start().await, given: Arc::default() };
        issuer.gives();
        issuer
    }

    fn origin(&self) -> String {
        self.recorder.address.trim_end_matches("/mcp").to_owned()
    }

    fn gives(&self) {
        let (given, origin) = (Arc::clone(&self.given), self.origin());
        self.recorder.answers(move |seen| match seen.target.as_str() {
            "/.well-known/oauth-authorization-server" => {
                json(200, &format!(r#"{{"issuer":"{origin}","token_endpoint":"{origin}/token"}}"#))
            }
            "/token" => {
                let number = given.fetch_add(1, Ordering::SeqCst) + 1;
                json(200, &format!(r#"{{"access_token":"t{number}","token_type":"Bearer","expires_in":60}}"#))
            }
            _ => respond(404, "text/plain", ""),
        });
    }

    fn client(at: TokenEndpoint) -> UpstreamCredential {
        UpstreamCredential::ClientCredentials(Box::new(ClientCredentials {
            at,
            client_id: "us & co".into(),
            secret: "env:CLIENT_SECRET".parse().unwrap(),
            scopes: "a b".parse().unwrap(),
            resource: Some("https://notes.example/mcp".into()),
        }))
    }

    async fn world(&self) -> World {
        let machine = Machine::holding("env:CLIENT_SECRET", "open:sesame");
        let at = TokenEndpoint::Url(format!("{}/token", self.origin()));
        World::with(machine.told(), shows(TokenIssuer::client(at))).await
    }
}

#[tokio::test]
async fn pc_05_a_token_of_the_upstreams_issuer_is_got_once_for_everybody() {
    let issuer = TokenIssuer::start().await;
    let world = issuer.world().await;
    let (agent, user) =
        (tool(&world.token(), "list_notes"), tool(&world.user_token("notes:read"), "list_notes"));
    let calls = (0..20).map(|at| world.send(if at % 2 == 0 { agent.clone() } else { user.clone() }));
    for answered in futures_util::future::join_all(calls).await {
        assert_eq!(answered.status, 200, "{}", answered.text());
        nowhere(&world, &answered, &["t1", "sesame"]);
    }
    assert_eq!(issuer.recorder.count(), 1);
    let asked = issuer.recorder.last();
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("POST", "/token"));
    let form = String::from_utf8(asked.body.to_vec()).unwrap();
    assert_eq!(form, "grant_type=client_credentials&scope=a+b&resource=https%3A%2F%2Fnotes.example%2Fmcp");
    let basic = base64::engine::general_purpose::STANDARD.encode("us+%26+co:open%3Asesame");
    assert_eq!(authorization(&asked), format!("Basic {basic}"));
    for seen in world.upstream.newest(20) {
        assert_eq!(authorization(&seen), "Bearer t1");
        assert!(!format!("{:?}", seen.headers).contains(&basic));
    }
}

#[tokio::test]
async fn pc_05_a_token_is_renewed_before_its_end_while_the_old_one_serves() {
    let issuer = TokenIssuer::start().await;
    let world = issuer.world().await;
    let ask = tool(&world.token(), "list_notes");
    world.served(ask.clone()).await;
    // It counts for 55 s, and is renewed from 42 s on.
    world.advance(Duration::from_secs(41));
    world.served(ask.clone()).await;
    assert_eq!((issuer.recorder.count(), authorization(&world.upstream.last())), (1, "Bearer t1"));
    world.advance(Duration::from_secs(1));
    world.served(ask.clone()).await;
    assert_eq!(authorization(&world.upstream.last()), "Bearer t1", "nobody waits");
    while authorization(&world.upstream.last()) == "Bearer t1" {
        world.served(ask.clone()).await;
    }
    assert_eq!((issuer.recorder.count(), authorization(&world.upstream.last())), (2, "Bearer t2"));
    world.advance(Duration::from_hours(1));
    world.served(tool(&world.token(), "list_notes")).await;
    assert_eq!(authorization(&world.upstream.last()), "Bearer t3", "an ended token is not sent");
}

#[tokio::test]
async fn ups_10_a_refused_token_is_got_anew_once_and_a_young_one_not_at_all() {
    let issuer = TokenIssuer::start().await;
    let world = issuer.world().await;
    let ask = tool(&world.token(), "list_notes");
    world.served(ask.clone()).await;
    world.upstream.answers(taking("Bearer t2"));
    let answered = world.send(ask.clone()).await;
    assert_eq!(
        (answered.status.as_u16(), issuer.recorder.count()),
        (502, 1),
        "the next would be refused as well"
    );
    world.advance(Duration::from_secs(10));
    let before = world.upstream.count();
    assert_eq!(world.send(ask.clone()).await.status, 200);
    assert_eq!((world.upstream.count(), issuer.recorder.count()), (before + 2, 2));
    world.upstream.answers(taking("Bearer never"));
    world.advance(Duration::from_secs(10));
    let before = world.upstream.count();
    let answered = world.send(ask.clone()).await;
    assert_eq!(
        (answered.status.as_u16(), world.upstream.count(), issuer.recorder.count()),
        (502, before + 2, 3)
    );
    for _ in 0..5 {
        world.send(ask.clone()).await;
    }
    assert_eq!(issuer.recorder.count(), 3, "an upstream that refuses everything costs its issuer nothing");
    nowhere(&world, &answered, &["inside", "t3"]);
}

#[tokio::test]
async fn ups_09_an_issuer_that_is_dead_slow_or_lying_costs_a_bounded_wait() {
    let issuer = TokenIssuer::start().await;
    let elsewhere = Recorder::start().await;
    let away = elsewhere.address.clone();
    let bad: Vec<(&str, Says)> = vec![
        ("refuses", says(|_| json(401, r#"{"error":"invalid_client","error_description":"inside"}"#))),
        ("fails", says(|_| respond(500, "text/plain", "inside"))),
        ("html", says(|_| respond(200, "text/html", "<p>inside</p>"))),
        ("no token", says(|_| json(200, r#"{"token_type":"Bearer","inside":1}"#))),
        ("other type", says(|_| json(200, r#"{"access_token":"inside","token_type":"DPoP"}"#))),
        (
            "header injection",
            says(|_| json(200, r#"{"access_token":"inside\r\nx-user: root","token_type":"Bearer"}"#)),
        ),
        ("endless", says(|_| json(200, &format!(r#"{{"access_token":"{}"#, "a".repeat(300 * 1024))))),
        (
            "redirects",
            says(move |_| {
                Response::builder().status(307).header("location", &away).body(Body::empty()).unwrap()
            }),
        ),
        (
            "hangs",
            says(|_| {
                let waits = futures_util::stream::pending::<Result<String, std::convert::Infallible>>();
                Response::new(Body::from_stream(waits))
            }),
        ),
    ];
    for (what, answer) in bad {
        let world = issuer.world().await;
        let ask = tool(&world.token(), "list_notes");
        let before = issuer.recorder.count();
        issuer.recorder.answers(answer);
        let answered = world.refused(ask.clone(), 503).await;
        assert_eq!((answered.code(), answered.header("retry-after")), (-31503, "1"), "{what}");
        assert!(answered.text().contains("server notes: no token for the upstream can be got now"));
        nowhere(&world, &answered, &["inside", "sesame", "us & co"]);
        world.refused(ask.clone(), 503).await;
        assert_eq!(issuer.recorder.count(), before + 1, "{what}: not asked by every caller");
        issuer.gives();
        world.advance(Duration::from_secs(1));
        world.served(ask).await;
    }
    assert_eq!(elsewhere.count(), 0, "the secret goes nowhere else");
}

#[tokio::test]
async fn pc_05_an_issuer_says_where_tokens_are_got() {
    let issuer = TokenIssuer::start().await;
    let machine = Machine::holding("env:CLIENT_SECRET", "open:sesame");
    let at = || TokenEndpoint::Issuer(issuer.origin().parse().unwrap());
    let world = World::with(machine.told(), shows(TokenIssuer::client(at()))).await;
    world.served(tool(&world.token(), "list_notes")).await;
    assert_eq!((issuer.recorder.count(), authorization(&world.upstream.last())), (2, "Bearer t1"));
    let elsewhere = Recorder::start().await;
    let (origin, away) = (issuer.origin(), elsewhere.address.clone());
    issuer
        .recorder
        .answers(move |_| json(200, &format!(r#"{{"issuer":"{origin}","token_endpoint":"{away}"}}"#)));
    let world = World::with(machine.told(), shows(TokenIssuer::client(at()))).await;
    world.refused(tool(&world.token(), "list_notes"), 503).await;
    assert_eq!(elsewhere.count(), 0, "the secret goes to the issuer's own origin only");
}

/// A revocation of everything until now.
fn revoked(world: &World) -> Vec<u8> {
    let until = world.now() + Duration::from_mins(15);
    let all = Revocation { target: RevokedTarget::All, at: world.now(), until };
    let update =
        Update::Revoked { number: world.snapshot.number, revocations: vec![all], as_of: world.now() };
    serde_json::to_vec(&update).unwrap()
}

/// The newest outcome in the record.
fn outcome(world: &World) -> (serde_json::Value, serde_json::Value) {
    let ended = world.records().into_iter().rfind(|record| record["kind"] == "call.ended").unwrap();
    (ended["status"].clone(), ended["how"].clone())
}

#[tokio::test]
async fn pc_45_what_ends_while_a_credential_is_got_is_not_sent() {
    let issuer = TokenIssuer::start().await;
    let world = issuer.world().await;
    let (gateway, news, origin) = (world.gateway.clone(), revoked(&world), issuer.origin());
    issuer.recorder.answers(move |_| {
        gateway.feed(&news).unwrap();
        json(
            200,
            &format!(r#"{{"access_token":"t1","token_type":"Bearer","expires_in":60,"at":"{origin}"}}"#),
        )
    });
    world.refused(tool(&world.token(), "list_notes"), 401).await;
    assert_eq!(issuer.recorder.count(), 1);
    assert_eq!(outcome(&world), (401.into(), "token_revoked".into()), "allowed, and not carried out");
}

#[tokio::test]
async fn pc_45_what_becomes_risky_while_a_credential_is_got_is_not_sent_by_its_old_record() {
    let issuer = TokenIssuer::start().await;
    let world = issuer.world().await;
    let mut risky = world.snapshot.clone();
    risky.number += 1;
    risky.servers[0].rules[0].risk = Risk::High;
    let update = Update::Full { snapshot: Box::new(risky), revocations: vec![], as_of: world.now() };
    let (gateway, news) = (world.gateway.clone(), serde_json::to_vec(&update).unwrap());
    issuer.recorder.answers(move |_| {
        gateway.feed(&news).unwrap();
        json(200, r#"{"access_token":"t1","token_type":"Bearer","expires_in":60}"#)
    });
    let refused = world.refused(tool(&world.token(), "list_notes"), 503).await;
    assert_eq!((refused.code(), refused.header("retry-after")), (-31503, "1"));
    assert_eq!(outcome(&world), (503.into(), "rules_changed".into()));
    world.served(tool(&world.token(), "list_notes")).await;
}

#[tokio::test]
async fn pc_45_what_ends_while_the_upstream_refuses_a_credential_is_not_sent_again() {
    let machine = Machine::holding(PLACE, "old");
    let world = with_bearer(&machine).await;
    let ask = tool(&world.token(), "list_notes");
    world.served(ask.clone()).await;
    machine.put(PLACE, "new");
    let takes_new = taking("Bearer new");
    world.upstream.answers(move |seen| takes_new(seen));
    assert_eq!(world.send(ask.clone()).await.status, 200, "it is sent again");
    machine.put(PLACE, "newer");
    let (gateway, news, takes_newer) = (world.gateway.clone(), revoked(&world), taking("Bearer newer"));
    world.upstream.answers(move |seen| {
        gateway.feed(&news).unwrap();
        takes_newer(seen)
    });
    let before = world.upstream.count();
    let answered = world.send(ask).await;
    assert_eq!((answered.status.as_u16(), world.upstream.count()), (401, before + 1));
    assert_eq!(outcome(&world), (401.into(), "token_revoked".into()));
}

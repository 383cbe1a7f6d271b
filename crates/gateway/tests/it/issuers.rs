//! Tokens of other issuers (PC-06), with small issuers that really answer, and count how often they are asked.

use crate::world::{Recorder, World, json, respond, scopes, tool};
use axum::body::Body;
use futures_util::StreamExt as _;
use http::Response;
use portcullis_domain::id::ServerId;
use portcullis_domain::principal::{Revocation, RevokedTarget};
use portcullis_domain::registry::{Issuers, Proof, ScopeClaim, TokenType, TrustedIssuer};
use portcullis_domain::snapshot::Update;
use portcullis_gateway::ClientAddress;
use portcullis_oauth::jwk::ExternalAlgorithm;
use portcullis_oauth::jwt::{self, SigningKey};
use portcullis_oauth::time::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

const AUDIENCE: &str = "https://as.test/mcp/notes";

/// An issuer that is not ours: a key, and the address where it answers.
struct Idp {
    name: &'static str,
    kid: &'static str,
    der: Vec<u8>,
    at: Recorder,
}

impl Idp {
    async fn start(name: &'static str, kid: &'static str) -> Self {
        jwt::install_crypto();
        let der = SigningKey::generate_pkcs8().unwrap();
        let idp = Self { name, kid, der, at: Recorder::start().await };
        idp.publishes(&[idp.jwk()]);
        idp
    }

    fn jwk(&self) -> Value {
        serde_json::to_value(SigningKey::public_jwk(self.kid, &self.der).unwrap()).unwrap()
    }

    fn publishes(&self, keys: &[Value]) {
        let document = json!({ "keys": keys }).to_string();
        self.at.answers(move |_| json(200, &document));
    }

    fn trusted(&self) -> TrustedIssuer {
        TrustedIssuer {
            issuer: self.name.parse().unwrap(),
            proof: Proof::Jwks {
                address: self.at.address.clone(),
                algorithms: ExternalAlgorithm::ALL.to_vec(),
                token_type: TokenType::AccessToken,
            },
            audience: None,
            scope_claim: ScopeClaim::Scope,
            scope_map: None,
            client_claim: None,
            access: scopes("notes:read"),
        }
    }

    fn claims(&self, now: Timestamp) -> Value {
        json!({
            "iss": self.name, "sub": "usr_1", "client_id": "cli_agent", "aud": AUDIENCE, "scope": "notes:read",
            "iat": now.seconds(), "exp": now.seconds() + 300,
        })
    }

    fn sign(&self, typ: &str, claims: &Value) -> String {
        SigningKey::from_pkcs8(self.kid.into(), &self.der).unwrap().sign(typ, claims).unwrap()
    }

    fn token(&self, world: &World, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = self.claims(world.now());
        change(&mut claims);
        self.sign("at+jwt", &claims)
    }
}

/// `notes` trusts these; time goes on when the test says so.
async fn world(own: bool, external: Vec<TrustedIssuer>) -> World {
    World::with(
        |settings| {
            settings.limits.issuers.patience = Duration::from_millis(500);
            settings.secrets =
                Arc::new(|place| (place.to_string() == "env:IDP").then(|| "s3 cret".to_owned()));
        },
        |snapshot| snapshot.servers[0].issuers = Issuers { own, external },
    )
    .await
}

fn pass(world: &World, by: Duration) {
    world.advance(by);
    world.feed_snapshot(&world.snapshot);
}

#[tokio::test]
async fn pc_06_a_token_of_a_trusted_issuer_is_served_and_the_record_says_whose() {
    let idp = Idp::start("https://idp.test/", "k1").await;
    let world = world(false, vec![idp.trusted()]).await;
    let token = idp.token(&world, |_| ());
    for _ in 0..3 {
        world.served(tool(&token, "list_notes")).await;
    }
    assert_eq!(idp.at.count(), 1, "keys are fetched once");
    let record = &world.records()[0];
    assert_eq!(record["subject"], "https://idp.test/|usr_1");
    assert_eq!(record["client"], "https://idp.test/|cli_agent");
    assert!(record.get("agent").is_none());
    let assertion = world.upstream.last().headers["authorization"].to_str().unwrap().to_owned();
    let payload = jwt::unverified_names(assertion.trim_start_matches("Bearer ")).unwrap();
    assert_eq!(payload.issuer, "https://as.test/assertions");
    let refused = world.refused(tool(&world.token(), "list_notes"), 401).await;
    assert!(refused.challenge().contains("invalid_token"), "our own token, where only theirs count");
    let described = world
        .send(
            crate::world::Ask::new("GET", "/.well-known/oauth-protected-resource/mcp/notes")
                .header("host", "as.test"),
        )
        .await;
    assert_eq!(described.json()["authorization_servers"], json!(["https://idp.test/"]));
}

#[tokio::test]
async fn pc_06_ours_and_theirs_side_by_side_and_never_one_for_the_other() {
    let idp = Idp::start("https://idp.test", "k1").await;
    let world = world(true, vec![idp.trusted()]).await;
    world.served(tool(&world.token(), "list_notes")).await;
    assert_eq!(idp.at.count(), 0, "nobody is asked about our own");
    world.served(tool(&idp.token(&world, |_| ()), "list_notes")).await;
    // Signed by them in our name, by us in theirs; both keys are called k1.
    world.refused(tool(&idp.token(&world, |c| c["iss"] = json!("https://as.test")), "list_notes"), 401).await;
    let ours = world.key.sign("at+jwt", &idp.claims(world.now())).unwrap();
    world.refused(tool(&ours, "list_notes"), 401).await;
    // The ceiling holds, whatever the token says.
    let greedy = idp.token(&world, |c| c["scope"] = json!("notes:read notes:write notes:admin"));
    world.served(tool(&greedy, "list_notes")).await;
    let refused = world.refused(tool(&greedy, "create_note"), 403).await;
    assert!(refused.text().contains("tokens of your issuer"), "{}", refused.text());
    let poor = idp.token(&world, |c| c["scope"] = json!("unknown"));
    world.refused(tool(&poor, "list_notes"), 403).await;
    // Another server of ours does not trust them.
    let elsewhere = idp.token(&world, |c| c["aud"] = json!("https://as.test/mcp/ops"));
    let asked = idp.at.count();
    world.refused(tool(&elsewhere, "list_notes").to("/mcp/ops"), 401).await;
    assert_eq!(idp.at.count(), asked, "nothing is fetched for a server that does not trust the issuer");
}

#[tokio::test]
async fn key_06_jwt_12_keys_of_one_issuer_verify_nothing_of_another() {
    let (one, other) =
        (Idp::start("https://one.test", "k1").await, Idp::start("https://other.test", "k1").await);
    let world = world(false, vec![one.trusted(), other.trusted()]).await;
    world.served(tool(&one.token(&world, |_| ()), "list_notes")).await;
    world.served(tool(&other.token(&world, |_| ()), "list_notes")).await;
    world
        .refused(tool(&one.token(&world, |c| c["iss"] = json!("https://other.test")), "list_notes"), 401)
        .await;
    let (asked, other_asked) = (one.at.count(), other.at.count());
    for stranger in ["https://one.test/", "https://ONE.test", "https://evil.test", ""] {
        world.refused(tool(&one.token(&world, |c| c["iss"] = json!(stranger)), "list_notes"), 401).await;
    }
    assert_eq!(
        (one.at.count(), other.at.count()),
        (asked, other_asked),
        "nobody is asked about a stranger's"
    );
}

#[tokio::test]
async fn jwt_01_10_15_aud_10_15_everything_else_about_the_token_must_be_right() {
    let idp = Idp::start("https://idp.test", "k1").await;
    let world = world(false, vec![idp.trusted()]).await;
    let good = idp.token(&world, |_| ());
    world.served(tool(&good, "list_notes")).await;
    let now = world.now().seconds();
    let mut bad: Vec<String> = [
        ("aud", json!("https://as.test/mcp/notes/")),
        ("aud", json!("https://as.test/mcp/ops")),
        ("aud", json!("https://as.test")),
        ("aud", json!([AUDIENCE, "https://as.test/mcp/ops"])),
        ("aud", Value::Null),
        ("exp", json!(now - 31)),
        ("exp", json!((now + 300).to_string())),
        ("exp", json!(now + 25 * 3600)),
        ("nbf", json!(now + 31)),
        ("iat", json!(now + 31)),
        ("iat", Value::Null),
        ("sub", json!("")),
        ("client_id", Value::Null),
        ("scope", json!(5)),
    ]
    .into_iter()
    .map(|(claim, value)| idp.token(&world, |c| c[claim] = value))
    .collect();
    let claims = idp.claims(world.now());
    bad.extend(["JWT", "", "logout+jwt", "id+jwt"].map(|typ| idp.sign(typ, &claims)));
    let parts: Vec<&str> = good.split('.').collect();
    // {"alg":"none",…} and {"alg":"HS256",…}, both with kid k1 and typ at+jwt
    for header in [
        "eyJhbGciOiJub25lIiwia2lkIjoiazEiLCJ0eXAiOiJhdCtqd3QifQ",
        "eyJhbGciOiJIUzI1NiIsImtpZCI6ImsxIiwidHlwIjoiYXQrand0In0",
    ] {
        bad.push(format!("{header}.{}.{}", parts[1], parts[2]));
        bad.push(format!("{header}.{}.", parts[1]));
    }
    bad.push(format!("{}.{}.{}", parts[0], parts[1], "A".repeat(86)));
    for token in bad {
        let answered = world.refused(tool(&token, "list_notes"), 401).await;
        assert!(answered.challenge().contains("invalid_token"));
    }
    world.served(tool(&good, "list_notes")).await;
}

#[tokio::test]
async fn pc_06_providers_are_taken_as_they_are_only_where_the_operator_says_so() {
    let idp = Idp::start("https://idp.test", "k1").await;
    let mut trusted = idp.trusted();
    trusted.audience = Some("api://notes".into());
    trusted.scope_claim = ScopeClaim::Scp;
    trusted.scope_map = Some(BTreeMap::from([("Notes.Read".to_owned(), "notes:read".parse().unwrap())]));
    trusted.proof = Proof::Jwks {
        address: idp.at.address.clone(),
        algorithms: vec![ExternalAlgorithm::ES256],
        token_type: TokenType::AnyJwt,
    };
    let world = world(false, vec![trusted.clone()]).await;
    let theirs = |change: fn(&mut Value)| {
        let mut claims = idp.claims(world.now());
        claims["aud"] = json!(["api://notes"]);
        claims["scp"] = json!("Notes.Read Other");
        claims["azp"] = claims["client_id"].take();
        claims.as_object_mut().unwrap().remove("client_id");
        change(&mut claims);
        idp.sign("JWT", &claims)
    };
    world.served(tool(&theirs(|_| ()), "list_notes")).await;
    for bad in [
        theirs(|c| c["aud"] = json!(AUDIENCE)),
        theirs(|c| c["nonce"] = json!("n")),
        theirs(|c| c["events"] = json!({})),
    ] {
        world.refused(tool(&bad, "list_notes"), 401).await;
    }
    world.refused(tool(&theirs(|c| c["scp"] = json!("notes:read")), "list_notes"), 403).await;
    let mut narrowed = world.snapshot.clone();
    narrowed.number += 1;
    trusted.proof = Proof::Jwks {
        address: idp.at.address.clone(),
        algorithms: vec![ExternalAlgorithm::RS256],
        token_type: TokenType::AnyJwt,
    };
    narrowed.servers[0].issuers.external = vec![trusted];
    world.feed_snapshot(&narrowed);
    world.refused(tool(&theirs(|_| ()), "list_notes"), 401).await;
}

#[tokio::test]
async fn key_02_04_rotation_is_noticed_and_floods_of_unknown_keys_cost_one_fetch() {
    let mut idp = Idp::start("https://idp.test", "k1").await;
    let world = world(false, vec![idp.trusted()]).await;
    let old = idp.token(&world, |_| ());
    world.served(tool(&old, "list_notes")).await;
    assert_eq!(idp.at.count(), 1);
    pass(&world, Duration::from_secs(30));
    for _ in 0..50 {
        let key = SigningKey::from_pkcs8("unknown".into(), &idp.der).unwrap();
        let token = key.sign("at+jwt", &idp.claims(world.now())).unwrap();
        world.refused(tool(&token, "list_notes"), 401).await;
        world.served(tool(&old, "list_notes")).await;
    }
    assert_eq!(idp.at.count(), 2, "one more fetch for all of them");
    let first = idp.jwk();
    idp.der = SigningKey::generate_pkcs8().unwrap();
    idp.kid = "k2";
    idp.publishes(&[first, idp.jwk()]);
    pass(&world, Duration::from_secs(30));
    let new = idp.token(&world, |_| ());
    world.served(tool(&new, "list_notes")).await;
    world.served(tool(&old, "list_notes")).await;
    assert_eq!(idp.at.count(), 3);
    idp.publishes(&[idp.jwk()]);
    pass(&world, Duration::from_mins(1));
    let stranger = SigningKey::from_pkcs8("k3".into(), &idp.der).unwrap();
    world.refused(tool(&stranger.sign("at+jwt", &idp.claims(world.now())).unwrap(), "list_notes"), 401).await;
    world.refused(tool(&old, "list_notes"), 401).await;
    world.served(tool(&new, "list_notes")).await;
}

#[tokio::test]
async fn key_05_a_bad_document_replaces_nothing_and_old_keys_end() {
    let idp = Idp::start("https://idp.test", "k1").await;
    let world = world(false, vec![idp.trusted()]).await;
    world.served(tool(&idp.token(&world, |_| ()), "list_notes")).await;
    let other =
        serde_json::to_value(SigningKey::public_jwk("k1", &SigningKey::generate_pkcs8().unwrap()).unwrap())
            .unwrap();
    let twice = json!({ "keys": [idp.jwk(), other] }).to_string();
    let huge = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(300 * 1024));
    let documents =
        [String::new(), "<html>".into(), "{\"keys\":[]}".into(), "{\"keys\":[{".into(), twice, huge];
    for document in documents {
        idp.at.answers(move |_| json(200, &document));
        pass(&world, Duration::from_mins(11));
        let before = idp.at.count();
        let unknown = SigningKey::from_pkcs8("k9".into(), &idp.der).unwrap();
        let unknown = unknown.sign("at+jwt", &idp.claims(world.now())).unwrap();
        world.refused(tool(&unknown, "list_notes"), 401).await;
        assert_eq!(idp.at.count(), before + 1);
        world.served(tool(&idp.token(&world, |_| ()), "list_notes")).await;
    }
    let elsewhere = idp.at.address.clone();
    idp.at.answers(move |_| redirect(&elsewhere));
    pass(&world, Duration::from_mins(11));
    world.served(tool(&idp.token(&world, |_| ()), "list_notes")).await;
    pass(&world, Duration::from_hours(24));
    let answered = world.refused(tool(&idp.token(&world, |_| ()), "list_notes"), 503).await;
    assert_eq!(answered.header("retry-after"), "1");
    assert!(answered.text().contains("issuer"), "{}", answered.text());
    idp.publishes(&[idp.jwk()]);
    pass(&world, Duration::from_secs(3));
    world.served(tool(&idp.token(&world, |_| ()), "list_notes")).await;
}

fn redirect(to: &str) -> Response<Body> {
    Response::builder().status(302).header("location", to).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn key_05_an_issuer_that_is_dead_slow_or_sends_us_elsewhere_is_waited_for_only_so_long() {
    let idp = Idp::start("https://idp.test", "k1").await;
    let elsewhere = Idp::start("https://idp.test", "k1").await;
    let mut dead = idp.trusted();
    dead.proof = Proof::Jwks {
        address: "http://127.0.0.1:1/keys".into(),
        algorithms: ExternalAlgorithm::ALL.to_vec(),
        token_type: TokenType::AccessToken,
    };
    let of_dead = world(false, vec![dead]).await;
    of_dead.refused(tool(&idp.token(&of_dead, |_| ()), "list_notes"), 503).await;
    let world = world(false, vec![idp.trusted()]).await;
    let to = elsewhere.at.address.clone();
    idp.at.answers(move |_| redirect(&to));
    world.refused(tool(&idp.token(&world, |_| ()), "list_notes"), 503).await;
    assert_eq!(elsewhere.at.count(), 0, "redirects are not followed");
    // The headers come, the body never ends.
    idp.at.answers(|_| {
        Response::new(Body::from_stream(futures_util::stream::pending::<Result<&[u8], std::io::Error>>()))
    });
    pass(&world, Duration::from_secs(3));
    let unhurried = world.refused(tool(&idp.token(&world, |_| ()), "list_notes"), 503);
    tokio::time::timeout(Duration::from_secs(30), unhurried).await.unwrap();
    idp.publishes(&[idp.jwk()]);
    pass(&world, Duration::from_secs(3));
    world.served(tool(&idp.token(&world, |_| ()), "list_notes")).await;
}

#[tokio::test]
async fn pc_45_revoking_everything_the_server_or_the_token_ends_theirs_too_and_removing_the_issuer_ends_all()
{
    let idp = Idp::start("https://idp.test", "k1").await;
    let world = world(true, vec![idp.trusted()]).await;
    let revoke = |target| {
        let until = world.now() + Duration::from_hours(24);
        world.revoke(Revocation { target, at: world.now(), until });
    };
    let token = idp.token(&world, |_| ());
    world.served(tool(&token, "list_notes")).await;
    // Its client only has the name of one of ours.
    revoke(RevokedTarget::Client("cli_agent".parse().unwrap()));
    world.served(tool(&token, "list_notes")).await;
    let named = world.records()[0]["token"].as_str().unwrap().parse().unwrap();
    revoke(RevokedTarget::Token(named));
    world.refused(tool(&token, "list_notes"), 401).await;
    let another = idp.token(&world, |c| c["jti"] = json!("2"));
    world.served(tool(&another, "list_notes")).await;
    revoke(RevokedTarget::Server(ServerId::from_bytes([77; 16])));
    world.served(tool(&another, "list_notes")).await;
    revoke(RevokedTarget::Server(world.snapshot.servers[0].id));
    world.refused(tool(&another, "list_notes"), 401).await;
    // Its clock may be ahead of ours by the leeway.
    pass(&world, Duration::from_secs(30));
    world.refused(tool(&idp.token(&world, |_| ()), "list_notes"), 401).await;
    pass(&world, Duration::from_secs(1));
    let another = idp.token(&world, |c| c["jti"] = json!("3"));
    world.served(tool(&another, "list_notes")).await;
    // Made a moment ago, by a clock that is ahead.
    let ahead = idp.token(&world, |c| c["iat"] = json!(world.now().seconds() + 30));
    world.served(tool(&ahead, "list_notes")).await;
    revoke(RevokedTarget::All);
    world.refused(tool(&another, "list_notes"), 401).await;
    world.refused(tool(&ahead, "list_notes"), 401).await;
    pass(&world, Duration::from_secs(31));
    let later = idp.token(&world, |_| ());
    world.served(tool(&later, "list_notes")).await;
    let mut without = world.snapshot.clone();
    without.number += 1;
    without.servers[0].issuers = Issuers::default();
    world.feed_snapshot(&without);
    world.refused(tool(&later, "list_notes"), 401).await;
}

fn asked(idp: &Idp) -> TrustedIssuer {
    let proof = Proof::Introspection {
        address: idp.at.address.clone(),
        client_id: "us:here".into(),
        secret: "env:IDP".parse().unwrap(),
    };
    TrustedIssuer { proof, ..idp.trusted() }
}

fn says(idp: &Idp, world: &World, change: impl FnOnce(&mut Value)) {
    let mut answer = idp.claims(world.now());
    answer["active"] = json!(true);
    change(&mut answer);
    let answer = answer.to_string();
    idp.at.answers(move |_| json(200, &answer));
}

#[tokio::test]
async fn intr_03_06_an_opaque_token_is_asked_about_once_and_again_after_a_short_time() {
    let idp = Idp::start("https://idp.test", "k1").await;
    let world = world(false, vec![asked(&idp)]).await;
    says(&idp, &world, |_| ());
    let (one, other, third) = tokio::join!(
        world.send(tool("opaque-1", "list_notes")),
        world.send(tool("opaque-1", "list_notes")),
        world.send(tool("opaque-1", "list_notes")),
    );
    assert_eq!([one.status, other.status, third.status].map(|status| status.as_u16()), [200; 3]);
    assert_eq!(idp.at.count(), 1, "one question for all of them");
    let question = idp.at.last();
    assert_eq!(question.headers["authorization"], "Basic dXMlM0FoZXJlOnMzK2NyZXQ=", "form-encoded first");
    assert_eq!(&question.body[..], b"token=opaque-1&token_type_hint=access_token");
    idp.at.answers(|_| json(200, r#"{"active":false}"#));
    world.served(tool("opaque-1", "list_notes")).await;
    pass(&world, Duration::from_secs(30));
    world.refused(tool("opaque-1", "list_notes"), 401).await;
    assert_eq!(idp.at.count(), 2);
    for _ in 0..5 {
        world.refused(tool("opaque-1", "list_notes"), 401).await;
    }
    assert_eq!(idp.at.count(), 2, "what is not active is remembered too");
}

#[tokio::test]
async fn intr_07_no_answer_is_no_yes_and_what_it_says_must_suffice() {
    let idp = Idp::start("https://idp.test", "k1").await;
    let world = world(false, vec![asked(&idp)]).await;
    says(&idp, &world, |_| ());
    world.served(tool("good", "list_notes")).await;
    for (claim, value) in [
        ("aud", Value::Null),
        ("aud", json!("https://as.test/mcp/ops")),
        ("aud", json!([AUDIENCE, "x"])),
        ("iss", json!("https://evil.test")),
        ("exp", Value::Null),
        ("exp", json!(world.now().seconds() - 31)),
        ("iat", Value::Null),
        ("sub", Value::Null),
        ("client_id", Value::Null),
    ] {
        says(&idp, &world, |answer| {
            answer[claim] = value.clone();
            if value.is_null() {
                answer.as_object_mut().unwrap().remove(claim);
            }
        });
        world.refused(tool(&format!("bad-{claim}-{}", value.to_string().len()), "list_notes"), 401).await;
    }
    for (number, (status, body)) in [
        (500, "{}"),
        (401, "{}"),
        (200, "[]"),
        (200, "{}"),
        (200, r#"{"active":"true"}"#),
        (200, "<html>"),
        (200, r#"{"active":false,"active":true}"#),
    ]
    .into_iter()
    .enumerate()
    {
        idp.at.answers(move |_| respond(status, "application/json", body));
        world.refused(tool(&format!("unclear-{number}"), "list_notes"), 503).await;
    }
    // Nothing of ours and no broken JWT is shown to anybody.
    let before = idp.at.count();
    let ours = world.token();
    for (token, status) in [
        ("pcr_abc", 401),
        ("pcs_abc", 401),
        ("pce_abc", 401),
        ("pcx_abc", 401),
        (ours.as_str(), 401),
        (&ours[1..], 401),
        (&ours[..ours.len() - 100], 401),
        (ours.split_once('.').unwrap().1, 401),
        (&format!("x{ours}"), 401),
        ("eyJx.y.z", 401),
        (&"a".repeat(9000), 401),
    ] {
        world.refused(tool(token, "list_notes"), status).await;
    }
    assert_eq!(idp.at.count(), before);
}

#[tokio::test]
async fn aud_14_a_jwt_of_theirs_that_is_tied_to_a_key_opens_nothing_to_its_bearer() {
    let idp = Idp::start("https://idp.test", "k1").await;
    let world = world(false, vec![idp.trusted()]).await;
    world.served(tool(&idp.token(&world, |_| ()), "list_notes")).await;
    for cnf in
        [json!({ "jkt": "0ZcOCORZNYy" }), json!({ "x5t#S256": "bwcK0esc3ACC" }), json!({}), Value::Null]
    {
        let bound = idp.token(&world, |c| c["cnf"] = cnf.clone());
        world.refused(tool(&bound, "list_notes"), 401).await;
    }
    assert_eq!(world.gateway.refused_strangers()[&("token_bound", "notes".to_owned())], 4);
}

#[tokio::test]
async fn aud_14_an_opaque_token_of_another_type_is_not_active_for_its_bearer() {
    let idp = Idp::start("https://idp.test", "k1").await;
    let world = world(false, vec![asked(&idp)]).await;
    for (number, stated) in ["Bearer", "bearer", "BEARER"].into_iter().enumerate() {
        says(&idp, &world, |answer| answer["token_type"] = json!(stated));
        world.served(tool(&format!("good-{number}"), "list_notes")).await;
    }
    for (number, (member, value)) in [
        ("token_type", json!("DPoP")),
        ("token_type", json!("N_A")),
        ("token_type", json!("Bearer ")),
        ("token_type", json!("")),
        ("token_type", json!(["Bearer"])),
        ("cnf", json!({ "jkt": "0ZcOCORZNYy" })),
        ("cnf", json!({ "x5t#S256": "bwcK0esc3ACC" })),
        ("cnf", json!({})),
    ]
    .into_iter()
    .enumerate()
    {
        says(&idp, &world, |answer| {
            answer["token_type"] = json!("Bearer");
            answer[member] = value.clone();
        });
        world.refused(tool(&format!("bound-{number}"), "list_notes"), 401).await;
    }
    // So some say that there is none.
    for member in ["token_type", "cnf"] {
        says(&idp, &world, |answer| answer[member] = Value::Null);
        world.served(tool(&format!("without-{member}"), "list_notes")).await;
    }
}

#[tokio::test]
async fn intr_an_opaque_token_may_have_dots() {
    let idp = Idp::start("https://idp.test", "k1").await;
    let world = world(false, vec![asked(&idp)]).await;
    says(&idp, &world, |_| ());
    for token in ["ory_at_abc.def", "ya29.c.b0Aaek", "v4.local.AAAAAAAA", "v4.local.AAAAAAAA.Zm9v"] {
        world.served(tool(token, "list_notes")).await;
    }
}

/// Answers nothing to `token` but what stands there; whoever asks about another waits in vain.
fn says_only_of(idp: &Idp, world: &World, token: &'static str) {
    let mut answer = idp.claims(world.now());
    answer["active"] = json!(true);
    let answer = answer.to_string();
    idp.at.answers(move |seen| {
        if seen.body.starts_with(format!("token={token}&").as_bytes()) {
            return json(200, &answer);
        }
        Response::new(Body::from_stream(futures_util::stream::pending::<Result<&[u8], std::io::Error>>()))
    });
}

#[tokio::test]
async fn dos_made_up_tokens_take_no_place_of_those_that_were_good() {
    let idp = Idp::start("https://idp.test", "k1").await;
    let world = world(false, vec![asked(&idp)]).await;
    says(&idp, &world, |_| ());
    world.served(tool("known", "list_notes")).await;
    pass(&world, Duration::from_secs(30));
    says_only_of(&idp, &world, "known");
    let before = idp.at.count();
    let strangers = (0..100).map(|number| world.send(tool(&format!("made-up-{number}"), "list_notes")));
    let known = async {
        while idp.at.count() < before + 32 {
            tokio::task::yield_now().await;
        }
        world.send(tool("known", "list_notes")).await
    };
    let (refused, served) = tokio::join!(futures_util::future::join_all(strangers), known);
    assert_eq!(served.status, 200, "{}", served.text());
    assert!(refused.iter().all(|answered| answered.status == 503));
    assert_eq!(idp.at.count(), before + 32 + 1, "half of the places are for them");
}

#[tokio::test]
async fn dos_questions_without_an_answer_are_paid_for_by_their_address() {
    let idp = Idp::start("https://idp.test", "k1").await;
    let world = World::with(
        |settings| {
            settings.limits.issuers.patience = Duration::from_millis(50);
            settings.limits.bad_signatures_per_minute = NonZeroU32::new(30).unwrap();
            settings.secrets = Arc::new(|_| Some("s3 cret".to_owned()));
        },
        |snapshot| {
            snapshot.servers[0].issuers = Issuers { own: true, external: vec![asked(&idp)] };
        },
    )
    .await;
    says(&idp, &world, |_| ());
    let here = ClientAddress("192.0.2.1".parse().unwrap());
    let from_here = |token: &str| tool(token, "list_notes").from(here);
    world.served(from_here("known")).await;
    says_only_of(&idp, &world, "known");
    for number in 0..3 {
        world.refused(from_here(&format!("made-up-{number}")), 503).await;
    }
    let asked = idp.at.count();
    let refused = world.refused(from_here("made-up-4"), 429).await;
    assert_eq!(refused.json()["error"]["data"]["limit"], "unanswered_questions");
    assert_eq!(idp.at.count(), asked, "nobody is asked");
    // One of ours, and never seen before.
    world.served(from_here(&world.token())).await;
    // Whoever was let in before is asked about all the same.
    pass(&world, Duration::from_secs(30));
    world.served(from_here("known")).await;
    let elsewhere = ClientAddress("192.0.2.2".parse().unwrap());
    world.refused(tool("made-up-5", "list_notes").from(elsewhere), 503).await;
}

#[tokio::test]
async fn dos_what_is_not_active_makes_nobody_forget_what_is() {
    let idp = Idp::start("https://idp.test", "k1").await;
    let world = World::with(
        |settings| {
            settings.limits.signatures = 4;
            settings.secrets = Arc::new(|_| Some("s3 cret".to_owned()));
        },
        |snapshot| {
            snapshot.servers[0].issuers = Issuers { own: true, external: vec![asked(&idp)] };
        },
    )
    .await;
    says(&idp, &world, |_| ());
    world.served(tool("known", "list_notes")).await;
    idp.at.answers(|_| json(200, r#"{"active":false}"#));
    for number in 0..20 {
        world.refused(tool(&format!("made-up-{number}"), "list_notes"), 401).await;
    }
    let asked = idp.at.count();
    world.served(tool("known", "list_notes")).await;
    assert_eq!(idp.at.count(), asked);
}

#[tokio::test]
async fn dos_tokens_of_theirs_for_others_make_nobody_forget_what_is_good_here() {
    let idp = Idp::start("https://idp.test", "k1").await;
    let world = World::with(
        |settings| {
            settings.limits.signatures = 4;
            settings.secrets = Arc::new(|_| Some("s3 cret".to_owned()));
        },
        |snapshot| {
            snapshot.servers[0].issuers = Issuers { own: true, external: vec![asked(&idp)] };
        },
    )
    .await;
    says(&idp, &world, |_| ());
    world.served(tool("known", "list_notes")).await;
    says(&idp, &world, |answer| answer["aud"] = json!("https://other.example"));
    for number in 0..20 {
        world.refused(tool(&format!("elsewhere-{number}"), "list_notes"), 401).await;
    }
    let asked = idp.at.count();
    world.served(tool("known", "list_notes")).await;
    assert_eq!(idp.at.count(), asked);
}

#[tokio::test]
async fn strm_03_a_stream_whose_issuer_cannot_be_asked_ends_and_says_why() {
    let idp = Idp::start("https://idp.test", "k1").await;
    let world = world(false, vec![asked(&idp)]).await;
    says(&idp, &world, |_| ());
    let event = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{}}\n\n";
    world.upstream.answers(move |_| {
        let events = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(event)]);
        let body = Body::from_stream(events.chain(futures_util::stream::pending()));
        Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
    });
    let response = world.open(tool("opaque", "list_notes")).await;
    let mut body = response.into_body().into_data_stream();
    assert!(body.next().await.is_some());
    idp.at.answers(|_| respond(500, "text/plain", ""));
    pass(&world, Duration::from_secs(45));
    let last = body.next().await.unwrap().unwrap();
    let last = String::from_utf8_lossy(&last);
    assert!(last.contains("-31503") && last.contains("issuer"), "{last}");
    assert!(body.next().await.is_none());
    drop(body);
    let ended = world.records().into_iter().rfind(|record| record["stream"].is_object()).unwrap();
    assert_eq!(ended["stream"]["how"], "issuer_away");
}

#[tokio::test]
async fn pc_45_what_was_heard_while_an_issuer_was_asked_counts() {
    let idp = Idp::start("https://idp.test", "k1").await;
    let world = world(false, vec![asked(&idp)]).await;
    says(&idp, &world, |_| ());
    world.served(tool("opaque", "list_notes")).await;
    let mut without = world.snapshot.clone();
    without.number += 1;
    without.servers[0].issuers.external[0].access = scopes("");
    let gateway = world.gateway.clone();
    let meanwhile = || {
        pass(&world, Duration::from_secs(30));
        let mut answer = idp.claims(world.now());
        answer["active"] = json!(true);
        let answer = answer.to_string();
        let update = Update::Full { snapshot: Box::new(without), revocations: vec![], as_of: world.now() };
        let update = serde_json::to_vec(&update).unwrap();
        idp.at.answers(move |_| {
            gateway.feed(&update).unwrap();
            json(200, &answer)
        });
    };
    let before = world.upstream.count();
    assert_eq!(world.send_slowly(tool("opaque", "list_notes"), meanwhile).await, 403);
    assert_eq!(world.upstream.count(), before);
}

//! Tokens that no issuer makes: whatever is signed, and by whatever, only what we would have signed counts.

use crate::world::{NOW, World, claims, tool};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis_oauth::jwk::JwkSet;
use portcullis_oauth::jwt::SigningKey;
use serde_json::{Value, json};

/// A key with which anything can be signed.
struct Forge {
    pair: EcdsaKeyPair,
    /// As the authority publishes it.
    published: Value,
}

impl Forge {
    fn new() -> (Self, JwkSet) {
        let der = SigningKey::generate_pkcs8().unwrap();
        let public = SigningKey::public_jwk("k1", &der).unwrap();
        let published = serde_json::to_value(&public).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).unwrap();
        (Self { pair, published }, JwkSet { keys: vec![public] })
    }

    /// These texts, signed as they stand.
    fn sign(&self, header: &str, payload: &str) -> String {
        let message = message(header, payload);
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn message(header: &str, payload: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
}

/// The gateway believes the forge's key, as `k1`.
async fn world() -> (World, Forge) {
    let (forge, keys) = Forge::new();
    let world = World::with(|_| (), |snapshot| snapshot.keys = keys).await;
    world.served(tool(&forge.sign(GOOD, &good()), "list_notes")).await;
    (world, forge)
}

const GOOD: &str = r#"{"alg":"ES256","typ":"at+jwt","kid":"k1"}"#;

fn good() -> String {
    serde_json::to_string(&claims(NOW)).unwrap()
}

/// The good claims, with one of them as this text; `None`: without it.
fn with(claim: &str, value: Option<&str>) -> String {
    let mut claims = serde_json::to_value(claims(NOW)).unwrap();
    claims.as_object_mut().unwrap().remove(claim).unwrap();
    let rest = claims.to_string();
    match value {
        Some(value) => format!("{{\"{claim}\":{value},{}", &rest[1..]),
        None => rest,
    }
}

/// Refused with 401, the challenge says no more than that it does not count, and nothing reaches the upstream.
async fn refused(world: &World, token: &str, what: &str) {
    let answered = world.refused(tool(token, "list_notes"), 401).await;
    assert!(answered.challenge().contains(r#"error="invalid_token""#), "{what}: {}", answered.challenge());
    assert_eq!(answered.code(), -31401, "{what}");
}

#[tokio::test]
async fn jwt_02_what_is_public_about_a_key_is_no_secret_to_sign_with() {
    let (world, forge) = world().await;
    let point = forge.pair.public_key().as_ref();
    let spki = forge.pair.public_key();
    let spki =
        aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'static>>::as_der(spki).unwrap();
    let pem =
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(spki.as_ref()));
    let published = forge.published.to_string();
    let secrets: [&[u8]; 7] =
        [point, spki.as_ref(), pem.as_bytes(), pem.trim().as_bytes(), published.as_bytes(), b"k1", b""];
    for (alg, algorithm) in
        [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)]
    {
        for secret in secrets {
            for stated in [alg, "ES256"] {
                let message = message(&GOOD.replace("ES256", stated), &good());
                let tag = hmac::sign(&hmac::Key::new(algorithm, secret), message.as_bytes());
                let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag));
                refused(&world, &token, alg).await;
            }
        }
    }
}

#[tokio::test]
async fn jwt_04_keys_that_a_token_brings_along_count_for_nothing() {
    let (world, _) = world().await;
    let (stranger, _) = Forge::new();
    let mut jwk = stranger.published.clone();
    for kid in ["k1", "k9"] {
        jwk["kid"] = kid.into();
        for brought in [
            json!({}),
            json!({ "jwk": jwk }),
            json!({ "x5c": ["MIIB"] }),
            json!({ "jku": "https://evil.test/keys" }),
            json!({ "x5u": "https://evil.test/cert" }),
            json!({ "iss": "https://as.test", "jwk": jwk }),
        ] {
            let mut header: Value = serde_json::from_str(GOOD).unwrap();
            header["kid"] = kid.into();
            header.as_object_mut().unwrap().extend(brought.as_object().unwrap().clone());
            refused(&world, &stranger.sign(&header.to_string(), &good()), &header.to_string()).await;
        }
    }
}

#[tokio::test]
async fn jwt_06_a_key_id_is_looked_up_in_memory_and_is_nothing_else() {
    let (world, forge) = world().await;
    let long = format!("\"{}\"", "k".repeat(3000));
    for kid in [
        r#""../../../../dev/null""#,
        r#""/dev/null""#,
        r#""' OR '1'='1""#,
        r#""k1\u0000""#,
        r#""k1 ""#,
        r#""K1""#,
        r#""""#,
        r#""|sleep 3""#,
        r#""https://evil.test/k1""#,
        &long,
        "1",
        "null",
        r#"["k1"]"#,
        r#"{"k1":1}"#,
    ] {
        refused(&world, &forge.sign(&GOOD.replace(r#""k1""#, kid), &good()), kid).await;
    }
    refused(&world, &forge.sign(r#"{"alg":"ES256","typ":"at+jwt"}"#, &good()), "no kid").await;
}

#[tokio::test]
async fn jwt_08_other_shapes_of_jose_are_no_access_tokens() {
    let (world, forge) = world().await;
    let token = forge.sign(GOOD, &good());
    let parts: Vec<&str> = token.split('.').collect();
    let nested =
        forge.sign(r#"{"alg":"ES256","typ":"at+jwt","kid":"k1","cty":"JWT"}"#, &format!("\"{token}\""));
    let encrypted = format!("{}.{}.{}.{}.{}", parts[0], parts[1], parts[1], parts[2], parts[2]);
    for (other, what) in [
        (nested, "nested"),
        (encrypted, "five parts"),
        (format!("{}.{}.{}==", parts[0], parts[1], parts[2]), "padded signature"),
        (format!("{}..{}", parts[0], parts[2]), "detached payload"),
        (forge.sign(&GOOD.replace('}', r#","zip":"DEF"}"#), &good()), "zip"),
        (forge.sign(&GOOD.replace('}', r#","enc":"A128GCM"}"#), &good()), "enc"),
        (forge.sign(&GOOD.replace('}', r#","alg":"none"}"#), &good()), "alg twice"),
        (forge.sign(&GOOD.replace('{', r#"{"alg":"none","#), &good()), "alg twice"),
        (forge.sign(&GOOD.replace('}', r#","kid":"k1"}"#), &good()), "kid twice"),
        (forge.sign(&format!("{GOOD} "), &good()).replace('.', ".."), "empty parts"),
    ] {
        refused(&world, &other, what).await;
    }
    let as_json = json!({ "protected": parts[0], "payload": parts[1], "signature": parts[2] }).to_string();
    let padded_inside = format!("{}=.{}.{}", parts[0], parts[1], parts[2]);
    for no_bearer_token in [as_json, padded_inside] {
        world.refused(tool(&no_bearer_token, "list_notes"), 400).await;
    }
}

#[tokio::test]
async fn jwt_07_09_signatures_of_another_form_and_tokens_without_end() {
    let (world, forge) = world().await;
    let message = message(GOOD, &good());
    for signature in
        [vec![0; 64], vec![0xff; 64], vec![0; 63], vec![0], vec![], vec![0x30, 6, 2, 1, 0, 2, 1, 0]]
    {
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(&signature));
        refused(&world, &token, "signature").await;
    }
    let long = with("scope", Some(&format!("\"notes:read {}\"", "x".repeat(20_000))));
    refused(&world, &forge.sign(GOOD, &long), "a good signature under too much").await;
}

#[tokio::test]
async fn jwt_13_a_claim_that_stands_twice_is_none() {
    let (world, forge) = world().await;
    let good = good();
    for (claim, other) in [
        ("aud", r#""https://as.test/mcp/ops""#),
        ("aud", r#""https://as.test/mcp/notes""#),
        ("exp", "1"),
        ("exp", "99999999999"),
        ("iss", r#""https://evil.test""#),
        ("scope", r#""notes:read notes:write notes:admin""#),
        ("sub", r#""cli_other""#),
        ("\\u0061ud", r#""https://as.test/mcp/ops""#),
    ] {
        let first = format!("{{\"{claim}\":{other},{}", &good[1..]);
        let last = format!("{},\"{claim}\":{other}}}", &good[..good.len() - 1]);
        for payload in [first, last] {
            refused(&world, &forge.sign(GOOD, &payload), &payload).await;
        }
    }
}

#[tokio::test]
async fn as_prm_03_jwt_10_12_16_claims_of_another_type_are_not_absent() {
    let (world, forge) = world().await;
    for claim in ["iss", "aud", "sub", "client_id", "scope", "exp", "nbf", "iat", "jti", "sid"] {
        refused(&world, &forge.sign(GOOD, &with(claim, None)), claim).await;
        for value in ["null", "true", "[]", "{}", "1e400", "-1", r#"["x"]"#, r#""""#] {
            // No scope at all is one, and too little; a token that counts since long ago counts.
            if ![("scope", r#""""#), ("nbf", "-1")].contains(&(claim, value)) {
                refused(&world, &forge.sign(GOOD, &with(claim, Some(value))), &format!("{claim}: {value}"))
                    .await;
            }
        }
    }
    for exp in [r#""1800000900""#, "1800000900.5", "[1800000900]"] {
        refused(&world, &forge.sign(GOOD, &with("exp", Some(exp))), exp).await;
    }
    for payload in
        ["[]", "null", "1", r#""x""#, "", "{", &format!("\u{feff}{}", good()), &format!("{} {{}}", good())]
    {
        refused(&world, &forge.sign(GOOD, payload), payload).await;
    }
    for iss in [
        r#""https://as.test/""#,
        r#""https://AS.test""#,
        r#""https://as.test:443""#,
        r#"["https://as.test"]"#,
    ] {
        refused(&world, &forge.sign(GOOD, &with("iss", Some(iss))), iss).await;
    }
}

#[tokio::test]
async fn aud_14_a_token_that_is_tied_to_a_key_opens_nothing_to_its_bearer() {
    let (world, forge) = world().await;
    for cnf in
        [r#"{"jkt":"0ZcOCORZNYy"}"#, r#"{"x5t#S256":"bwcK0esc3ACC"}"#, r#"{"jwk":{}}"#, "{}", "null", "[]"]
    {
        let bound = format!("{{\"cnf\":{cnf},{}", &good()[1..]);
        // The second time it would be remembered, were it believed.
        for _ in 0..2 {
            refused(&world, &forge.sign(GOOD, &bound), cnf).await;
        }
    }
    assert_eq!(world.gateway.refused_strangers()[&("token_bound", "notes".to_owned())], 12);
}

#[tokio::test]
async fn jwt_14_15_20_other_kinds_of_tokens_of_the_same_key_open_nothing() {
    let (world, forge) = world().await;
    for typ in [
        "JWT",
        "jwt",
        "at",
        "at+jws",
        "id_token+jwt",
        "logout+jwt",
        "dpop+jwt",
        "secevent+jwt",
        "oauth-authz-req+jwt",
        "token-introspection+jwt",
        "client-authentication+jwt",
        "application/jwt",
        "text/at+jwt",
        " at+jwt",
        "",
    ] {
        refused(&world, &forge.sign(&GOOD.replace("at+jwt", typ), &good()), typ).await;
    }
    let without = r#"{"alg":"ES256","kid":"k1"}"#;
    refused(&world, &forge.sign(without, &good()), "no typ").await;
    for critical in [
        r#","crit":["x"],"x":1}"#,
        r#","crit":[]}"#,
        r#","crit":["exp"]}"#,
        r#","b64":false,"crit":["b64"]}"#,
        r#","b64":false}"#,
    ] {
        refused(&world, &forge.sign(&GOOD.replace('}', critical), &good()), critical).await;
    }
    world
        .served(tool(&forge.sign(&GOOD.replace("at+jwt", "application/at+jwt"), &good()), "list_notes"))
        .await;
}

#[tokio::test]
async fn aud_10_11_15_16_17_an_audience_is_this_address_and_nothing_beside_it() {
    let (world, forge) = world().await;
    let here = "https://as.test/mcp/notes";
    for audience in [
        json!([]),
        json!(["https://as.test/mcp/ops"]),
        json!([here, "https://as.test/mcp/ops"]),
        json!([[here]]),
        json!({ "aud": here }),
        json!([here]),
        // The authority itself, its admin API, and the same path of another one.
        json!("https://as.test"),
        json!("https://as.test/mcp/portcullis"),
        json!("https://as.test/api/v1"),
        json!("https://tenant.test/mcp/notes"),
        json!("https://as.test.evil.test/mcp/notes"),
    ] {
        let audience = audience.to_string();
        refused(&world, &forge.sign(GOOD, &with("aud", Some(&audience))), &audience).await;
    }
}

/// What is remembered of a good signature is the whole token's, not its key's or its claims'.
#[tokio::test]
async fn jwt_03_a_remembered_signature_is_of_this_text_only() {
    let (world, forge) = world().await;
    let token = forge.sign(GOOD, &good());
    world.served(tool(&token, "list_notes")).await;
    let (head, signature) = token.rsplit_once('.').unwrap();
    let wider = message(GOOD, &with("scope", Some(r#""notes:read notes:admin""#)));
    refused(&world, &format!("{wider}.{signature}"), "another payload under the same signature").await;
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    bytes[10] ^= 1;
    refused(&world, &format!("{head}.{}", URL_SAFE_NO_PAD.encode(&bytes)), "one bit").await;
    world.served(tool(&token, "list_notes")).await;
}

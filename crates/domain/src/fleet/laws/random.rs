//! Random fleets.

use crate::condition::Forbid;
use crate::fleet::Fleet;
use crate::registry::{
    Access, Agent, Client, ClientAuth, ClientCertificate, ClientCredentials, Issuers, Members, Name,
    OtherTransport, PerUser, PerUserClient, Pinning, Placement, Proof, Risk, Role, Rule, ScopeClaim,
    ScopeMeaning, SecretPlace, Server, ServerLimits, TokenEndpoint, TokenType, TrustedIssuer, Upstream,
    UpstreamCredential, UpstreamTls,
};
use portcullis_oauth::jwk::ExternalAlgorithm;
use portcullis_oauth::scope::{Scope, ScopeSet};
use portcullis_oauth::time::Timestamp;
use proptest::prelude::*;
use proptest::sample::select;
use std::num::NonZeroU32;

const SCOPES: [&str; 4] = ["a:read", "a:write", "b", "urn:x/y?z=[1]"];

fn scopes() -> impl Strategy<Value = ScopeSet> {
    proptest::sample::subsequence(SCOPES.to_vec(), 0..=4)
        .prop_map(|texts| texts.iter().map(|text| text.parse::<Scope>().unwrap()).collect())
}

/// Whatever people write: quotes, line breaks, other scripts.
fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        select(vec!["Notes", "a \"b\" 'c'", "x\ny\t#", "[[server]]", ""]).prop_map(str::to_owned)
    ]
}

/// A part of a path: what an example has in the place of something real is refused.
fn place() -> impl Strategy<Value = String> {
    let harmless = |c: &char| !matches!(c, '<' | '$' | '/' | '.');
    words().prop_map(move |words| words.chars().filter(harmless).collect())
}

/// What people read before they agree: never nothing.
fn sentence() -> impl Strategy<Value = String> {
    words().prop_map(|words| if words.trim().is_empty() { "Words".to_owned() } else { words })
}

/// Patterns of which none says again what another says, neither in its rule nor in another.
fn rule(at: usize) -> impl Strategy<Value = Rule> {
    let patterns = |start: &'static str| {
        let patterns = proptest::sample::subsequence(vec!["list_*", "read", "note/*", "a\"b"], 0..3);
        let named = move |text: &str| format!("{start}{at}:{text}");
        patterns.prop_map(move |all| all.into_iter().map(named).collect::<Vec<_>>())
    };
    let methods = proptest::sample::subsequence(vec!["com.example/a", "notifications/b\"c"], 0..=2);
    let methods =
        methods.prop_map(move |all| all.into_iter().map(|text| format!("{at}{text}")).collect::<Vec<_>>());
    (patterns(""), patterns(""), patterns("x"), methods, scopes(), any::<bool>()).prop_map(
        move |(mut tools, prompts, resources, methods, mut scopes, high)| {
            tools.push(format!("t{at}"));
            scopes.insert(SCOPES[0].parse().unwrap());
            let risk = if high { Risk::High } else { Risk::Usual };
            Rule { tools, prompts, resources, methods, scopes, risk }
        },
    )
}

/// On the heap, as these trees are deep.
fn placement() -> BoxedStrategy<Placement> {
    let place = |text: &str| text.parse::<SecretPlace>().unwrap();
    let program =
        select(vec![UpstreamCredential::Assertion, UpstreamCredential::None]).prop_map(|credential| {
            Placement::Gateway {
                upstream: Upstream::Command("prog".into()),
                credential,
                tls: UpstreamTls::default(),
            }
        });
    let ca = prop::option::of(Just(place("file:/run/ca.pem")));
    let certificate =
        prop::option::of(Just(ClientCertificate { cert: place("file:/run/c.pem"), key: place("env:KEY") }));
    let address =
        (credential(), any::<bool>(), ca, certificate).prop_map(|(credential, https, ca, certificate)| {
            let (url, tls) = if https {
                ("https://n.example/mcp?x=1", UpstreamTls { ca, certificate })
            } else {
                ("http://127.0.0.1:9/mcp", UpstreamTls::default())
            };
            Placement::Gateway { upstream: Upstream::Url(url.into()), credential, tls }
        });
    prop_oneof![Just(Placement::Direct), program, address].boxed()
}

fn credential() -> impl Strategy<Value = UpstreamCredential> {
    let at = select(vec![
        TokenEndpoint::Issuer("https://idp.example/t".parse().unwrap()),
        TokenEndpoint::Url("https://idp.example/token?x".into()),
    ]);
    let resource = prop::option::of(select(vec![
        "https://n.example/mcp",
        "http://127.0.0.1:9/mcp",
        "https://x.example",
    ]));
    let client = (at, sentence(), scopes(), resource).prop_map(|(at, client_id, scopes, resource)| {
        UpstreamCredential::ClientCredentials(Box::new(ClientCredentials {
            at,
            client_id,
            secret: "file:/run/secret".parse().unwrap(),
            scopes,
            resource: resource.map(str::to_owned),
        }))
    });
    let registered = (sentence(), prop::option::of(Just("env:S".parse().unwrap())));
    let registered = registered.prop_map(|(id, secret)| PerUserClient { id, secret });
    let person = (prop::option::of(scopes()), any::<bool>(), prop::option::of(registered));
    let person = person.prop_map(|(scopes, pinned, client)| {
        let issuer = (pinned || client.is_some()).then(|| "https://as.example/".parse().unwrap());
        UpstreamCredential::PerUser(Box::new(PerUser { scopes, issuer, client }))
    });
    prop_oneof![
        person,
        Just(UpstreamCredential::Assertion),
        Just(UpstreamCredential::None),
        Just(UpstreamCredential::Bearer("env:TOKEN".parse().unwrap())),
        client
    ]
}

fn server(at: usize) -> impl Strategy<Value = Server<()>> {
    let own = any::<bool>().prop_map(move |own| {
        let host = if own {
            format!("https://s{at}.example.net/x")
        } else {
            format!("https://mcp.example.com/mcp/s{at}")
        };
        host.parse().unwrap()
    });
    let meanings = prop::collection::vec((sentence(), scopes()), SCOPES.len());
    let parts = (sentence(), own, placement(), prop::option::of(1..=60_u64), labels());
    let held = (
        labels(),
        any::<bool>(),
        select(vec![Pinning::Approved, Pinning::FirstSight, Pinning::Off]),
        issuers(),
        proptest::sample::subsequence(vec![OtherTransport::HttpSse, OtherTransport::Websocket], 0..=2),
        limits(),
    );
    (parts, held, scopes(), meanings, (rule(0), rule(1), 0..3_usize)).prop_map(
        move |(
            (title, canonical_uri, placement, minutes, labels),
            (owners, observe, pinning, issuers, transports, limits),
            default_scopes,
            meanings,
            (first, second, count),
        )| Server {
            id: (),
            name: format!("s{at}").parse().unwrap(),
            title,
            canonical_uri,
            // A direct server checks tokens itself.
            issuers: if placement == Placement::Direct { Issuers::default() } else { issuers },
            other_transports: if placement == Placement::Direct {
                [].into()
            } else {
                transports.into_iter().collect()
            },
            limits: if placement == Placement::Direct { ServerLimits::default() } else { limits },
            placement,
            access_seconds: minutes.map(|minutes| minutes * 60),
            labels,
            owners,
            observe,
            pinning,
            default_scopes,
            scopes: SCOPES
                .iter()
                .zip(meanings)
                .map(|(scope, (says, implies))| (scope.parse().unwrap(), ScopeMeaning { says, implies }))
                .collect(),
            rules: [first, second].into_iter().take(count).collect(),
        },
    )
}

fn limits() -> impl Strategy<Value = ServerLimits> {
    let one = || prop::option::of((1024..3600_u32).prop_map(|number| NonZeroU32::new(number).unwrap()));
    (one(), one(), one(), one()).prop_map(|(calls_per_minute, calls_at_once, body, upstream_timeout)| {
        ServerLimits { calls_per_minute, calls_at_once, body, upstream_timeout }
    })
}

fn trusted(at: usize) -> impl Strategy<Value = TrustedIssuer> {
    let jwks = || Proof::Jwks {
        address: "https://idp.example/keys".into(),
        algorithms: ExternalAlgorithm::ALL[..2].to_vec(),
        token_type: TokenType::AnyJwt,
    };
    let asked = || Proof::Introspection {
        address: "https://idp.example/ask".into(),
        client_id: "us \"here\"".into(),
        secret: "env:IDP_SECRET".parse().unwrap(),
    };
    // No two are asked.
    let proof = if at == 0 { prop_oneof![Just(jwks()), Just(asked())].boxed() } else { Just(jwks()).boxed() };
    let claim = select(vec![ScopeClaim::Scope, ScopeClaim::Scp, ScopeClaim::Roles]);
    let map = prop::option::of(prop::collection::btree_map(words(), select(SCOPES.to_vec()), 0..3));
    let texts = prop::option::of(select(vec!["api://x", "a\n\"b\""]).prop_map(str::to_owned));
    (proof, texts.clone(), claim, map, texts, scopes()).prop_map(
        move |(proof, audience, scope_claim, map, client_claim, mut access)| {
            access.insert(SCOPES[0].parse().unwrap());
            let parsed = |(theirs, ours): (String, &str)| (theirs, ours.parse().unwrap());
            TrustedIssuer {
                issuer: format!("https://idp{at}.example/").parse().unwrap(),
                proof,
                audience,
                scope_claim,
                scope_map: map.map(|map| map.into_iter().map(parsed).collect()),
                client_claim,
                access,
            }
        },
    )
}

fn issuers() -> BoxedStrategy<Issuers> {
    let several = (any::<bool>(), trusted(0), trusted(1), 1..3_usize).prop_map(|(own, one, other, count)| {
        Issuers { own, external: [one, other].into_iter().take(count).collect() }
    });
    prop_oneof![Just(Issuers::default()), several].boxed()
}

fn labels() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(words(), 0..2)
}

fn access() -> impl Strategy<Value = Access> {
    let name = select(vec!["s0", "s1"]).prop_map(|name| name.parse::<Name>().unwrap());
    prop::collection::btree_map(name, scopes(), 0..=2)
}

fn agent(name: &'static str) -> impl Strategy<Value = Agent<()>> {
    let deliver = prop::option::of(place().prop_map(move |place| format!("file:agent-{name}-{place}")));
    // Up to the year 9999.
    let end = prop::option::of((0..253_402_300_800_i64).prop_map(Timestamp::from_seconds));
    (words(), access(), any::<bool>(), deliver, (labels(), any::<bool>(), end)).prop_map(
        move |(owner, access, introspects, deliver, (labels, disabled, expires_at))| Agent {
            client_id: (),
            name: name.parse().unwrap(),
            owner,
            labels,
            disabled,
            expires_at,
            access,
            introspects: if introspects { vec!["s1".parse().unwrap()] } else { vec![] },
            deliver,
        },
    )
}

fn client(name: &'static str) -> impl Strategy<Value = Client<()>> {
    let uris =
        vec!["https://c.example/cb", "http://127.0.0.1/cb", "http://[::1]:9/x?y", "com.example.app:/cb"];
    let uris = proptest::sample::subsequence(uris, 1..=4);
    let deliver = prop::option::of(place().prop_map(move |place| format!("file:client-{name}-{place}")));
    (sentence(), words(), uris, deliver, any::<bool>(), access()).prop_map(
        move |(title, owner, uris, deliver, disabled, access)| Client {
            client_id: (),
            name: name.parse().unwrap(),
            title,
            owner,
            redirect_uris: uris.into_iter().map(|uri| uri.parse().unwrap()).collect(),
            auth: if deliver.is_some() { ClientAuth::Secret } else { ClientAuth::None },
            deliver,
            disabled,
            access,
        },
    )
}

fn role() -> impl Strategy<Value = Role> {
    (prop::option::of(words()), words(), access()).prop_map(|(group, user, access)| Role {
        name: "team".parse().unwrap(),
        members: Members { group, users: vec![user] },
        access,
    })
}

/// Without tools: those must be in some rule.
fn forbids() -> impl Strategy<Value = Vec<Forbid>> {
    let when = select(vec![
        "",
        "inside = \"Mon-Fri 22:00-06:00 Europe/Amsterdam\"",
        "outside = \"07:00-19:00 UTC\"\naddress_in = [\"10.0.0.0/8\", \"::1\"]",
        "address_not_in = [\"192.0.2.7\"]",
    ]);
    let servers = proptest::sample::subsequence(vec!["s0", "s1"], 0..=2);
    let forbid = (servers, scopes(), when).prop_map(|(servers, scopes, when)| Forbid {
        servers: servers.iter().map(|name| name.parse().unwrap()).collect(),
        scopes,
        when: toml::from_str(when).unwrap(),
        ..Forbid::default()
    });
    prop::collection::btree_map("[a-z0-9][ -!#-\\[\\]-~]{0,8}[a-z0-9]", forbid, 0..3).prop_map(|forbids| {
        let named = forbids.into_iter().map(|(name, forbid)| Forbid { name, ..forbid });
        // One that says nothing at all is refused.
        named.filter(|forbid| Forbid { name: String::new(), ..forbid.clone() } != Forbid::default()).collect()
    })
}

pub(super) fn fleets() -> impl Strategy<Value = Fleet> {
    let agents = (prop::option::of(agent("one")), prop::option::of(agent("two")));
    let clients = (prop::option::of(client("one")), prop::option::of(client("two")));
    (server(0), server(1), agents, clients, prop::option::of(role()), (access(), forbids())).prop_map(
        |(first, second, (one, two), (app, site), role, (self_registered, forbids))| Fleet {
            clients: app.into_iter().chain(site).collect(),
            servers: vec![first, second],
            agents: one.into_iter().chain(two).collect(),
            roles: role.into_iter().collect(),
            self_registered,
            forbids,
        },
    )
}

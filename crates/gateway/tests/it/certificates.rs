//! TLS to upstreams: whose certificate is believed, and which of ours is shown to whom (PC-05, UPS-05).

use crate::world::{World, tool};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use portcullis_domain::registry::{
    ClientCertificate, Placement, SecretPlace, Upstream, UpstreamCredential, UpstreamTls,
};
use portcullis_domain::snapshot::Snapshot;
use portcullis_gateway::Settings;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_rustls::TlsAcceptor;

/// A certificate that signs itself, and its key.
struct Identity {
    pem: String,
    key: String,
}

impl Identity {
    fn of(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        Self { pem: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()
    }
}

fn trusting(some: &[&Identity]) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for one in some {
        roots.add(one.der()).unwrap();
    }
    Arc::new(roots)
}

/// What a request came with.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Came {
    connection: usize,
    certificate: Option<Vec<u8>>,
    authorization: Option<String>,
    is_http_2: bool,
}

/// An upstream that serves TLS as `localhost`, and keeps who came.
struct Guarded {
    port: u16,
    came: Arc<Mutex<Vec<Came>>>,
}

impl Guarded {
    /// Wants one of these certificates; any client will do when there is none.
    async fn start(identity: &Identity, clients: &[&Identity], protocols: &[&str]) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = if clients.is_empty() {
            builder.with_no_client_auth()
        } else {
            let verifier = WebPkiClientVerifier::builder_with_provider(trusting(clients), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        };
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        let mut config = builder.with_single_cert(vec![identity.der()], key).unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let guarded = Self { port: listener.local_addr().unwrap().port(), came: Arc::default() };
        let came = Arc::clone(&guarded.came);
        tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, came) = (acceptor.clone(), Arc::clone(&came));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let session = stream.get_ref().1;
                    let shown = session.peer_certificates().and_then(|chain| chain.first());
                    let certificate = shown.map(|shown| shown.to_vec());
                    let is_http_2 = session.alpn_protocol() == Some(b"h2");
                    let service = service_fn(move |request: Request<Incoming>| {
                        let authorization = request.headers().get("authorization");
                        came.lock().unwrap().push(Came {
                            connection,
                            certificate: certificate.clone(),
                            authorization: authorization.map(|value| value.to_str().unwrap().to_owned()),
                            is_http_2,
                        });
                        answer(request)
                    });
                    let server = auto::Builder::new(TokioExecutor::new());
                    let _served = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        guarded
    }

    fn came(&self) -> Vec<Came> {
        self.came.lock().unwrap().clone()
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/mcp", self.port)
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    request.into_body().collect().await?;
    Ok(Response::new(Full::from(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#)))
}

/// Files of the gateway's machine.
#[derive(Clone, Default)]
struct Files(Arc<Mutex<HashMap<String, String>>>);

impl Files {
    fn with(self, place: &str, text: &str) -> Self {
        self.0.lock().unwrap().insert(place.to_owned(), text.to_owned());
        self
    }

    fn told(&self) -> impl FnOnce(&mut Settings) + use<> {
        let files = Arc::clone(&self.0);
        move |settings| {
            settings.max_staleness = Duration::from_hours(24);
            settings.secrets =
                Arc::new(move |place: &SecretPlace| files.lock().unwrap().get(&place.to_string()).cloned());
        }
    }
}

fn place(text: &str) -> SecretPlace {
    text.parse().unwrap()
}

fn certificate(name: &str) -> ClientCertificate {
    ClientCertificate { cert: place(&format!("file:/{name}.pem")), key: place(&format!("file:/{name}.key")) }
}

fn reached(server: usize, url: String, shown: UpstreamTls) -> impl FnOnce(&mut Snapshot) {
    move |snapshot| {
        if let Placement::Gateway { upstream, tls, .. } = &mut snapshot.servers[server].placement {
            (*upstream, *tls) = (Upstream::Url(url), shown);
        }
    }
}

fn by_ca() -> UpstreamTls {
    UpstreamTls { ca: Some(place("file:/ca.pem")), certificate: None }
}

#[tokio::test]
async fn ups_05_an_upstream_is_believed_by_its_own_authority_only() {
    let (server, other) = (Identity::of("localhost"), Identity::of("localhost"));
    let upstream = Guarded::start(&server, &[], &[]).await;
    let world = |ca: &Identity, tls: UpstreamTls| {
        let files = Files::default().with("file:/ca.pem", &ca.pem);
        let url = upstream.url();
        async move { World::with(files.told(), reached(0, url, tls)).await }
    };
    let good = world(&server, by_ca()).await;
    let ask = tool(&good.token(), "list_notes");
    assert_eq!(good.send(ask).await.status, 200);
    for (what, tls) in [("another authority", by_ca()), ("the machine's authorities", UpstreamTls::default())]
    {
        let before = upstream.came().len();
        let bad = world(&other, tls).await;
        let answered = bad.send(tool(&bad.token(), "list_notes")).await;
        assert_eq!((answered.status.as_u16(), answered.code()), (502, -31502), "{what}");
        assert!(answered.text().contains("server notes") && !answered.text().contains("localhost"));
        assert_eq!(upstream.came().len(), before, "{what}: and nothing was tried in the clear");
    }
}

#[tokio::test]
async fn ups_05_a_certificate_for_another_name_is_not_believed() {
    let server = Identity::of("elsewhere.example");
    let upstream = Guarded::start(&server, &[], &[]).await;
    let files = Files::default().with("file:/ca.pem", &server.pem);
    let world = World::with(files.told(), reached(0, upstream.url(), by_ca())).await;
    let answered = world.send(tool(&world.token(), "list_notes")).await;
    assert_eq!((answered.status.as_u16(), upstream.came().len()), (502, 0));
}

#[tokio::test]
async fn http_2_is_spoken_where_the_upstream_offers_it_in_the_handshake() {
    let server = Identity::of("localhost");
    for (offered, is_http_2) in
        [(&["h2", "http/1.1"][..], true), (&["http/1.1"][..], false), (&[][..], false)]
    {
        let upstream = Guarded::start(&server, &[], offered).await;
        let files = Files::default().with("file:/ca.pem", &server.pem);
        let world = World::with(files.told(), reached(0, upstream.url(), by_ca())).await;
        assert_eq!(world.send(tool(&world.token(), "list_notes")).await.status, 200);
        assert_eq!(upstream.came()[0].is_http_2, is_http_2, "{offered:?}");
    }
}

#[tokio::test]
async fn pc_05_a_connection_that_was_made_for_one_server_never_carries_the_calls_of_another() {
    let (server, notes, ops) = (Identity::of("localhost"), Identity::of("notes"), Identity::of("ops"));
    for protocols in [&["h2"][..], &["http/1.1"]] {
        let upstream = Guarded::start(&server, &[&notes, &ops], protocols).await;
        let files = Files::default()
            .with("file:/ca.pem", &server.pem)
            .with("file:/notes.pem", &notes.pem)
            .with("file:/notes.key", &notes.key)
            .with("file:/ops.pem", &ops.pem)
            .with("file:/ops.key", &ops.key);
        let tls =
            |name| UpstreamTls { ca: Some(place("file:/ca.pem")), certificate: Some(certificate(name)) };
        let world = World::with(files.told(), |snapshot| {
            reached(0, upstream.url(), tls("notes"))(snapshot);
            reached(1, upstream.url(), tls("ops"))(snapshot);
            if let Placement::Gateway { credential, .. } = &mut snapshot.servers[1].placement {
                *credential = UpstreamCredential::None;
            }
            snapshot.agents[0].access.insert("ops".parse().unwrap(), "ops:read".parse().unwrap());
        })
        .await;
        let for_ops = world.sign(|claims| {
            claims.aud = "https://as.test/mcp/ops".into();
            claims.scope = "ops:read".parse().unwrap();
        });
        let (of_notes, of_ops) =
            (tool(&world.token(), "list_notes"), tool(&for_ops, "list_notes").to("/mcp/ops"));
        let calls = (0..20).map(|at| world.send(if at % 2 == 0 { of_notes.clone() } else { of_ops.clone() }));
        for call in calls {
            assert_eq!(call.await.status, 200);
        }
        let came = upstream.came();
        for (at, request) in came.iter().enumerate() {
            let (shown, is_asserted) = if at % 2 == 0 { (&notes, true) } else { (&ops, false) };
            assert_eq!(request.certificate.as_deref(), Some(&*shown.der()), "{protocols:?}");
            assert_eq!(request.authorization.is_some(), is_asserted, "the header is another layer");
        }
        let connections: std::collections::BTreeSet<usize> =
            came.iter().map(|came| came.connection).collect();
        assert_eq!((came.len(), connections.len()), (20, 2), "{protocols:?}: kept, and apart");
    }
}

#[tokio::test]
async fn pc_05_certificates_are_changed_under_a_running_gateway() {
    let (server, old, new) = (Identity::of("localhost"), Identity::of("old"), Identity::of("new"));
    let upstream = Guarded::start(&server, &[&old, &new], &[]).await;
    let files = Files::default()
        .with("file:/ca.pem", &server.pem)
        .with("file:/c.pem", &old.pem)
        .with("file:/c.key", &old.key);
    let tls = UpstreamTls { ca: Some(place("file:/ca.pem")), certificate: Some(certificate("c")) };
    let world = World::with(files.told(), reached(0, upstream.url(), tls)).await;
    let ask = tool(&world.token(), "list_notes");
    let shown = async || {
        assert_eq!(world.send(ask.clone()).await.status, 200);
        upstream.came().pop().unwrap().certificate.unwrap()
    };
    assert_eq!(shown().await, old.der().to_vec());
    // Between the two writes, they do not fit together: what was, goes on.
    let files = files.with("file:/c.pem", &new.pem);
    world.advance(Duration::from_secs(30));
    assert_eq!(shown().await, old.der().to_vec());
    let _files = files.with("file:/c.key", &new.key);
    world.advance(Duration::from_secs(29));
    assert_eq!(shown().await, old.der().to_vec());
    world.advance(Duration::from_secs(1));
    assert_eq!(shown().await, new.der().to_vec(), "on a connection of its own");
}

#[tokio::test]
async fn pc_05_without_its_certificate_nothing_goes_upstream() {
    let (server, client) = (Identity::of("localhost"), Identity::of("client"));
    let upstream = Guarded::start(&server, &[&client], &[]).await;
    let tls = || UpstreamTls { ca: Some(place("file:/ca.pem")), certificate: Some(certificate("c")) };
    let with_ca = || Files::default().with("file:/ca.pem", &server.pem);
    for (what, files, status) in [
        ("no files", Files::default(), 503),
        ("no key", with_ca().with("file:/c.pem", &client.pem), 503),
        ("no PEM", with_ca().with("file:/c.pem", "x").with("file:/c.key", "y"), 503),
        ("another's key", with_ca().with("file:/c.pem", &client.pem).with("file:/c.key", &server.key), 503),
        ("a stranger's", with_ca().with("file:/c.pem", &server.pem).with("file:/c.key", &server.key), 502),
    ] {
        let world = World::with(files.told(), reached(0, upstream.url(), tls())).await;
        let answered = world.send(tool(&world.token(), "list_notes")).await;
        assert_eq!(answered.status.as_u16(), status, "{what}: {}", answered.text());
        assert!(!answered.text().contains("BEGIN") && !answered.text().contains("/c."), "{what}");
        assert_eq!(upstream.came().len(), 0, "{what}");
    }
}

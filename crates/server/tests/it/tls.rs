//! TLS of our own listener, with a real client.

use crate::transport::raw;
use axum::Router;
use axum::routing::get;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis_oauth::time::Timestamp;
use portcullis_server::clock::Clock;
use portcullis_server::config::{Options, TlsFiles};
use portcullis_server::doctor::{Level, examine};
use portcullis_server::listener::tls::{Look, Tls, TlsError};
use portcullis_server::listener::{Bounds, Listener};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A certificate for `localhost` that signs itself, and its key.
fn issue(folder: &Path) -> (TlsFiles, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let files = TlsFiles { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
    fs::write(&files.cert, made.cert.pem()).unwrap();
    fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
    (files, made.cert.der().clone())
}

async fn listening(tls: Tls) -> (SocketAddr, DropGuard) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap().with_tls(tls);
    let address = listener.address();
    let stop = CancellationToken::new();
    let router = Router::new().route("/", get(async || "served"));
    tokio::spawn(listener.serve(
        router,
        Bounds { idle: Duration::from_secs(1), ..Bounds::of(100, Duration::from_secs(1)) },
        stop.clone(),
    ));
    (address, stop.drop_guard())
}

async fn connect(
    address: SocketAddr,
    root: &CertificateDer<'static>,
    (version, alpn): (&'static SupportedProtocolVersion, &[&str]),
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

async fn get_1(stream: TlsStream<TcpStream>) -> String {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let running = tokio::spawn(connection);
    let request =
        http::Request::get("/").header("host", "localhost").body(Empty::<bytes::Bytes>::new()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    running.abort();
    String::from_utf8(body.to_vec()).unwrap()
}

async fn get_2(stream: TlsStream<TcpStream>) -> String {
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let running = tokio::spawn(connection);
    let request = http::Request::get("https://localhost/").body(Empty::<bytes::Bytes>::new()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    running.abort();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn def_05_tls_1_2_and_1_3_are_served_with_http_1_and_2() {
    let folder = tempfile::tempdir().unwrap();
    let (files, root) = issue(folder.path());
    let (address, _running) = listening(Tls::open(files).unwrap()).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let stream = connect(address, &root, (version, &["http/1.1"])).await.unwrap();
        assert_eq!(get_1(stream).await, "served");
        let stream = connect(address, &root, (version, &["h2", "http/1.1"])).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2" as &[u8]));
        assert_eq!(get_2(stream).await, "served");
        // Without ALPN: HTTP/1.1.
        let stream = connect(address, &root, (version, &[])).await.unwrap();
        assert_eq!(get_1(stream).await, "served");
    }
}

/// A hello of an age: TLS 1.2 is `3`, 1.1 is `2`. Everything else in it is what a server of ours takes.
fn hello(minor: u8) -> Vec<u8> {
    let mut hello = vec![3, minor];
    hello.extend([7; 32]); // random
    hello.extend([0]); // no session
    hello.extend([0, 4, 0xc0, 0x2b, 0xc0, 0x09]); // ECDHE-ECDSA with AES128: GCM, CBC
    hello.extend([1, 0]); // no compression
    let extensions = [
        0, 10, 0, 6, 0, 4, 0, 29, 0, 23, // groups: X25519, P-256
        0, 11, 0, 2, 1, 0, // points: uncompressed
        0, 13, 0, 4, 0, 2, 4, 3, // signatures: ECDSA with P-256 and SHA-256
        0, 23, 0, 0, // extended master secret
    ];
    hello.extend([0, u8::try_from(extensions.len()).unwrap()]);
    hello.extend(extensions);
    let mut message = vec![1, 0, 0, u8::try_from(hello.len()).unwrap()];
    message.extend(hello);
    let mut record = vec![0x16, 3, 1, 0, u8::try_from(message.len()).unwrap()];
    record.extend(message);
    record
}

#[tokio::test]
async fn def_05_older_tls_plain_http_and_unagreed_http_2_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (files, root) = issue(folder.path());
    let (address, _running) = listening(Tls::open(files).unwrap()).await;
    let stream = connect(address, &root, (&rustls::version::TLS12, &["http/1.1"])).await.unwrap();
    assert_eq!(get_1(stream).await, "served");
    let mut good = TcpStream::connect(address).await.unwrap();
    good.write_all(&hello(3)).await.unwrap();
    let mut first = [0];
    good.read_exact(&mut first).await.unwrap();
    assert_eq!(first, [0x16], "a handshake: the hello is good but for its age");
    for minor in [1, 2] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&hello(minor)).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer.first(), Some(&0x15), "an alert, not a handshake: {answer:?}");
        assert_eq!(answer.last(), Some(&70), "protocol_version: {answer:?}");
    }
    let plain = raw(address, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert!(!plain.contains("HTTP/1.1") && !plain.contains("served"), "{plain:?}");
    // RFC 9113 s3.2: HTTP/2 without ALPN, and something else than was agreed on.
    for (alpn, sent) in [
        (&[] as &[&str], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" as &[u8]),
        (&["h2"], b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ] {
        let mut stream = connect(address, &root, (&rustls::version::TLS13, alpn)).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut answer = Vec::new();
        let _cut = stream.read_to_end(&mut answer).await;
        assert_eq!(answer, b"", "{alpn:?}");
    }
}

#[tokio::test]
async fn http_10_a_handshake_that_does_not_come_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let (files, root) = issue(folder.path());
    let (address, _running) = listening(Tls::open(files).unwrap()).await;
    let stream = connect(address, &root, (&rustls::version::TLS13, &["http/1.1"])).await.unwrap();
    assert_eq!(get_1(stream).await, "served");
    // `raw` returns when the server closes, and fails when it does not.
    assert_eq!(raw(address, b"").await, "");
    assert_eq!(raw(address, &hello(3)[..20]).await, "");
}

async fn served(address: SocketAddr, root: &CertificateDer<'static>) -> bool {
    connect(address, root, (&rustls::version::TLS13, &["http/1.1"])).await.is_ok()
}

#[tokio::test]
async fn adm_13_a_new_certificate_is_served_and_a_bad_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (files, first) = issue(folder.path());
    let tls = Tls::open(files.clone()).unwrap();
    let (address, _running) = listening(tls.clone()).await;
    assert!(served(address, &first).await);
    assert_eq!(tls.look(), Look::Same);

    let (_, second) = issue(folder.path());
    assert_eq!(tls.look(), Look::New);
    assert!(served(address, &second).await && !served(address, &first).await);

    let (cert, key) = (fs::read(&files.cert).unwrap(), fs::read(&files.key).unwrap());
    let elsewhere = tempfile::tempdir().unwrap();
    let (others, _) = issue(elsewhere.path());
    for (bad_cert, bad_key, mode) in [
        (b"".to_vec(), key.clone(), 0o600),
        (cert.clone(), b"-----BEGIN PRIVATE KEY-----\n".to_vec(), 0o600),
        (fs::read(&others.cert).unwrap(), key.clone(), 0o600),
        (cert.clone(), fs::read(&others.key).unwrap(), 0o600),
        (fs::read(&others.cert).unwrap(), fs::read(&others.key).unwrap(), 0o644),
    ] {
        fs::write(&files.cert, bad_cert).unwrap();
        fs::write(&files.key, bad_key).unwrap();
        fs::set_permissions(&files.key, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(tls.look(), Look::Refused);
        assert!(served(address, &second).await, "the one from before is served");
    }
    fs::remove_file(&files.key).unwrap();
    assert_eq!(tls.look(), Look::Refused);
    let (_, third) = issue(folder.path());
    assert_eq!(tls.look(), Look::New);
    assert!(served(address, &third).await);
}

#[test]
fn def_04_a_key_that_others_can_read_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (files, _) = issue(folder.path());
    for (mode, fits) in
        [(0o600, true), (0o400, true), (0o640, true), (0o644, false), (0o660, false), (0o601, false)]
    {
        fs::set_permissions(&files.key, fs::Permissions::from_mode(mode)).unwrap();
        match Tls::open(files.clone()) {
            Ok(_) => assert!(fits, "{mode:o}"),
            Err(error) => {
                assert!(!fits && matches!(error, TlsError::Exposed { .. }), "{mode:o}: {error}");
                assert!(error.to_string().contains("chmod"), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn pc_63_doctor_says_when_a_certificate_is_over_or_will_be() {
    const DAY: Duration = Duration::from_hours(24);
    let folder = tempfile::tempdir().unwrap();
    let files = TlsFiles { cert: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    let mut wanted = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    wanted.not_before = rcgen::date_time_ymd(2027, 1, 1);
    wanted.not_after = rcgen::date_time_ymd(2027, 4, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    fs::write(&files.cert, wanted.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&files.key, key.serialize_pem()).unwrap();
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
    let config = folder.path().join("portcullis.toml");
    fs::write(
        &config,
        format!(
            "public_url = \"https://localhost:1\"\n[listen.tls]\ncert = {:?}\nkey = {:?}\n",
            files.cert, files.key
        ),
    )
    .unwrap();
    let options =
        Options { file: Some(config), data: Some(folder.path().join("data")), ..Options::default() };
    let first = Timestamp::from_seconds(1_798_761_600); // 2027-01-01
    let second = Duration::from_secs(1);
    for (at, level, says) in [
        (first - second, Level::Problem, "its time has not come"),
        (first, Level::Ok, "two more weeks"),
        (first + 75 * DAY, Level::Ok, "two more weeks"),
        (first + 77 * DAY, Level::Warning, "within two weeks"),
        (first + 90 * DAY - second, Level::Warning, "within two weeks"),
        (first + 90 * DAY + second, Level::Problem, "it has expired"),
    ] {
        let findings = examine(&options, &Clock::fixed(at)).await;
        let found = findings.iter().find(|finding| finding.what.starts_with("certificate")).unwrap();
        assert!(found.level == level && found.says.contains(says), "{at:?}: {found:?}");
    }
    fs::write(&files.cert, "nonsense").unwrap();
    let findings = examine(&options, &Clock::fixed(first)).await;
    let found = findings.iter().find(|finding| finding.what.starts_with("certificate")).unwrap();
    assert!(found.level == Level::Problem && found.says.contains("as PEM"), "{found:?}");
}

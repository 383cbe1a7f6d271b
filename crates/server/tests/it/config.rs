//! Configuration (PC-63): what is wrong is said at once, with line and hint, in words that stay as they are.

use portcullis_server::config::{Config, MasterKeySource, Ops, Options, Tokens, reference};
use portcullis_server::listener::forwarded::TrustedProxies;
use portcullis_server::telemetry::LogFormat;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

fn wrong(text: &str, options: &Options) -> String {
    let problems = Config::parse(text, options).expect_err("this is not right");
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n") + "\n"
}

fn listening(address: &str) -> Options {
    Options { listen: Some(address.to_owned()), ..Options::default() }
}

#[test]
fn def_01_nothing_configured_is_loopback_with_safe_defaults() {
    let config = Config::parse("", &Options::default()).unwrap();
    assert_eq!(config.issuer.as_str(), "http://127.0.0.1:8080");
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert!(!config.registration.dynamic && !config.demo && config.warnings.is_empty());
    assert_eq!(config.database, "sqlite:portcullis-data/portcullis.db");
    assert_eq!(config.master_key, MasterKeySource::File(PathBuf::from("portcullis-data/master.key")));
    assert_eq!(config.tokens, Tokens::default());
    assert_eq!(config.limits.body, 4 * 1024 * 1024);
    assert_eq!(config.ops, Ops::Usual("127.0.0.1:9464".parse().unwrap()));
    assert_eq!((config.tls, config.proxies), (None, TrustedProxies::default()));
}

#[test]
fn every_key_is_read() {
    let text = r#"
public_url = "https://mcp.example.com/t1"
insecure_short_tokens = true
[listen]
address = "0.0.0.0:9000"
tls = { cert = "/etc/tls/cert.pem", key = "/etc/tls/key.pem" }
ops = "0.0.0.0:9464"
trusted_proxies = ["10.0.0.5", "2001:db8::/64"]
forwarded_header = "Forwarded"
[database]
url = "postgres://portcullis@db/portcullis"
[master_key]
source = "env:PORTCULLIS_KEY"
[tokens]
access = "20s"
refresh_idle = "7d"
refresh_max = "30d"
refresh_grace = "0s"
leeway = "1m"
session_max = "12h"
[registration]
dynamic = true
[command.ops]
run = ["ops-server", "--stdio"]
env = { LANG = "C" }
folder = "/srv/ops"
[limits]
body = 1048576
connections = 100
calls_at_once = { principal = 32, server = 500, streams = 16 }
calls_per_minute = { principal = 600, server = 1000000 }
bad_signatures_per_minute = 50
upstream_timeout = "30s"
answer = 65536
programs = 8
program_idle = "1m"
[telemetry]
log_format = "json"
log_level = "warn"
[audit]
spool_bytes = 104857600
"#;
    let config = Config::parse(text, &Options::default()).unwrap();
    assert_eq!(config.issuer.path(), "/t1");
    assert_eq!(config.listen.port(), 9000);
    assert_eq!(config.database, "postgres://portcullis@db/portcullis");
    assert_eq!(config.master_key, MasterKeySource::Env("PORTCULLIS_KEY".to_owned()));
    let day = Duration::from_hours(24);
    assert_eq!(config.tokens.access, Duration::from_secs(20));
    assert_eq!((config.tokens.refresh_idle, config.tokens.refresh_max), (7 * day, 30 * day));
    assert_eq!((config.tokens.refresh_grace, config.tokens.leeway), (Duration::ZERO, Duration::from_mins(1)));
    assert_eq!(config.tokens.session_max, Duration::from_hours(12));
    assert!(config.registration.dynamic);
    assert_eq!(config.commands["ops"].run, ["ops-server", "--stdio"]);
    assert_eq!((config.limits.body, config.limits.connections), (1_048_576, 100));
    let limits = config.limits;
    assert_eq!((limits.answer, limits.programs), (65_536, 8));
    let at_once = limits.calls_at_once;
    assert_eq!((at_once.principal, at_once.client, at_once.streams), (32, None, 16));
    assert_eq!(at_once.server, NonZeroU32::new(500));
    assert_eq!(limits.upstream_timeout, Duration::from_secs(30));
    let calls = limits.calls_per_minute;
    assert_eq!((calls.principal, calls.server), (NonZeroU32::new(600), NonZeroU32::new(1_000_000)));
    assert_eq!((calls.client, calls.address), (None, None));
    assert_eq!(limits.bad_signatures_per_minute.get(), 50);
    assert_eq!(limits.program_idle, Duration::from_mins(1));
    assert_eq!(config.tls.unwrap().key, PathBuf::from("/etc/tls/key.pem"));
    assert_eq!(config.ops, Ops::At("0.0.0.0:9464".parse().unwrap()));
    assert!(config.proxies.contain("2001:db8::7".parse().unwrap()));
    assert!(!config.proxies.contain("10.0.0.6".parse().unwrap()));
    assert_eq!((config.log.format, config.log.level.as_deref()), (Some(LogFormat::Json), Some("warn")));
    assert_eq!(config.spool_bytes, 104_857_600);
    assert_eq!(config.warnings.len(), 1, "an insecure switch is said at each start");
}

#[test]
fn pc_63_unknown_keys_and_wrong_types_are_all_told_with_line_and_nearest_key() {
    let text = r#"public_ulr = "https://mcp.example.com"
[tokens]
acess = "15m"
leeway = 30
[comand.x]
run = ["x"]
[command.y]
run = "y"
environment = {}
[limits]
body = "4 MiB"
flux = 1
"#;
    insta::assert_snapshot!(wrong(text, &Options::default()), @r#"
    line 1: public_ulr: there is no such key
        did you mean "public_url"?
    line 3: tokens.acess: there is no such key
        did you mean "access"?
    line 4: tokens.leeway: must be a text in quotes, not a whole number
    line 5: comand: there is no such key
        did you mean "command"?
    line 8: command.y.run: must be a list, not a text in quotes
    line 9: command.y.environment: there is no such key
        there is: env, env_from, folder, run
    line 11: limits.body: must be a whole number, not a text in quotes
    line 12: limits.flux: there is no such key
        there is: answer, bad_signatures_per_minute, body, calls_at_once, calls_per_minute, connections, memory, program_idle, programs, upstream_idle, upstream_timeout
    "#);
}

#[test]
fn pc_63_values_are_checked_in_the_same_round_as_keys() {
    let text = r#"public_url = 5
listen.addres = "x"
[tokens]
access = "15 parsecs"
leeway = 30
[limits]
body = 1
"#;
    insta::assert_snapshot!(wrong(text, &listening("0.0.0.0:80")), @r#"
    line 1: public_url: must be a text in quotes, not a whole number
    line 2: listen.addres: there is no such key
        did you mean "address"?
    line 4: tokens.access: "15 parsecs" is not a duration
        write "30s", "15m", "12h" or "30d"
    line 5: tokens.leeway: must be a text in quotes, not a whole number
    line 7: limits.body: 1 is not between 1024 and 268435456
    "#);
}

#[test]
fn the_command_line_is_named_when_it_alone_is_at_fault() {
    let said = |text: &str, options: Options| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.toml");
        std::fs::write(&file, text).unwrap();
        Config::load(&Options { file: Some(file), ..options }).unwrap_err().to_string()
    };
    let alone = said("", listening("here"));
    assert!(alone.starts_with("the command line is not right:") && alone.contains("--listen"), "{alone}");
    assert!(said("flux = 1", listening("here")).starts_with("the configuration "));
}

#[test]
fn pc_63_values_that_cannot_be_are_all_told() {
    let text = r#"public_url = "https://MCP.example.com/"
[listen]
address = "localhost"
[database]
url = "mysql://root:pcs_not-shown@db/x"
[master_key]
source = "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk"
[tokens]
access = "2h"
refresh_idle = "100d"
refresh_grace = "soon"
leeway = "61s"
session_max = "1 month"
[command.Ops]
run = []
[limits]
connections = 1
"#;
    let said = wrong(text, &Options::default());
    assert!(!said.contains("pcs_not-shown") && !said.contains("CQkJ"), "no secret is repeated");
    insta::assert_snapshot!(said, @r#"
    line 1: public_url: "https://MCP.example.com/": must be written in canonical form: lower-case host, no default port, no query, fragment, user info or trailing slash
        write it as "https://mcp.example.com"
    line 3: listen.address: "localhost" is not an IP address with a port
        write, for example, "127.0.0.1:8080" or "0.0.0.0:8080"
    line 5: database.url: not a database that we know
        write "sqlite:PATH" or "postgres://USER@HOST/DATABASE"
    line 7: master_key.source: not a place that we know
        write "file:PATH" or "env:NAME"; never the key itself
    line 9: tokens.access: "2h" is not between 1m and 1h
        for tests, insecure_short_tokens = true allows seconds
    line 10: tokens.refresh_idle: longer than tokens.refresh_max
        make it shorter, or refresh_max longer
    line 11: tokens.refresh_grace: "soon" is not a duration
        write "30s", "15m", "12h" or "30d"
    line 12: tokens.leeway: "61s" is not between 0s and 1m
    line 13: tokens.session_max: "1 month" is not a duration
        write "30s", "15m", "12h" or "30d"
    line 14: command.Ops: a name is 1 to 63 characters of a-z, 0-9 and -, beginning with a letter or digit
        give it another name
    line 15: command.Ops.run: there is no program to run
        write run = ["PROGRAM", "ARGUMENT"]
    line 17: limits.connections: 1 is not between 16 and 1000000
    "#);
}

#[test]
fn http_15_origins_of_pages_are_written_as_browsers_say_them() {
    let origins = r#"listen.allowed_origins = ["https://inspector.example.com", "http://localhost:6274"]"#;
    assert_eq!(Config::parse(origins, &Options::default()).unwrap().allowed_origins.len(), 2);
    let wrong_ones = r#"listen.allowed_origins = ["*", "null", "https://a.example/", "https://A.example:443", "file:///x"]"#;
    insta::assert_snapshot!(wrong(wrong_ones, &Options::default()), @r#"
    line 1: listen.allowed_origins: "*" is not a web origin
        write, for example, "https://inspector.example.com"
    line 1: listen.allowed_origins: "null" is not a web origin
        write, for example, "https://inspector.example.com"
    line 1: listen.allowed_origins: "https://a.example/" is not a web origin
        write "https://a.example"
    line 1: listen.allowed_origins: "https://A.example:443" is not a web origin
        write "https://a.example"
    line 1: listen.allowed_origins: "file:///x" is not a web origin
        write, for example, "https://inspector.example.com"
    "#);
}

#[test]
fn def_02_beyond_loopback_everything_is_https() {
    let said = |text: &str, address: &str| wrong(text, &listening(address));
    insta::assert_snapshot!(said("", "0.0.0.0:8080"), @r#"
    public_url: listening on 0.0.0.0:8080, beyond this machine, needs a public https address
        add public_url = "https://mcp.example.com", or listen on 127.0.0.1
    "#);
    insta::assert_snapshot!(said("public_url = \"http://mcp.example.com\"", "0.0.0.0:8080"), @r#"
    line 1: public_url: "http://mcp.example.com": must be https (plain http is for loopback only)
        write, for example, "https://mcp.example.com"
    "#);
    insta::assert_snapshot!(said("public_url = \"http://127.0.0.1:8080\"", "0.0.0.0:8080"), @r#"
    line 1: public_url: others can reach the listen address, so public_url must be https
        put a TLS proxy in front and write its address, or listen on 127.0.0.1
    "#);
    Config::parse("public_url = \"https://mcp.example.com\"", &listening("0.0.0.0:8080")).unwrap();
    Config::parse("public_url = \"https://mcp.example.com\"", &listening("127.0.0.1:8080")).unwrap();
}

#[test]
fn def_02_the_demo_is_on_loopback_only() {
    let demo = |address: &str| Options { demo: true, ..listening(address) };
    insta::assert_snapshot!(wrong("", &demo("0.0.0.0:8080")), @r#"
    --listen: the demo listens on loopback only, not on 0.0.0.0:8080
        its passwords lie in a file; use "127.0.0.1:8080", or serve without --demo
    "#);
    insta::assert_snapshot!(wrong("public_url = \"https://mcp.example.com\"", &demo("127.0.0.1:8080")), @r#"
    line 1: public_url: the demo is served at its listen address only
        leave public_url out, or serve without --demo
    "#);
    let config = Config::parse("", &demo("127.0.0.1:8081")).unwrap();
    assert!(config.demo && config.registration.dynamic);
    assert_eq!(config.issuer.as_str(), "http://127.0.0.1:8081");
    let config = Config::parse("", &demo("[::1]:8081")).unwrap();
    assert_eq!(config.issuer.as_str(), "http://[::1]:8081");
}

#[test]
fn a_text_that_is_no_toml_is_told_with_its_line() {
    insta::assert_snapshot!(wrong("a = \n[b\n", &Options::default()), @r#"
    line 1: not TOML: string values must be quoted, expected literal string
    line 2: not TOML: unclosed table, expected `]`
    "#);
}

#[test]
fn what_is_generated_is_checked_in() {
    let docs = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs"));
    let read = |name: &str| std::fs::read_to_string(docs.join(name)).unwrap_or_default();
    assert_eq!(
        read("configuration.md"),
        reference::page(),
        "write what `portcullis config reference` prints"
    );
    let schema = format!("{:#}\n", reference::schema());
    assert_eq!(read("config.schema.json"), schema, "write what `portcullis config schema` prints");
}

#[test]
fn pc_63_what_is_wrong_with_the_listener_is_told() {
    let good = "[listen]\ntls = { cert = \"c\", key = \"k\" }\ntrusted_proxies = [\"10.0.0.0/8\"]\n";
    let config = Config::parse(good, &Options::default()).unwrap();
    assert_eq!(config.issuer.as_str(), "https://127.0.0.1:8080", "with TLS the derived address is https");
    let http = format!("public_url = \"http://127.0.0.1:8080\"\n{good}");
    assert!(wrong(&http, &Options::default()).contains("public_url must be https"));
    let demo = Options { demo: true, ..Options::default() };
    assert!(wrong(good, &demo).contains("the demo is served over plain http"));
    for (text, says) in [
        ("[listen]\ntls = { cert = \"c\" }\n", "line 2: listen.tls: key is missing"),
        ("[listen]\nops = \"9464\"\n", "line 2: listen.ops: \"9464\" is not an IP address with a port"),
        ("[listen]\ntrusted_proxies = [\"0.0.0.0/0\"]\n", "that would believe everybody"),
        ("[listen]\ntrusted_proxies = [\"10.0.0.5/8\"]\n", "10.0.0.0/8 is the network"),
        ("[listen]\nforwarded_header = \"Forwarded\"\n", "without trusted proxies no header is believed"),
        ("[telemetry]\nlog_level = \"a=b=c\"\n", "line 2: telemetry.log_level"),
        ("[audit]\nspool_bytes = 5\n", "line 2: audit.spool_bytes: 5 is not between"),
    ] {
        let told = wrong(text, &Options::default());
        assert!(told.contains(says), "{told}");
    }
}

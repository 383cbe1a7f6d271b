//! Requests whose headers, members, spellings and newlines contradict each other: what is let through says one thing to all.

use crate::bounds::room::Room;
use crate::message::call::{Aim, Call, parse};
use crate::message::headers::{self, Era, METHOD, NAME, PROTOCOL_VERSION, parameters};
use crate::reach::target::{Forwarded, sent_headers};
use crate::testing::readers::{agree, agree_on_lines};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use portcullis_domain::principal::Subject;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use std::fmt::Write as _;
use std::time::Duration;

const META: &str = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

/// A request as it comes: header fields in their order, and a body.
#[derive(Clone, Debug)]
struct Asked {
    fields: Vec<(&'static str, String)>,
    body: String,
}

/// Members that a body is made of, as name and value in JSON.
type Members = Vec<(String, String)>;

/// One thing that is done to a good request.
#[derive(Clone, Debug)]
enum Twist {
    /// Another member, before or after the others of the envelope or of `params`.
    Member { in_params: bool, first: bool, name: &'static str, value: &'static str },
    /// The value of a member is another one.
    Value { in_params: bool, at: usize, value: &'static str },
    /// The name of a member is written with escapes.
    Escaped { in_params: bool, at: usize, which: u8 },
    /// Something stands between all tokens.
    Gap(&'static str),
    /// A header field more.
    Field { name: &'static str, value: String, first: bool },
    /// A header field less.
    Without(usize),
}

const NAMES: &[&str] = &[
    "jsonrpc",
    "id",
    "ID",
    "Id",
    "method",
    "METHOD",
    "met\u{210e}od",
    "params",
    "Params",
    "result",
    "error",
    "name",
    "Name",
    "_name",
    "n\u{430}me",
    "name\u{200b}",
    " name",
    "uri",
    "URI",
    "ref",
    "_meta",
    "meta",
    "arguments",
    "notifications",
    "x",
    "__proto__",
    "",
];

const VALUES: &[&str] = &[
    "\"2.0\"",
    "1",
    "2",
    "1.0",
    "\"1\"",
    "null",
    "[]",
    "{}",
    "\"tools/call\"",
    "\"tools\\/call\"",
    "\"tools/list\"",
    "\"prompts/get\"",
    "\"resources/read\"",
    "\"list\"",
    "\"wipe\"",
    "\"LIST\"",
    "\"l\\u0069st\"",
    "\"list \"",
    "\"list\\u0000\"",
    "\"list\\u2028\"",
    "\"note://a\"",
    "\"note://b\"",
    "{\"name\":\"wipe\"}",
    "{\"a\":\n\"b\"}",
    "{\"x\":\n{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"tools/call\",\"params\":{\"name\":\"wipe\"}}\n}",
    "\"a\u{2028}b\u{85}c\"",
    "{\"type\":\"ref/prompt\",\"name\":\"list\"}",
    "{\"resourceSubscriptions\":[\"note://a\"]}",
];

const GAPS: &[&str] = &["", " ", "\n", "\r\n", "\t", "\r", "\u{2028}", "\u{85}", "\u{feff}", "\u{c}"];

fn base64(text: &str) -> String {
    format!("=?base64?{}?=", STANDARD.encode(text))
}

fn field_values() -> Vec<String> {
    let mut values: Vec<String> = ["tools/call", "tools/list", "TOOLS/CALL", "prompts/get", "resources/read"]
        .into_iter()
        .chain([
            "list",
            "wipe",
            "list, wipe",
            "list,list",
            " list",
            "list ",
            "LIST",
            "note://a",
            "note://b",
            "",
        ])
        .chain(["2026-07-28", "2025-11-25", "2025-03-26", "2099-01-01", "1", "=?base64?!?="])
        .map(str::to_owned)
        .collect();
    values.extend(["list", "wipe", "note://a"].map(base64));
    values
}

const FIELDS: &[&str] = &[
    "mcp-protocol-version",
    "mcp-method",
    "mcp-name",
    "mcp-param-name",
    "mcp-param-region",
    "connection",
    "x",
];

fn twist() -> impl Strategy<Value = Twist> {
    let member = (any::<bool>(), any::<bool>(), select(NAMES), select(VALUES));
    let value = (any::<bool>(), 0_usize..4, select(VALUES));
    let escaped = (any::<bool>(), 0_usize..4, any::<u8>());
    let field = (select(FIELDS), select(field_values()), any::<bool>());
    prop_oneof![
        3 => member.prop_map(|(in_params, first, name, value)| Twist::Member { in_params, first, name, value }),
        2 => value.prop_map(|(in_params, at, value)| Twist::Value { in_params, at, value }),
        1 => escaped.prop_map(|(in_params, at, which)| Twist::Escaped { in_params, at, which }),
        2 => select(GAPS).prop_map(Twist::Gap),
        3 => field.prop_map(|(name, value, first)| Twist::Field { name, value, first }),
        1 => (0_usize..4).prop_map(Twist::Without),
    ]
}

/// A member name as text, some of its characters escaped.
fn written(name: &str, which: u8) -> String {
    let mut text = String::from('"');
    for (at, letter) in name.chars().enumerate() {
        if which & (1 << (at % 8)) == 0 {
            text.push(letter);
        } else {
            let _ = write!(text, "\\u{:04x}", u32::from(letter));
        }
    }
    text + "\""
}

fn object(members: &Members, gap: &str) -> String {
    let members: Vec<String> =
        members.iter().map(|(name, value)| format!("{gap}{name}{gap}:{gap}{value}{gap}")).collect();
    format!("{{{}}}", members.join(","))
}

/// A good request, and what `twists` make of it.
fn asked(method: &'static str, object_of: &'static str, stateless: bool, twists: &[Twist]) -> Asked {
    let (key, value) = if method == "resources/read" { ("uri", "note://a") } else { ("name", object_of) };
    let mut params: Members = vec![(written(key, 0), format!("\"{value}\""))];
    params.push((written("arguments", 0), "{\"region\":\"list\"}".to_owned()));
    let mut fields = vec![];
    if stateless {
        params.push((written("_meta", 0), META.to_owned()));
        fields = vec![("mcp-protocol-version", "2026-07-28".to_owned())];
        fields.push(("mcp-method", method.to_owned()));
        fields.push(("mcp-name", value.to_owned()));
    }
    let mut envelope: Members = vec![
        (written("jsonrpc", 0), "\"2.0\"".to_owned()),
        (written("id", 0), "1".to_owned()),
        (written("method", 0), format!("\"{method}\"")),
    ];
    let mut gap = "";
    for twist in twists {
        let members =
            |in_params: bool, envelope: &mut Members, params: &mut Members, change: &dyn Fn(&mut Members)| {
                change(if in_params { params } else { envelope });
            };
        match twist {
            Twist::Member { in_params, first, name, value } => {
                members(*in_params, &mut envelope, &mut params, &|members| {
                    let at = if *first { 0 } else { members.len() };
                    members.insert(at, (written(name, 0), (*value).to_owned()));
                });
            }
            Twist::Value { in_params, at, value } => {
                members(*in_params, &mut envelope, &mut params, &|members| {
                    if let Some(member) = members.get_mut(*at) {
                        (*value).clone_into(&mut member.1);
                    }
                });
            }
            Twist::Escaped { in_params, at, which } => {
                members(*in_params, &mut envelope, &mut params, &|members| {
                    if let Some(member) = members.get_mut(*at) {
                        member.0 = written(member.0.trim_matches('"'), *which);
                    }
                });
            }
            Twist::Gap(other) => gap = other,
            Twist::Field { name, value, first } => {
                let at = if *first { 0 } else { fields.len() };
                fields.insert(at, (*name, value.clone()));
            }
            Twist::Without(at) if *at < fields.len() => drop(fields.remove(*at)),
            Twist::Without(_) => {}
        }
    }
    envelope.push((written("params", 0), object(&params, gap)));
    Asked { fields, body: object(&envelope, gap) }
}

fn requests() -> impl Strategy<Value = Asked> {
    let method = select(&["tools/call", "prompts/get", "resources/read"][..]);
    let twists = prop::collection::vec(twist(), 0..5);
    (method, any::<bool>(), twists)
        .prop_map(|(method, stateless, twists)| asked(method, "list", stateless, &twists))
}

fn header_map(fields: &[(&'static str, String)]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        // As the HTTP library does: white space around a value is none of it.
        headers.append(HeaderName::from_static(name), HeaderValue::from_str(value.trim()).ok()?);
    }
    Some(headers)
}

/// What a request that is let through is, as the exchange asks: body, headers, arguments in headers, by name or not.
fn let_through(asked: &Asked, headers: &HeaderMap, by_name: bool) -> Option<(Call, Era)> {
    let call = parse(asked.body.as_bytes(), "no such token", 64).ok()?;
    let era = headers::check(headers, &call).ok()?;
    parameters::check(headers, asked.body.as_bytes(), by_name).ok()?;
    (call.aim != Aim::Unknown).then_some((call, era))
}

/// The header fields that an upstream gets.
fn forwarded(asked: &Asked, headers: &HeaderMap, era: Era) -> HeaderMap {
    let nobody = Subject::Agent("cli_1".parse().unwrap());
    sent_headers(&Forwarded {
        method: Method::POST,
        headers,
        era,
        session: None,
        id: None,
        is_endless: false,
        trace: None,
        timeout: Duration::ZERO,
        share: Room::new(0, 0).of(&nobody),
        body: Bytes::from(asked.body.clone()),
    })
    .unwrap()
}

/// Whether a reader of header fields reads what was decided about: there is one of each, and it says what the body says.
fn fields_agree(sent: &HeaderMap, call: &Call) -> Result<(), String> {
    let decoded = |value: &str| match value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?="))
    {
        Some(encoded) => String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap(),
        None => value.to_owned(),
    };
    // A method that only a rule knows is what it is about, but is not what its params name.
    let about = call.aim.object().filter(|_| !matches!(call.aim, Aim::Method(_)));
    for (name, wanted) in [
        (METHOD, Some(call.method.as_str())),
        // What is about nothing by name may have a name in its params all the same.
        (NAME, about.or(call.name.as_deref())),
        (PROTOCOL_VERSION, call.version.as_deref()),
    ] {
        let values: Vec<&HeaderValue> = sent.get_all(&name).iter().collect();
        match (values.as_slice(), wanted) {
            ([], _) => {}
            ([value], Some(wanted)) if decoded(value.to_str().unwrap()) == wanted => {}
            // A revision of sessions has its version nowhere in the body.
            ([_], None) if name == PROTOCOL_VERSION => {}
            (values, wanted) => return Err(format!("{name}: {values:?}, and the body says {wanted:?}")),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6000))]

    #[test]
    fn rpc_02_07_08_what_is_forwarded_says_to_everybody_what_was_decided_about(asked in requests(), by_name in any::<bool>()) {
        let Some(headers) = header_map(&asked.fields) else { return Ok(()) };
        let Some((call, era)) = let_through(&asked, &headers, by_name) else { return Ok(()) };
        // Over HTTP go the original bytes, and a message is a body.
        prop_assert_eq!(agree(asked.body.as_bytes(), &call), Ok(()));
        // A program gets a line.
        let line = crate::upstream::stdio::as_line(asked.body.as_bytes());
        let line = line.ok_or_else(|| TestCaseError::fail("what was read cannot be written on one line"))?;
        prop_assert_eq!(agree_on_lines(line.as_bytes(), &call), Ok(()));
        prop_assert_eq!(fields_agree(&forwarded(&asked, &headers, era), &call), Ok(()));
    }
}

#[test]
fn rpc_02_07_08_the_requests_are_let_through_and_refused_often_enough_to_mean_something() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut passed, mut refused, strategy) = (0, 0, requests());
    for _ in 0..2000 {
        let asked = strategy.new_tree(&mut runner).expect("a request").current();
        let headers = header_map(&asked.fields);
        match headers.and_then(|headers| let_through(&asked, &headers, false)) {
            Some(_) => passed += 1,
            None => refused += 1,
        }
    }
    assert!(passed > 300 && refused > 300, "{passed} passed, {refused} refused");
}

/// Of headers that contradict the body, and bodies that contradict themselves, none is let through; and without our checks
/// the readers of this test would see it.
#[test]
fn rpc_02_07_what_contradicts_itself_is_refused_and_would_be_seen() {
    let field = |name, value: &str| Twist::Field { name, value: value.to_owned(), first: false };
    let twice = |name, value| Twist::Member { in_params: true, first: true, name, value };
    for twists in [
        vec![Twist::Without(2), field("mcp-name", "wipe")],
        vec![Twist::Without(1), field("mcp-method", "tools/list")],
        vec![field("mcp-name", "list")],
        vec![Twist::Without(2), field("mcp-name", "list, wipe")],
    ] {
        let asked = asked("tools/call", "list", true, &twists);
        let headers = header_map(&asked.fields).unwrap();
        assert!(let_through(&asked, &headers, false).is_none(), "{asked:?}");
        let call = parse(asked.body.as_bytes(), "no such token", 64).unwrap();
        assert!(fields_agree(&forwarded(&asked, &headers, Era::Stateless), &call).is_err(), "{asked:?}");
    }
    for twists in [vec![twice("name", "\"wipe\"")], vec![twice("Name", "\"wipe\"")]] {
        let plain = asked("tools/call", "list", true, &[]);
        let asked = asked("tools/call", "list", true, &twists);
        assert!(let_through(&asked, &header_map(&asked.fields).unwrap(), false).is_none(), "{asked:?}");
        let call = parse(plain.body.as_bytes(), "no such token", 64).unwrap();
        assert!(agree(asked.body.as_bytes(), &call).is_err(), "{asked:?}");
    }
}

/// A method that MCP does not know may have a name in its params, which the header repeats.
#[test]
fn rpc_02_a_method_of_a_rule_is_not_what_its_params_name() {
    let unknown = Twist::Value { in_params: false, at: 2, value: "\"2.0\"" };
    let header = Twist::Field { name: "mcp-name", value: "list".to_owned(), first: false };
    let asked = asked("tools/call", "list", false, &[unknown, header]);
    let headers = header_map(&asked.fields).unwrap();
    let (call, era) = let_through(&asked, &headers, false).unwrap();
    assert!(matches!(call.aim, Aim::Method(_)), "{:?}", call.aim);
    assert_eq!(fields_agree(&forwarded(&asked, &headers, era), &call), Ok(()));
}

/// A resource that is read is named by its URI, whatever else stands beside it.
#[test]
fn rpc_02_a_name_beside_a_uri_is_not_what_the_header_repeats() {
    let beside = Twist::Member { in_params: true, first: true, name: "name", value: "\"list\"" };
    let header = Twist::Field { name: "mcp-name", value: "list".to_owned(), first: false };
    let good = asked("resources/read", "", true, std::slice::from_ref(&beside));
    assert!(let_through(&good, &header_map(&good.fields).unwrap(), false).is_some());
    let bad = asked("resources/read", "", true, &[beside, Twist::Without(2), header]);
    assert!(let_through(&bad, &header_map(&bad.fields).unwrap(), false).is_none());
}

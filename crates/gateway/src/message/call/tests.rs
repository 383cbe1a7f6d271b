//! Whatever a body looks like: when it is let through, every reader reads in it what we did.

use super::{Aim, Kind, parse};
use crate::testing::readers::careless;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use serde_json::Value;

/// Member names that decide, and what some reader could take for them.
const NAMES: &[&str] = &[
    "jsonrpc",
    "id",
    "method",
    "params",
    "name",
    "Name",
    "NAME",
    "METHOD",
    "Method",
    "Params",
    "\u{ff4e}ame",
    "n\u{430}me",
    "name\u{200b}",
    " name",
    "met\u{210e}od",
    "_name",
    "uri",
    "URI",
    "_meta",
    "meta",
    "result",
    "x",
    "arguments",
    "Arguments",
];

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec![
            "\"2.0\"", "1", "\"tools/call\"", "\"tools/list\"", "\"list\"", "\"wipe\"", "\"notifications/cancelled\"",
        ]).prop_map(str::to_owned),
        1 => prop::sample::select(vec![
            "null", "1.0", "[]", "{}", "\"tools\\u002fcall\"", "\"w\\u0069pe\"", "\"wipe\\u0000\"", "true", "-0", "1e9",
            "9007199254740993",
        ]).prop_map(str::to_owned),
    ]
}

/// A member name as text, some of its characters escaped.
fn written(name: &str, escaped: u8) -> String {
    let letters: String = name
        .chars()
        .enumerate()
        .map(|(at, letter)| {
            let units = format!("\\u{:04x}", u32::from(letter));
            if escaped & (1 << (at % 8)) == 0 { letter.to_string() } else { units }
        })
        .collect();
    format!("\"{letters}\"")
}

fn members(inner: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let name = (prop::sample::select(NAMES), prop_oneof![3 => Just(0_u8), 1 => any::<u8>()]);
    let member =
        (name, inner).prop_map(|((name, escaped), value)| format!("{}:{value}", written(name, escaped)));
    prop_oneof![
        3 => Just(String::new()),
        2 => prop::collection::vec(member, 1..4).prop_map(|members| members.join(",")),
    ]
}

/// A call that would be good, with members put before and after its own, at both levels.
fn body() -> impl Strategy<Value = String> {
    let params = (members(value()), members(value()), any::<bool>()).prop_map(|(before, after, named)| {
        let own = if named { "\"name\":\"list\"" } else { "" };
        let parts: Vec<String> =
            [before, own.to_owned(), after].into_iter().filter(|part| !part.is_empty()).collect();
        format!("{{{}}}", parts.join(","))
    });
    (members(value()), members(value()), params, any::<bool>()).prop_map(|(before, after, params, whole)| {
        let own = if whole {
            format!(r#""jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}"#)
        } else {
            format!(r#""params":{params}"#)
        };
        let parts: Vec<String> = [before, own, after].into_iter().filter(|part| !part.is_empty()).collect();
        format!("{{{}}}", parts.join(","))
    })
}

/// What a careless reader finds under `wanted`: all of it.
fn carelessly<'v>(object: &'v Value, wanted: &str) -> Vec<&'v Value> {
    let members = object.as_object().into_iter().flatten();
    members.filter(|(name, _)| careless(name) == careless(wanted)).map(|(_, value)| value).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn rpc_07_08_what_is_let_through_reads_the_same_to_every_reader(body in body()) {
        let Ok(call) = parse(body.as_bytes(), "no such token", 64) else {
            return Ok(());
        };
        let read: Value = serde_json::from_str(&body).expect("let through, so it is JSON");
        let method = Value::from(call.method.as_str());
        match call.kind {
            Kind::Request | Kind::Notification => prop_assert_eq!(carelessly(&read, "method"), vec![&method]),
            Kind::Response => prop_assert!(carelessly(&read, "method").is_empty()),
        }
        let ids = carelessly(&read, "id");
        prop_assert_eq!(ids.len(), usize::from(call.id.is_some()));
        if let Aim::CallTool(name) = &call.aim {
            let params = carelessly(&read, "params");
            prop_assert_eq!(params.len(), 1);
            let name = Value::from(name.as_str());
            prop_assert_eq!(carelessly(params[0], "name"), vec![&name]);
        }
    }

    #[test]
    fn rpc_12_no_bytes_make_it_panic_and_what_passes_is_json(body in prop::collection::vec(any::<u8>(), 0..200)) {
        if parse(&body, "no such token", 64).is_ok() {
            prop_assert!(serde_json::from_slice::<Value>(&body).is_ok());
        }
    }
}

#[test]
fn rpc_07_the_generated_bodies_are_let_through_often_enough_to_mean_something() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = body();
    let passed = (0..2000)
        .filter(|_| {
            let tree = strategy.new_tree(&mut runner).expect("a body");
            parse(tree.current().as_bytes(), "no such token", 64).is_ok()
        })
        .count();
    assert!(passed > 50, "{passed} of 2000");
}

#[test]
fn rpc_08_the_careless_reader_of_these_tests_is_careless() {
    for name in NAMES.iter().filter(|name| careless(name) == "name" && **name != "name") {
        let object: Value = serde_json::json!({ "name": "list", *name: "wipe" });
        assert_eq!(carelessly(&object, "name").len(), 2, "{name:?}");
    }
    assert!(NAMES.iter().filter(|name| careless(name) == "name").count() >= 6);
}

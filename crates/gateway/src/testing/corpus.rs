//! The corpus of hostile bodies, read by our parser: each as it must be. `interop/corpus` sends what passes to real servers.

use crate::message::call::{self, Aim, Kind};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt::Write as _;

#[derive(Deserialize)]
struct Case {
    name: String,
    body: Option<String>,
    hex: Option<String>,
    #[serde(default)]
    refused: bool,
    kind: Option<String>,
    method: Option<String>,
    target: Option<String>,
    #[serde(default)]
    id: Value,
}

impl Case {
    fn bytes(&self) -> Vec<u8> {
        match (&self.body, &self.hex) {
            (Some(body), None) => body.clone().into_bytes(),
            (None, Some(hex)) => {
                let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
                (0..hex.len()).step_by(2).map(digit).collect()
            }
            _ => panic!("{}: either body or hex", self.name),
        }
    }

    fn expected(&self) -> Value {
        if self.refused {
            return Value::Null;
        }
        json!({"kind": self.kind, "method": self.method, "target": self.target, "id": self.id})
    }
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("../../../../interop/corpus/cases.json")).unwrap()
}

/// What we read; null when it is refused, by the parser or because nobody gave the method a meaning.
fn read(body: &[u8]) -> Value {
    let depth = crate::Limits::default().json_depth;
    let Ok(call) = call::parse(body, "the caller's token", depth) else {
        return Value::Null;
    };
    if matches!(call.aim, Aim::Method(_) | Aim::Unknown) {
        return Value::Null;
    }
    let kind = match call.kind {
        Kind::Notification => "notification",
        Kind::Request => "request",
        Kind::Response => "response",
    };
    let id: Value = call.id.as_ref().map_or(Value::Null, |id| serde_json::from_str(id.get()).unwrap());
    json!({"kind": kind, "method": call.method, "target": call.aim.object(), "id": id})
}

#[test]
fn rpc_07_hostile_bodies_are_read_as_they_must_be() {
    let cases = cases();
    assert!(cases.len() > 300);
    for case in &cases {
        assert_eq!(read(&case.bytes()), case.expected(), "{}", case.name);
    }
}

/// For `interop/corpus/run.py`: what we read, and what a program would be sent, where it asks for them.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test that is asked for its findings by the environment")]
fn rpc_07_what_passes_stays_one_line_with_the_same_value() {
    let mut findings = String::new();
    for case in cases() {
        let (body, read) = (case.bytes(), read(&case.bytes()));
        let line = if read.is_null() { None } else { Some(crate::upstream::stdio::as_line(&body).unwrap()) };
        if let Some(line) = &line {
            let value: Value = serde_json::from_str(line).unwrap();
            assert_eq!(value, serde_json::from_slice::<Value>(&body).unwrap(), "{}", case.name);
            assert!(!line.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']), "{}", case.name);
        }
        let finding = json!({"name": case.name, "read": read, "line": line});
        writeln!(findings, "{finding}").unwrap();
    }
    if let Ok(file) = std::env::var("PORTCULLIS_CORPUS_FINDINGS") {
        std::fs::write(file, findings).unwrap();
    }
}

//! What `fuzz/` feeds with bytes: each parser of hostile input, with what must hold whatever the bytes are.
//!
//! Compiled for tests, which run the corpora of `fuzz/corpus`, and for `cargo fuzz`; no build of the product has it.

use crate::bounds::room::Room;
use crate::decide::pins::{Look, Pinboard};
use crate::filter::list::{self, Reader};
use crate::known::tasks::Tasks;
use crate::message::call::{Call, parse};
use crate::message::events::{self, Splitter};
use crate::message::headers::{self, parameters};
use crate::request::batch;
use crate::testing::readers::{agree, agree_on_lines};
use crate::upstream::stdio;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use portcullis_domain::condition::Circumstances;
use portcullis_domain::id::{ServerId, SessionId, TokenId};
use portcullis_domain::pins::PinnedTools;
use portcullis_domain::policy::Policy;
use portcullis_domain::principal::{Principal, Subject};
use portcullis_domain::registry::Pinning;
use portcullis_domain::snapshot::Snapshot;
use portcullis_oauth::time::Timestamp;
use serde_json::Value;
use std::sync::{Arc, LazyLock};

const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.e30.c2ln";
const DEPTH: usize = 64;

/// A body: what is let through says the same to every reader, as it is and as a line.
pub fn envelope(body: &[u8]) {
    if let Ok(call) = parse(body, TOKEN, DEPTH) {
        check(body, &call);
        return;
    }
    let body = Bytes::copy_from_slice(body);
    for (call, part) in batch::messages(&body, TOKEN, DEPTH) {
        check(&part, &call);
    }
}

fn check(body: &[u8], call: &Call) {
    assert!(!String::from_utf8_lossy(body).contains(TOKEN), "the token was let through");
    assert_eq!(agree(body, call), Ok(()));
    let line = stdio::as_line(body).expect("what was read can be written on one line");
    assert_eq!(agree_on_lines(line.as_bytes(), call), Ok(()));
}

/// Header fields, one a line, an empty line, and a body.
pub fn header_fields(request: &[u8]) {
    let (fields, body) = split_at_blank_line(request);
    let mut map = HeaderMap::new();
    for field in fields.split(|byte| *byte == b'\n') {
        let (name, value) =
            field.split_at(field.iter().position(|byte| *byte == b':').unwrap_or(field.len()));
        let value = HeaderValue::from_bytes(value.strip_prefix(b":").unwrap_or(value).trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), value) {
            map.append(name, value);
        }
    }
    let Ok(call) = parse(body, TOKEN, DEPTH) else { return };
    for by_name in [false, true] {
        if headers::check(&map, &call).is_ok() && parameters::check(&map, body, by_name).is_ok() {
            for (name, wanted) in [(headers::METHOD, Some(&call.method)), (headers::NAME, call.name.as_ref())]
            {
                let mut values = map.get_all(&name).iter();
                let Some(value) = values.next() else { continue };
                let is_encoded = value.as_bytes().starts_with(b"=?base64?");
                assert!(values.next().is_none(), "{name} stands twice");
                assert!(
                    is_encoded || wanted.is_some_and(|wanted| wanted.as_bytes() == value.as_bytes()),
                    "{name}: {value:?}"
                );
            }
        }
    }
    let _answered = headers::check_bodiless(&map);
}

fn split_at_blank_line(request: &[u8]) -> (&[u8], &[u8]) {
    match request.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&request[..at], &request[at + 2..]),
        None => (request, b""),
    }
}

/// A stream of events: cut at the same places however it arrives, nothing lost, nothing added.
pub fn event_stream(input: &[u8]) {
    const LIMIT: usize = 1 << 16;
    let share = Room::new(LIMIT, LIMIT).of(&principal().subject);
    let (size, stream) =
        input.split_first().map_or((1, input), |(size, rest)| (usize::from(*size).max(1), rest));
    let cut = |size: usize| {
        let (mut splitter, mut found) = (Splitter::new(LIMIT, &share), Vec::new());
        for chunk in stream.chunks(size) {
            if splitter.push(chunk).is_err() {
                return None;
            }
            while let Some(event) = splitter.next_event() {
                found.push(event);
            }
        }
        Some(found)
    };
    let (Some(found), Some(whole)) = (cut(size), cut(stream.len().max(1))) else { return };
    assert_eq!(found, whole, "cut differently in chunks of {size}");
    let mut rest = stream;
    for event in &found {
        rest = rest.strip_prefix(&event[..]).expect("events are the stream");
        let data = events::read(event).data;
        if serde_json::from_slice::<Value>(&data).is_ok() {
            let written = events::with_data(event, &data);
            let again = events::read(&written).data;
            let value = |text: &[u8]| serde_json::from_slice::<Value>(text).ok();
            assert_eq!(value(&data), value(&again), "other data");
            let mut splitter = Splitter::new(LIMIT, &share);
            splitter.push(&written).expect("no longer than before");
            assert_eq!(splitter.next_event().as_deref(), Some(&written[..]), "one event is one event");
        }
    }
}

/// What a program writes: lines, however long; and what each of them is.
pub fn program_output(input: &[u8]) {
    stdio::read_lines(input, 64, |line| assert!(line.len() <= 64 && !line.contains(&b'\n')));
}

/// A message for a program: one line of the same value, or none.
pub fn program_input(message: &[u8]) {
    let line = stdio::as_line(message);
    if let Ok(value) = serde_json::from_slice::<Value>(message) {
        let line = line.expect("JSON can be written on one line");
        assert!(!line.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']), "several lines");
        assert_eq!(serde_json::from_str::<Value>(&line).ok(), Some(value), "another value");
    }
}

/// An answer with lists: what is left of it is JSON without doubles, shows nothing that may not be seen, and is left alone by
/// a second pass.
pub fn lists(answer: &[u8]) {
    static POLICY: LazyLock<Policy> = LazyLock::new(|| {
        let snapshot: Snapshot =
            serde_json::from_str(include_str!("fuzzing/snapshot.json")).expect("it stands beside this file");
        Policy::compile(&snapshot).expect("it is whole")
    });
    let tools = PinnedTools::new(Pinning::Off, None);
    let board = Pinboard::new(Arc::new(|| Timestamp::from_seconds(0)));
    let look = Look::new(board.of_tools(ServerId::from_bytes([1; 16]), &tools));
    let policy = POLICY.server("notes").expect("it stands in the snapshot");
    let principal = principal();
    let circumstances = Circumstances { now: Timestamp::from_seconds(100), address: None, arguments: None };
    let standpoint = policy.standpoint(&principal, &circumstances);
    let reader = Reader { policy, principal: &principal, tasks: &Tasks::new(1), standpoint, look: &look };
    let Ok(left) = list::filtered(answer, &reader) else { return };
    let value: Value = serde_json::from_slice(&left).expect("what is passed on is JSON");
    for (list, key, visible) in
        [("tools", "name", "list_notes"), ("prompts", "name", "greet"), ("resources", "uri", "note://a")]
    {
        let items = value["result"][list].as_array().map(Vec::as_slice).unwrap_or_default();
        assert!(items.iter().all(|item| item[key] == visible), "shows {list} that may not be seen: {value}");
    }
    assert_eq!(list::filtered(&left, &reader).as_deref(), Ok(&left[..]), "a second pass changes something");
}

fn principal() -> Principal {
    let client: portcullis_oauth::client::ClientId = "cli_agent".parse().expect("a client id");
    Principal {
        subject: Subject::Agent(client.clone()),
        client_id: client,
        session: SessionId::from_bytes([1; 16]),
        token: TokenId::from_bytes([1; 16]),
        scopes: "notes:read".parse().expect("a scope"),
        roles: Vec::new(),
        issued_at: Timestamp::from_seconds(0),
        expires_at: Timestamp::from_seconds(900),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Every file of a corpus goes through its target.
    fn run(corpus: &str, target: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(corpus);
        let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() >= 3, "{}", folder.display());
        for file in files {
            target(&std::fs::read(file).unwrap());
        }
    }

    #[test]
    fn rpc_07_the_corpus_of_envelopes() {
        run("envelope", envelope);
    }

    #[test]
    fn rpc_02_the_corpus_of_header_fields() {
        run("header_fields", header_fields);
    }

    #[test]
    fn strm_07_the_corpus_of_event_streams() {
        run("event_stream", event_stream);
    }

    #[test]
    fn stdio_the_corpora_of_programs() {
        run("program_output", program_output);
        run("program_input", program_input);
    }

    #[test]
    fn scope_17_the_corpus_of_lists() {
        run("lists", lists);
    }
}

//! A page of the calls that somebody asks for, newest first, with how they ended.

use super::{Call, Cursor, Ended, Line, Newest, Position, Read, Source, Sources};
use portcullis_oauth::time::Timestamp;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::Path;
use std::time::Duration;

/// The most that is read for one page. Who looks for something rare goes on with the next page.
const MOST_BYTES: u64 = 256 * 1024 * 1024;

/// How much of what is newer than a page is searched for the ends of its calls.
const MOST_AFTER: u64 = 16 * 1024 * 1024;

/// Outcomes that wait for their decision. A call may be under way for long, but not this many at once.
const MOST_ENDED: usize = 100_000;

/// Clocks are set back by less.
const CLOCK: Duration = Duration::from_hours(1);

/// Which calls. What is not said selects all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The agent's name.
    pub agent: Option<String>,
    /// A user's id.
    pub user: Option<String>,
    /// The server's name.
    pub server: Option<String>,
    /// The name of a tool.
    pub tool: Option<String>,
    /// The name of a gateway that runs alone.
    pub gateway: Option<String>,
    /// The session.
    pub session: Option<String>,
    /// `allowed`, `refused`; `observed` for what was allowed only because the server is observed.
    pub outcome: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Of these servers only, by name.
    pub reach: Option<BTreeSet<String>>,
}

/// A page.
#[derive(Debug, Default)]
pub struct Found {
    /// Newest first.
    pub calls: Vec<Call>,
    /// Where to go on; `None` when there is no more.
    pub next: Option<Cursor>,
    /// Lines that were cut off when a process was killed (or that are being written).
    pub torn: u64,
    /// Lines that are none of ours.
    pub unreadable: u64,
}

impl Filter {
    /// Whether a call is asked for.
    pub fn selects(&self, call: &Call) -> bool {
        let is =
            |wanted: &Option<String>, found: Option<&str>| wanted.is_none() || wanted.as_deref() == found;
        let outcome = match self.outcome.as_deref() {
            None => true,
            Some("observed") => call.observed.is_some(),
            Some(outcome) => outcome == call.outcome,
        };
        outcome
            && is(&self.agent, call.agent.as_deref())
            && is(&self.user, Some(&call.subject))
            && is(&self.server, Some(&call.server_name))
            && is(&self.session, Some(&call.session))
            && (self.tool.is_none() || self.tool.as_deref() == call.tool())
            && self.since.is_none_or(|since| call.at >= since)
            && self.until.is_none_or(|until| call.at < until)
            && self.reach.as_ref().is_none_or(|servers| servers.contains(&call.server_name))
    }

    /// Whether nothing older can be asked for.
    fn is_past(&self, at: Timestamp) -> bool {
        self.since.is_some_and(|since| at + CLOCK < since)
    }
}

/// One source, and the next line of it.
struct Reading<'s> {
    source: &'s Source,
    newest: Newest,
    head: Option<Read>,
    /// What was read of it lies from here on.
    before: Option<Position>,
}

impl<'s> Reading<'s> {
    fn begin(source: &'s Source, before: Option<Position>) -> io::Result<Self> {
        let mut newest = Newest::of(&source.folder, before)?;
        let head = newest.next_line()?;
        Ok(Self { source, newest, head, before })
    }

    /// When its next line was written; one that cannot be read comes first, whenever that was.
    fn at(&self) -> Option<Timestamp> {
        self.head.as_ref().map(|read| match read {
            Read::Line(_, Line::Decided(call)) => call.at,
            Read::Line(_, Line::Ended(ended)) => ended.at,
            Read::Torn(_) | Read::Unreadable(_) => Timestamp::from_seconds(i64::MAX),
        })
    }

    fn take(&mut self) -> io::Result<Option<Read>> {
        let next = self.newest.next_line()?;
        let taken = std::mem::replace(&mut self.head, next);
        self.before = match &taken {
            Some(Read::Line(at, _) | Read::Torn(at) | Read::Unreadable(at)) => Some(*at),
            None => self.before,
        };
        Ok(taken)
    }
}

/// Whoever has the newest line.
fn newest(readings: &[Reading<'_>]) -> Option<usize> {
    let heads = readings.iter().enumerate().filter_map(|(at, reading)| Some((reading.at()?, at)));
    // Of several the first: one source after the other.
    heads.max_by_key(|(time, at)| (*time, std::cmp::Reverse(*at))).map(|(_, at)| at)
}

/// At most so many calls before a position. Reads files: not for an async task.
pub fn search(
    sources: &Sources,
    filter: &Filter,
    before: Option<&Cursor>,
    limit: usize,
) -> io::Result<Found> {
    let mut found = Found::default();
    let mut ends: HashMap<(usize, String), Ended> = HashMap::new();
    let mut readings = Vec::new();
    for (source, before) in sources.from(before) {
        if filter.gateway.is_none() || filter.gateway == source.gateway {
            readings.push(Reading::begin(source, before)?);
        }
    }
    // Of which source each call of the page is.
    let mut of = Vec::new();
    while let Some(at) = newest(&readings) {
        let reading = &mut readings[at];
        match reading.take()? {
            None => {}
            Some(Read::Torn(_)) => found.torn += 1,
            Some(Read::Unreadable(_)) => found.unreadable += 1,
            Some(Read::Line(_, Line::Ended(ended))) => {
                if ends.len() >= MOST_ENDED {
                    ends.clear();
                }
                ends.insert((at, ended.call.clone()), ended);
            }
            Some(Read::Line(_, Line::Decided(call))) if filter.is_past(call.at) => reading.head = None,
            Some(Read::Line(_, Line::Decided(mut call))) => {
                call.gateway.clone_from(&reading.source.gateway);
                call.ended = ends.remove(&(at, call.call.clone()));
                if filter.selects(&call) {
                    found.calls.push(*call);
                    of.push(at);
                }
            }
        }
        let bytes: u64 = readings.iter().map(|reading| reading.newest.bytes()).sum();
        if found.calls.len() >= limit || bytes >= MOST_BYTES {
            let open = readings.iter().filter(|reading| reading.head.is_some());
            let next = Cursor::of(open.map(|reading| (reading.source, reading.before)));
            found.next = (!next.is_empty()).then_some(next);
            break;
        }
    }
    if let Some(before) = before {
        for (at, reading) in readings.iter().enumerate() {
            let calls = found.calls.iter_mut().zip(&of).filter(|(_, of)| **of == at).map(|(call, _)| call);
            later_ends(&reading.source.folder, before.in_source(reading.source), calls)?;
        }
    }
    Ok(found)
}

/// Ends of this page's calls that were recorded after the page before began.
fn later_ends<'c>(
    folder: &Path,
    before: Option<Position>,
    calls: impl Iterator<Item = &'c mut Call>,
) -> io::Result<()> {
    let Some(before) = before else { return Ok(()) };
    let open = calls.filter(|call| call.ended.is_none() && !call.is_refused());
    let mut open: HashMap<String, &mut Call> = open.map(|call| (call.call.clone(), call)).collect();
    let mut newest = Newest::of(folder, None)?;
    while !open.is_empty() && newest.bytes() < MOST_AFTER {
        match newest.next_line()? {
            Some(Read::Line(at, line)) if at >= before => {
                if let Line::Ended(ended) = line
                    && let Some(call) = open.remove(&ended.call)
                {
                    call.ended = Some(ended);
                }
            }
            Some(Read::Torn(_) | Read::Unreadable(_)) => {}
            Some(Read::Line(..)) | None => break,
        }
    }
    Ok(())
}

/// Goes through every decision of a period, newest first in each source; gives the number of lines that could not be read.
pub(crate) fn each(
    sources: &Sources,
    (since, until): (Timestamp, Timestamp),
    mut visit: impl FnMut(Call),
) -> io::Result<u64> {
    let period = Filter { since: Some(since), until: Some(until), ..Filter::default() };
    let mut lost = 0;
    for (source, _) in sources.from(None) {
        let mut newest = Newest::of(&source.folder, None)?;
        while let Some(read) = newest.next_line()? {
            match read {
                Read::Line(_, Line::Decided(call)) if period.is_past(call.at) => break,
                Read::Line(_, Line::Decided(call)) if period.selects(&call) => visit(*call),
                Read::Line(..) => {}
                Read::Torn(_) | Read::Unreadable(_) => lost += 1,
            }
        }
    }
    Ok(lost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use std::fs;

    fn decided(number: usize, agent: &str, outcome: &str) -> String {
        json!({
            "kind": "call.decided", "at": 1000 + number, "call": format!("c-{number}"), "outcome": outcome,
            "subject": agent, "client": agent, "agent": agent, "session": "ses_1", "token": "tok_1", "server": "srv_1",
            "server_name": "notes", "method": "tools/call", "object": format!("tool{}", number % 3), "object_kind": "tool",
            "granted": "notes:read", "something_new": [1, 2],
        })
        .to_string()
    }

    fn ended(number: usize) -> String {
        json!({ "kind": "call.ended", "at": 2000, "call": format!("c-{number}"), "status": 200, "how": "answered" }).to_string()
    }

    fn record(segments: &[Vec<String>]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (at, lines) in segments.iter().enumerate() {
            let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
            fs::write(folder.path().join(format!("{:010}.jsonl", at + 1)), text).unwrap();
        }
        folder
    }

    fn own(folder: &Path) -> Sources {
        Sources::new(vec![Source { gateway: None, folder: folder.to_owned() }])
    }

    fn pages(folder: &Path, filter: &Filter, limit: usize) -> Vec<Call> {
        let (mut all, mut before) = (Vec::new(), None);
        loop {
            let page = search(&own(folder), filter, before.as_ref(), limit).unwrap();
            all.extend(page.calls);
            before = page.next;
            if before.is_none() {
                return all;
            }
        }
    }

    #[test]
    fn pc_50_calls_are_read_back_newest_first_with_their_ends() {
        let folder = record(&[
            vec![decided(1, "a", "allowed"), decided(2, "b", "refused"), ended(1)],
            vec![decided(3, "a", "allowed"), decided(4, "a", "allowed"), ended(4)],
        ]);
        let all = search(&own(folder.path()), &Filter::default(), None, 10).unwrap();
        let seen: Vec<(&str, bool)> =
            all.calls.iter().map(|call| (call.call.as_str(), call.ended.is_some())).collect();
        assert_eq!(seen, [("c-4", true), ("c-3", false), ("c-2", false), ("c-1", true)]);
        assert_eq!((all.next, all.torn, all.unreadable), (None, 0, 0));
        for limit in 1..5 {
            assert_eq!(pages(folder.path(), &Filter::default(), limit), all.calls, "pages of {limit}");
        }
    }

    #[test]
    fn pc_50_an_end_on_the_page_before_is_found() {
        let folder =
            record(&[vec![decided(1, "a", "allowed"), decided(2, "a", "allowed"), ended(1), ended(2)]]);
        let calls = pages(folder.path(), &Filter::default(), 1);
        assert!(calls.iter().all(|call| call.ended.is_some()), "{calls:?}");
    }

    #[test]
    fn pc_50_filters_select_and_nothing_else_is_shown() {
        let lines =
            (0..30).map(|number| decided(number, ["a", "b"][number % 2], ["allowed", "refused"][number % 2]));
        let folder = record(&[lines.collect()]);
        let of = |filter: Filter| pages(folder.path(), &filter, 4).len();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(of(Filter { agent: some("a"), ..Filter::default() }), 15);
        assert_eq!(of(Filter { agent: some("c"), ..Filter::default() }), 0);
        assert_eq!(of(Filter { outcome: some("refused"), ..Filter::default() }), 15);
        assert_eq!(of(Filter { outcome: some("observed"), ..Filter::default() }), 0);
        assert_eq!(of(Filter { tool: some("tool0"), ..Filter::default() }), 10);
        assert_eq!(of(Filter { server: some("ops"), ..Filter::default() }), 0);
        let since = Some(Timestamp::from_seconds(1010));
        let until = Some(Timestamp::from_seconds(1020));
        assert_eq!(of(Filter { since, until, ..Filter::default() }), 10);
        assert_eq!(of(Filter { reach: Some(BTreeSet::new()), ..Filter::default() }), 0, "no server, no call");
    }

    #[test]
    fn pc_50_a_torn_last_line_and_foreign_lines_are_skipped_and_counted() {
        let folder = record(&[vec![
            decided(1, "a", "allowed"),
            "{\"kind\":\"other\"}".to_owned(),
            "\u{0}".to_owned(),
        ]]);
        let torn = format!("{}\n{}", decided(2, "a", "allowed"), &decided(3, "a", "allowed")[..40]);
        fs::write(folder.path().join("0000000002.jsonl"), torn).unwrap();
        fs::write(folder.path().join("notes.txt"), "not a segment").unwrap();
        let found = search(&own(folder.path()), &Filter::default(), None, 10).unwrap();
        assert_eq!((found.calls.len(), found.torn, found.unreadable), (2, 1, 2));
        assert_eq!(
            search(&own(&folder.path().join("none")), &Filter::default(), None, 10).unwrap().calls,
            []
        );
    }

    #[test]
    fn pc_62_what_gateways_brought_stands_among_our_own_by_time() {
        let ours = record(&[vec![decided(1, "a", "allowed"), decided(4, "a", "allowed"), ended(1)]]);
        let far = record(&[vec![decided(2, "b", "allowed"), ended(2)], vec![decided(5, "b", "refused")]]);
        // It says that it is another's, and how our call ended.
        let mut lie: serde_json::Value = serde_json::from_str(&decided(3, "c", "allowed")).unwrap();
        lie["gateway"] = "far".into();
        let near = record(&[vec![lie.to_string(), ended(4)]]);
        let source = |name: Option<&str>, folder: &tempfile::TempDir| Source {
            gateway: name.map(str::to_owned),
            folder: folder.path().to_owned(),
        };
        let sources =
            Sources::new(vec![source(None, &ours), source(Some("far"), &far), source(Some("near"), &near)]);
        let all = search(&sources, &Filter::default(), None, 10).unwrap();
        let told = |calls: &[Call]| -> Vec<(String, Option<String>, bool)> {
            calls.iter().map(|it| (it.call.clone(), it.gateway.clone(), it.ended.is_some())).collect()
        };
        let is =
            |call: &str, gateway: Option<&str>, ended| (call.to_owned(), gateway.map(str::to_owned), ended);
        let wanted = [
            is("c-5", Some("far"), false),
            is("c-4", None, false),
            is("c-3", Some("near"), false),
            is("c-2", Some("far"), true),
            is("c-1", None, true),
        ];
        assert_eq!(told(&all.calls), wanted);
        assert_eq!(all.next, None);
        for limit in 1..6 {
            let (mut calls, mut before) = (Vec::new(), None::<Cursor>);
            loop {
                let page = search(&sources, &Filter::default(), before.as_ref(), limit).unwrap();
                calls.extend(page.calls);
                let Some(next) = page.next else { break };
                before = Some(next.to_string().parse().unwrap());
            }
            assert_eq!(told(&calls), wanted, "pages of {limit}");
        }
        let far = Filter { gateway: Some("far".to_owned()), ..Filter::default() };
        assert_eq!(search(&sources, &far, None, 10).unwrap().calls.len(), 2);
    }

    proptest! {
        #[test]
        fn pc_50_whatever_the_lengths_every_line_is_read_once(
            lengths in proptest::collection::vec(0usize..90_000, 1..12), limit in 1usize..5,
        ) {
            let lines = lengths.iter().enumerate().map(|(number, length)| {
                let mut line: serde_json::Value = serde_json::from_str(&decided(number, "a", "allowed")).unwrap();
                line["reason"] = "x".repeat(*length).into();
                line.to_string()
            });
            let folder = record(&[lines.collect()]);
            let calls = pages(folder.path(), &Filter::default(), limit);
            let names: Vec<String> = calls.into_iter().map(|call| call.call).collect();
            let wanted: Vec<String> = (0..lengths.len()).rev().map(|number| format!("c-{number}")).collect();
            prop_assert_eq!(names, wanted);
        }
    }
}

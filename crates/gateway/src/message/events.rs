//! Server-sent events, whole ones: what is passed on, filtered or ended is never half an event (STRM-07).

use crate::bounds::room::{Held, NoRoom, Share, keeping};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{BoxStream, StreamExt as _};
use memchr::{memchr2, memchr2_iter};
use std::borrow::Cow;

/// The upstream broke off, or sent an event without end or without room for it.
#[derive(Debug)]
pub(crate) struct BrokenOff;

/// Cuts bytes into events; each keeps its blank line.
pub(crate) struct Splitter {
    buffer: BytesMut,
    /// Everything before is known to hold no end of line.
    searched: usize,
    line_start: usize,
    limit: usize,
    held: Held,
}

impl Splitter {
    /// Events longer than `limit` are refused.
    pub(crate) fn new(limit: usize, share: &Share) -> Self {
        Self { buffer: BytesMut::new(), searched: 0, line_start: 0, limit, held: share.nothing() }
    }

    /// Takes more bytes.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Result<(), BrokenOff> {
        if self.buffer.len().saturating_add(chunk.len()) > self.limit.saturating_add(64 * 1024) {
            return Err(BrokenOff);
        }
        self.held.cover(self.buffer.len() + chunk.len()).map_err(|NoRoom| BrokenOff)?;
        self.buffer.extend_from_slice(chunk);
        Ok(())
    }

    /// The next whole event.
    pub(crate) fn next_event(&mut self) -> Option<Bytes> {
        loop {
            let Some(offset) = memchr2(b'\r', b'\n', &self.buffer[self.searched..]) else {
                self.searched = self.buffer.len();
                return None;
            };
            let line_end = self.searched + offset;
            let Some(next_line) = self.after_line_end(line_end) else {
                // A CR at the end may be half a CRLF.
                self.searched = line_end;
                return None;
            };
            let is_blank = line_end == self.line_start;
            self.searched = next_line;
            self.line_start = next_line;
            if is_blank {
                self.searched = 0;
                self.line_start = 0;
                let event = self.buffer.split_to(next_line).freeze();
                let rest = self.held.nothing();
                return Some(std::mem::replace(&mut self.held, rest).with(event));
            }
        }
    }

    fn after_line_end(&self, at: usize) -> Option<usize> {
        if self.buffer[at] == b'\n' {
            return Some(at + 1);
        }
        match self.buffer.get(at + 1) {
            Some(b'\n') => Some(at + 2),
            Some(_) => Some(at + 1),
            None => None,
        }
    }
}

/// The events of a body.
pub(crate) fn events<E: Send + 'static>(
    chunks: BoxStream<'static, Result<Bytes, E>>,
    limit: usize,
    share: &Share,
) -> BoxStream<'static, Result<Bytes, BrokenOff>> {
    let state = (chunks, Splitter::new(limit, share), false);
    futures_util::stream::unfold(state, |(mut chunks, mut splitter, over)| async move {
        if over {
            return None;
        }
        loop {
            if let Some(event) = splitter.next_event() {
                return Some((Ok(event), (chunks, splitter, false)));
            }
            // What is left without a blank line when the body ends is no event (WHATWG HTML s9.2.6).
            let taken = match chunks.next().await? {
                Ok(chunk) => splitter.push(&chunk),
                Err(_) => Err(BrokenOff),
            };
            if taken.is_err() {
                return Some((Err(BrokenOff), (chunks, splitter, true)));
            }
        }
    })
    .boxed()
}

/// What an event says, as clients read it (WHATWG HTML s9.2.6).
pub(crate) struct Said<'e> {
    /// Its `data` lines, joined.
    pub(crate) data: Cow<'e, [u8]>,
    /// Whether it is of the kind that carries messages.
    pub(crate) is_message: bool,
    /// Whether a client that was cut off can go on from it.
    pub(crate) has_id: bool,
}

/// Reads an event.
pub(crate) fn read(event: &[u8]) -> Said<'_> {
    let mut data: Option<Cow<'_, [u8]>> = None;
    let mut kind: &[u8] = b"";
    let mut has_id = false;
    for line in lines(event) {
        if let Some(value) = field(line, b"data") {
            match &mut data {
                None => data = Some(Cow::Borrowed(value)),
                Some(data) => {
                    let data = data.to_mut();
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
            }
        } else if let Some(value) = field(line, b"event") {
            kind = value;
        } else if let Some(value) = field(line, b"id") {
            has_id = !value.is_empty();
        }
    }
    Said { data: data.unwrap_or_default(), is_message: matches!(kind, b"" | b"message"), has_id }
}

/// Its data, with the room that the event has; a part of the event itself where it stands on one line.
pub(crate) fn data(event: &Bytes) -> Bytes {
    match read(event).data {
        Cow::Borrowed(part) if !part.is_empty() => event.slice_ref(part),
        Cow::Borrowed(_) => Bytes::new(),
        Cow::Owned(joined) => keeping(event.clone(), joined.into()),
    }
}

/// The same event with other data; `id`, `event` and `retry` stay, and nothing else does: what is no field here may be one to
/// whoever reads it elsewhere, as behind a byte order mark. `json` must be one JSON text.
pub(crate) fn with_data(event: &[u8], json: &[u8]) -> Bytes {
    let mut written = Vec::with_capacity(event.len());
    for line in lines(event) {
        if [&b"id"[..], b"event", b"retry"].iter().any(|name| field(line, name).is_some()) {
            written.extend_from_slice(line);
            written.push(b'\n');
        }
    }
    append_data(&mut written, json);
    Bytes::from(written)
}

/// A message as an event of its own.
pub(crate) fn message(json: &[u8]) -> Bytes {
    let mut written = b"event: message\n".to_vec();
    append_data(&mut written, json);
    Bytes::from(written)
}

/// One `data` line: within JSON, line ends stand only between tokens, where a space means the same.
fn append_data(written: &mut Vec<u8>, json: &[u8]) {
    written.extend_from_slice(b"data: ");
    written.extend(json.iter().map(|byte| match byte {
        b'\r' | b'\n' => b' ',
        other => *other,
    }));
    written.extend_from_slice(b"\n\n");
}

fn lines(event: &[u8]) -> impl Iterator<Item = &[u8]> {
    let event = event.strip_prefix("\u{feff}".as_bytes()).unwrap_or(event);
    let ends = memchr2_iter(b'\r', b'\n', event).chain([event.len()]);
    ends.scan(0, |begin, end| event.get(std::mem::replace(begin, end + 1)..end))
}

fn field<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let rest = line.strip_prefix(name)?;
    if rest.is_empty() {
        return Some(rest);
    }
    let value = rest.strip_prefix(b":")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::room::Room;
    use portcullis_domain::principal::Subject;

    fn share() -> Share {
        Room::new(1 << 20, 1 << 20).of(&Subject::Agent("cli_1".parse().unwrap()))
    }

    fn split(text: &str, chunk: usize) -> Vec<String> {
        let mut splitter = Splitter::new(1000, &share());
        let mut found = Vec::new();
        for part in text.as_bytes().chunks(chunk) {
            splitter.push(part).unwrap();
            while let Some(event) = splitter.next_event() {
                found.push(String::from_utf8(event.to_vec()).unwrap());
            }
        }
        found
    }

    #[test]
    fn strm_07_events_are_whole_however_the_bytes_arrive() {
        let text = "data: a\n\nid: 1\r\ndata: b\r\n\r\n: ping\n\ndata: half";
        for chunk in [1, 2, 3, 7, 1000] {
            assert_eq!(
                split(text, chunk),
                ["data: a\n\n", "id: 1\r\ndata: b\r\n\r\n", ": ping\n\n"],
                "{chunk}"
            );
        }
    }

    #[test]
    fn strm_07_data_is_read_as_clients_read_it_and_written_on_one_line() {
        let said = read(b"data: {\ndata:  \"a\":1}\nid: 5\n\n");
        assert_eq!((&*said.data, said.is_message, said.has_id), (&b"{\n \"a\":1}"[..], true, true));
        let said = read(b"id\nevent: ping\ndata\n\n");
        assert_eq!((&*said.data, said.is_message, said.has_id), (&b""[..], false, false));
        let event = with_data(b"id: 5\r\ndata: x\r\nevent: message\r\n\r\n", b"{\n\"a\":\r1}");
        assert_eq!(&event[..], b"id: 5\nevent: message\ndata: { \"a\": 1}\n\n");
    }

    #[test]
    fn ups_03_an_event_without_end_is_refused() {
        let mut splitter = Splitter::new(10, &share());
        let long = vec![b'x'; 60 * 1024];
        splitter.push(&long).unwrap();
        assert!(splitter.push(&long).is_err());
    }
}

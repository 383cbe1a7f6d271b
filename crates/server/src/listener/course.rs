//! Where on a connection each request begins: follows its bytes from message to message, so that every head is checked as it
//! was sent, also one that came with the message before it.
//!
//! It cuts as hyper does (RFC 9112 s6, s7.1). After anything that it would cut otherwise nothing is known any more, and every
//! request is refused.

use super::head::{self, Fault, Framing};
use memchr::memchr;
use std::collections::VecDeque;

/// Larger heads are refused by the parser before anybody looks here.
const KEPT: usize = 40 * 1024;

/// Room for nearly every head is kept from one request to the next.
const USUAL: usize = 2048;

/// More heads than the parser's buffer holds.
const AHEAD: usize = 4096;

/// The bytes of a connection so far.
#[derive(Default)]
pub(super) struct Course {
    at: At,
    /// What came of the head that has not ended.
    head: Vec<u8>,
    /// Of heads that nobody has asked about.
    checked: VecDeque<Result<Framing, Fault>>,
}

#[derive(Clone, Copy, Default)]
enum At {
    #[default]
    Head,
    /// So much of a body is to come.
    Body(u64),
    Chunked(Chunked),
    Lost,
}

/// Within a chunked body (RFC 9112 s7.1).
#[derive(Clone, Copy)]
enum Chunked {
    /// Before the first digit.
    Begin,
    Size(u64),
    /// After the size: nothing of it matters up to the end of the line.
    Extension(u64),
    SizeEnd(u64),
    Data(u64),
    DataEnd,
    DataEnded,
    /// At the beginning of a trailer's line, or of the last one.
    Line,
    Trailer,
    TrailerEnd,
    LastEnd,
}

/// What one byte leads to.
enum Next {
    Stay(Chunked),
    End,
    Lost,
}

impl Course {
    /// What came next.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = match self.at {
                At::Head => self.take_head(bytes),
                At::Body(left) => {
                    let taken = at_most(left, bytes);
                    self.at = body(left - taken as u64);
                    taken
                }
                At::Chunked(chunked) => self.take_chunked(chunked, bytes),
                At::Lost => return,
            };
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }

    /// What comes from now on is no HTTP: nothing of it is kept.
    pub(super) fn leave(&mut self) {
        *self = Self { at: At::Lost, ..Self::default() };
    }

    /// How the next head fared that nobody has asked about; `None`: nothing is known of it.
    pub(super) fn next(&mut self) -> Option<Result<Framing, Fault>> {
        self.checked.pop_front()
    }

    /// Takes in a head, if all of it is there, or a line at most; how many bytes.
    fn take_head(&mut self, bytes: &[u8]) -> usize {
        // RFC 9112 s2.2: empty lines before it are left out.
        let blank = |byte: &u8| matches!(byte, b'\r' | b'\n');
        if self.head.is_empty() && bytes.first().is_some_and(blank) {
            return 1;
        }
        // As nearly all of them come.
        if self.head.is_empty()
            && self.checked.len() < AHEAD
            && let Some(end) = head::end(bytes).filter(|end| *end <= KEPT)
        {
            self.judge(head::check(&bytes[..end]));
            return end;
        }
        let (line, _) = bytes.split_at(memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1));
        if self.head.len() + line.len() > KEPT || self.checked.len() >= AHEAD {
            self.forget();
            self.at = At::Lost;
            return line.len();
        }
        self.head.extend_from_slice(line);
        if head::is_complete(&self.head) {
            let checked = head::check(&self.head);
            self.forget();
            self.judge(checked);
        }
        line.len()
    }

    /// A head is complete.
    fn judge(&mut self, checked: Result<Framing, Fault>) {
        self.at = match checked {
            Ok(Framing::Length(length)) => body(length),
            Ok(Framing::Chunked) => At::Chunked(Chunked::Begin),
            // The connection ends with this request.
            Err(_) => At::Lost,
        };
        self.checked.push_back(checked);
    }

    fn take_chunked(&mut self, chunked: Chunked, bytes: &[u8]) -> usize {
        if let Chunked::Data(left) = chunked {
            let taken = at_most(left, bytes);
            let left = left - taken as u64;
            self.at = At::Chunked(if left == 0 { Chunked::DataEnd } else { Chunked::Data(left) });
            return taken;
        }
        let Some(byte) = bytes.first() else { return 0 };
        self.at = match chunked.after(*byte) {
            Next::Stay(chunked) => At::Chunked(chunked),
            Next::End => At::Head,
            Next::Lost => At::Lost,
        };
        1
    }

    fn forget(&mut self) {
        self.head.clear();
        self.head.shrink_to(USUAL);
    }
}

impl Chunked {
    fn after(self, byte: u8) -> Next {
        Next::Stay(match (self, byte) {
            (Self::Size(size) | Self::Extension(size), b'\r') => Self::SizeEnd(size),
            (Self::Size(size), b' ' | b'\t' | b';') => Self::Extension(size),
            (Self::Begin, _) => return grown(0, byte),
            (Self::Size(size), _) => return grown(size, byte),
            (Self::Extension(_) | Self::Trailer, b'\n') => return Next::Lost,
            (Self::Extension(size), _) => Self::Extension(size),
            (Self::SizeEnd(0) | Self::TrailerEnd, b'\n') => Self::Line,
            (Self::SizeEnd(size), b'\n') => Self::Data(size),
            (Self::DataEnd, b'\r') => Self::DataEnded,
            (Self::DataEnded, b'\n') => Self::Begin,
            (Self::Line, b'\r') => Self::LastEnd,
            (Self::Trailer, b'\r') => Self::TrailerEnd,
            (Self::Line | Self::Trailer, _) => Self::Trailer,
            (Self::LastEnd, b'\n') => return Next::End,
            (
                Self::SizeEnd(_)
                | Self::Data(_)
                | Self::DataEnd
                | Self::DataEnded
                | Self::TrailerEnd
                | Self::LastEnd,
                _,
            ) => return Next::Lost,
        })
    }
}

/// One more digit of a size.
fn grown(size: u64, byte: u8) -> Next {
    let digit = char::from(byte).to_digit(16);
    let grown = digit.and_then(|digit| size.checked_mul(16)?.checked_add(u64::from(digit)));
    grown.map_or(Next::Lost, |size| Next::Stay(Chunked::Size(size)))
}

fn body(left: u64) -> At {
    if left == 0 { At::Head } else { At::Body(left) }
}

fn at_most(left: u64, bytes: &[u8]) -> usize {
    usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const BOTH: &str =
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n";

    fn post(lines: &str, body: &str) -> String {
        format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n{body}")
    }

    /// What became of the heads, in pieces of this size.
    fn followed(text: &str, size: usize) -> Vec<Result<Framing, Fault>> {
        let mut course = Course::default();
        text.as_bytes().chunks(size).for_each(|piece| course.follow(piece));
        std::iter::from_fn(|| course.next()).collect()
    }

    #[test]
    fn http_04_each_head_is_checked_wherever_it_begins_and_no_body_is_taken_for_one() {
        let chunked = "Transfer-Encoding: gzip, Chunked";
        let (length, none) = (Ok(Framing::Length(GET.len() as u64)), Ok(Framing::Length(0)));
        let bad = Err(Fault::LengthAndEncoding);
        let size = GET.len();
        for (text, outcomes) in [
            (GET.repeat(3), vec![none, none, none]),
            (format!("\r\n\n{GET}\r\n{BOTH}{GET}"), vec![none, bad]),
            (post(&format!("Content-Length: {size}"), GET) + BOTH, vec![length, bad]),
            (
                post(chunked, &format!("{size:x}\r\n{GET}\r\n0\r\n\r\n{BOTH}")),
                vec![Ok(Framing::Chunked), bad],
            ),
            (
                post(chunked, &format!("{size:X} ;a=\"{GET:?}\"\r\n{GET}\r\n00\r\nA: b\r\nC:\r\n\r\n{BOTH}")),
                vec![Ok(Framing::Chunked), bad],
            ),
        ] {
            for size in [1, 2, 7, 1000] {
                assert_eq!(followed(&text, size), outcomes, "{text:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn dos_05_after_an_upgrade_nothing_is_kept() {
        let mut course = Course::default();
        course.follow(GET.as_bytes());
        assert_eq!(course.next(), Some(Ok(Framing::Length(0))));
        course.follow(b"what is no head");
        course.leave();
        course.follow(&[b'x'; 100]);
        course.follow(GET.as_bytes());
        assert_eq!((course.next(), course.head.capacity(), course.checked.capacity()), (None, 0, 0));
    }

    #[test]
    fn http_04_after_what_is_not_understood_nothing_is_known() {
        let chunked = |body: &str| post("Transfer-Encoding: chunked", body);
        for body in ["x", "\r\n", "2\n", "2\r\r", "2;a\nb", "2\r\nokay", "0\r\n\rx", "0\r\nA: b\n\r\n"] {
            assert_eq!(followed(&(chunked(body) + GET), 1000), [Ok(Framing::Chunked)], "{body:?}");
        }
        let huge = chunked("fffffffffffffffff\r\n");
        assert_eq!(followed(&(huge + GET), 1000), [Ok(Framing::Chunked)]);
        let long = format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "a".repeat(KEPT));
        assert_eq!(followed(&(long + GET), 1000), []);
        assert_eq!(followed(&GET.repeat(2 * AHEAD), 1000).len(), AHEAD, "nobody asks");
    }
}

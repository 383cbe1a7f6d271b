//! What a request head may not contain, because two readers could cut the message differently (RFC 9112 s2.2, s5.2, s6.3).
//!
//! hyper takes `Transfer-Encoding` over `Content-Length` and closes (RFC 9112 s6.3 allows it) and takes bare line feeds; we
//! refuse both. It hides the first from the parsed headers, so this looks at the bytes as they came. It can only refuse.

use memchr::memchr_iter;

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("a line of the request head ends without a carriage return")]
    BareLineFeed,
    #[error("the request has both Content-Length and Transfer-Encoding")]
    LengthAndEncoding,
    #[error("the request repeats Content-Length, Transfer-Encoding or Host")]
    Repeated,
    #[error("the request must name exactly one Host")]
    NoHost,
    #[error("the request's framing could not be checked")]
    Unseen,
}

/// How a request's body is cut from what follows (RFC 9112 s6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes; none where nothing is said.
    Length(u64),
    Chunked,
}

/// Whether the head is complete, that is, ends with an empty line.
pub(super) fn is_complete(head: &[u8]) -> bool {
    head.ends_with(b"\n\r\n") || head.ends_with(b"\n\n")
}

/// Where a head ends that begins here; `None`: not here.
pub(super) fn end(bytes: &[u8]) -> Option<usize> {
    let mut lines = memchr_iter(b'\n', bytes).map(|at| at + 1);
    lines.find(|end| is_complete(&bytes[..*end]))
}

/// Checks the bytes of a head that a parser accepts.
pub(super) fn check(head: &[u8]) -> Result<Framing, Fault> {
    let mut framing = Framing::Length(0);
    let mut lengths = 0;
    let mut encodings = 0;
    let mut hosts = 0;
    let mut from = 0;
    for at in memchr_iter(b'\n', head) {
        let line = head[from..at].strip_suffix(b"\r").ok_or(Fault::BareLineFeed)?;
        from = at + 1;
        if let Some(value) = named(line, b"content-length") {
            lengths += 1;
            framing = length(value).ok_or(Fault::Unseen)?;
        } else if let Some(value) = named(line, b"transfer-encoding") {
            encodings += 1;
            framing = encoding(value).ok_or(Fault::Unseen)?;
        } else if named(line, b"host").is_some() {
            hosts += 1;
        }
    }
    match (lengths, encodings, hosts) {
        (1.., 1.., _) => Err(Fault::LengthAndEncoding),
        (2.., _, _) | (_, 2.., _) | (_, _, 2..) => Err(Fault::Repeated),
        (_, _, 0) => Err(Fault::NoHost),
        _ => Ok(framing),
    }
}

/// The value of a header line of this name; that of a line without a colon is empty.
fn named<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    if !start.eq_ignore_ascii_case(name) {
        return None;
    }
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(b":") }
}

fn length(value: &[u8]) -> Option<Framing> {
    let digits = str::from_utf8(value.trim_ascii()).ok()?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    Some(Framing::Length(digits.parse().ok().filter(|_| is_number)?))
}

/// RFC 9112 s6.1: whatever else it is, chunked last.
fn encoding(value: &[u8]) -> Option<Framing> {
    let last = value.rsplit(|byte| *byte == b',').next()?;
    last.trim_ascii().eq_ignore_ascii_case(b"chunked").then_some(Framing::Chunked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &str) -> Vec<u8> {
        format!("POST /mcp/a HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes()
    }

    #[test]
    fn http_04_05_ambiguous_framing_is_refused() {
        assert_eq!(check(&head("")), Ok(Framing::Length(0)));
        assert_eq!(check(&head("Content-Length: 5\r\n")), Ok(Framing::Length(5)));
        assert_eq!(check(&head("Transfer-Encoding: chunked\r\n")), Ok(Framing::Chunked));
        for (lines, fault) in [
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Fault::LengthAndEncoding),
            ("transfer-encoding: \tchunked\r\nCONTENT-LENGTH: 5\r\n", Fault::LengthAndEncoding),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", Fault::Repeated),
            ("Host: b\r\n", Fault::Repeated),
            ("Content-Length: +5\r\n", Fault::Unseen),
            ("Content-Length: 5, 5\r\n", Fault::Unseen),
            ("Content-Length:\r\n", Fault::Unseen),
            ("Transfer-Encoding: chunked, identity\r\n", Fault::Unseen),
            ("Content-Length\r\n", Fault::Unseen),
            ("Host\r\n", Fault::Repeated),
            ("X: a\nY: b\r\n", Fault::BareLineFeed),
        ] {
            assert_eq!(check(&head(lines)), Err(fault), "{lines:?}");
        }
        for other in [
            "Content-Length-X: 5",
            "X-Content-Length: 5",
            "Hosts: b",
            "Hos: b",
            "Transfer-Encodings: chunked",
        ] {
            assert_eq!(check(&head(&format!("{other}\r\n"))), Ok(Framing::Length(0)), "{other}");
        }
        assert_eq!(check(b"GET / HTTP/1.1\r\n\r\n"), Err(Fault::NoHost));
    }

    #[test]
    fn a_head_ends_with_an_empty_line() {
        assert!(is_complete(&head("")));
        assert!(is_complete(b"GET / HTTP/1.1\n\n"));
        assert!(!is_complete(b"GET / HTTP/1.1\r\nHost: a\r\n"));
    }
}

//! What a request head may not contain, because two readers could cut the message differently (RFC 9112 s2.2, s5.2, s6.3).
//!
//! hyper takes `Transfer-Encoding` over `Content-Length` and closes (RFC 9112 s6.3 allows it) and takes bare line feeds; we
//! refuse both. It hides the first from the parsed headers, so this looks at the bytes as they came. It can only refuse.

use memchr::{memchr, memchr_iter};

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

/// Whether the head is complete, that is, ends with an empty line.
pub(super) fn is_complete(head: &[u8]) -> bool {
    head.ends_with(b"\n\r\n") || head.ends_with(b"\n\n")
}

/// Checks the bytes of a head that a parser has accepted.
pub(super) fn check(head: &[u8]) -> Result<(), Fault> {
    let mut lengths = 0;
    let mut encodings = 0;
    let mut hosts = 0;
    let mut from = 0;
    for at in memchr_iter(b'\n', head) {
        let line = &head[from..at];
        from = at + 1;
        if !line.ends_with(b"\r") {
            return Err(Fault::BareLineFeed);
        }
        let name = &line[..memchr(b':', line).unwrap_or(line.len())];
        if name.eq_ignore_ascii_case(b"content-length") {
            lengths += 1;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            encodings += 1;
        } else if name.eq_ignore_ascii_case(b"host") {
            hosts += 1;
        }
    }
    match (lengths, encodings, hosts) {
        (1.., 1.., _) => Err(Fault::LengthAndEncoding),
        (2.., _, _) | (_, 2.., _) | (_, _, 2..) => Err(Fault::Repeated),
        (_, _, 0) => Err(Fault::NoHost),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &str) -> Vec<u8> {
        format!("POST /mcp/a HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes()
    }

    #[test]
    fn http_04_05_ambiguous_framing_is_refused() {
        assert_eq!(check(&head("")), Ok(()));
        assert_eq!(check(&head("Content-Length: 5\r\n")), Ok(()));
        assert_eq!(check(&head("Transfer-Encoding: chunked\r\n")), Ok(()));
        for (lines, fault) in [
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Fault::LengthAndEncoding),
            ("transfer-encoding: \tchunked\r\nCONTENT-LENGTH: 5\r\n", Fault::LengthAndEncoding),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", Fault::Repeated),
            ("Host: b\r\n", Fault::Repeated),
            ("X: a\nY: b\r\n", Fault::BareLineFeed),
        ] {
            assert_eq!(check(&head(lines)), Err(fault), "{lines:?}");
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

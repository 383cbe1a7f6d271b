//! The token in the `Authorization` header (RFC 6750 s2.1), and nowhere else: not the body, the query or a cookie.

/// Why the `Authorization` header names no token that could be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BearerRefusal {
    /// The scheme is right, what follows is not one `b64token`.
    #[error("not one bearer token")]
    Malformed,
    /// Another scheme, or none.
    #[error("another authentication scheme")]
    OtherScheme,
    /// More than one header: readers would choose differently.
    #[error("more than one Authorization header")]
    Several,
}

/// Reads all values of the `Authorization` header of one request. `Ok(None)`: no credentials were presented.
pub fn bearer_token<'a>(
    values: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Option<&'a str>, BearerRefusal> {
    let mut values = values.into_iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(BearerRefusal::Several);
    }
    let value = std::str::from_utf8(value).map_err(|_| BearerRefusal::Malformed)?;
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    // RFC 9110 s11.1: the scheme compares without case.
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(BearerRefusal::OtherScheme);
    }
    let token = rest.trim_matches(' ');
    if is_b64token(token) { Ok(Some(token)) } else { Err(BearerRefusal::Malformed) }
}

/// RFC 6750 s2.1: `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
fn is_b64token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    let legal =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    // All of them, without stopping at the first that is not: that is done many at a time.
    !body.is_empty() && body.bytes().fold(true, |all, byte| all & legal(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a>(values: &[&'a [u8]]) -> Result<Option<&'a str>, BearerRefusal> {
        bearer_token(values.iter().copied())
    }

    #[test]
    fn gw_00_one_token_in_any_case_of_the_scheme() {
        for scheme in ["Bearer", "bearer", "BEARER"] {
            let value = format!("{scheme} a.b-c_d~+/==");
            assert_eq!(read(&[value.as_bytes()]), Ok(Some("a.b-c_d~+/==")));
        }
        assert_eq!(read(&[]), Ok(None));
    }

    #[test]
    fn bear_02_03_anything_else_is_refused() {
        for malformed in [
            &b"Bearer"[..],
            b"Bearer ",
            b"Bearer  ",
            b"Bearer a b",
            b"Bearer a,b",
            b"Bearer \xc3\xbc",
            b"Bearer \xfc",
            b"Bearer a=b",
            b"Bearer =",
            b"Bearer a\tb",
            b"Bearer \"a\"",
        ] {
            assert_eq!(read(&[malformed]), Err(BearerRefusal::Malformed));
        }
        for other in [&b"Basic a"[..], b"Token a", b"a.b.c", b"", b"Bearer\ta"] {
            assert_eq!(read(&[other]), Err(BearerRefusal::OtherScheme));
        }
        assert_eq!(read(&[b"Bearer a", b"Bearer a"]), Err(BearerRefusal::Several));
    }
}

//! URIs of resources as those who serve them read them.
//!
//! The URI is forwarded as it came, and every server reads it its own way: one compares the text, one has it rewritten by a
//! library (`new URL` of TypeScript, `AnyUrl` of Python), one takes the path out of it, unescapes it and opens a file. So
//!
//! - what two of them would take for different things is not judged at all ([`Unclear`]);
//! - what all of them take for the same thing is brought into one spelling, in rules and in requests ([`spelled`]);
//! - where only some make no difference (letters in both cases, a query, a name before the host, a port, a slash at the end or
//!   escaped), a rule opens what it says to the letter, and counts for what they take for that ([`Patterns`]).

use super::pattern;
use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

#[cfg(test)]
mod tests;

/// Why a URI is not judged: what is wrong with it is said as whoever wrote it can mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    /// A backslash, control character, blank at an end, or another sign that some readers drop or take for something else.
    #[error(
        "this URI can be read in more than one way: write it without \\ and |, control characters, blanks at its ends, and signs that look like dots or slashes"
    )]
    Character,
    /// An escape that some readers undo and others do not.
    #[error(
        "this URI can be read in more than one way: escape nothing that can stand as it is (letters, digits, - . _ ~), no control characters, no backslash, no slash in a path of the web or of files, nothing twice, and in UTF-8"
    )]
    Escape,
    /// A host that readers rewrite, or an address without one.
    #[error(
        "this URI can be read in more than one way: write http and https as https://host/path, in lower case, in ASCII, without user and default port; file as file:///path; and any other host plainly, with nothing escaped that can stand as it is or that divides (/ ? # @ : [ ]), and with a port only if there is one"
    )]
    Host,
    /// No scheme, or one in upper case.
    #[error(
        "this URI can be read in more than one way: begin it with its scheme in lower case, as in file:///a or note://a"
    )]
    Scheme,
    /// A segment `.` or `..`, or an empty one.
    #[error(
        "this URI can be read in more than one way: write it without segments . and .. and without two slashes in its path"
    )]
    Segment,
}

/// What some reader may take one URI for.
#[derive(Debug)]
pub(super) struct Readings {
    exact: String,
    /// To readers that make no difference where others do.
    lax: Vec<String>,
}

impl Readings {
    pub(super) fn of(uri: &str) -> Result<Self, Unclear> {
        check(uri)?;
        let exact = spelled(uri, Star::Literal);
        let readings = |whole: String| {
            let bare = whole.split(['?', '#']).next().unwrap_or_default().to_owned();
            let plain = bare.trim_end_matches('/').to_owned();
            [whole, bare, plain]
        };
        let lax = with_and_without_port(lax(&exact)).flat_map(readings).collect();
        Ok(Self { exact, lax })
    }
}

/// Patterns of a rule for resources.
#[derive(Clone, Debug)]
pub(super) struct Patterns {
    exact: pattern::Patterns,
    lax: pattern::Patterns,
}

impl Patterns {
    /// `Err`: one that is no pattern.
    pub(super) fn new(patterns: &[String]) -> Result<Self, &str> {
        let exact: Vec<String> = patterns.iter().map(|text| spelled(text, Star::Wild)).collect();
        let with_and_without_slash = |text: String| {
            let plain = text.strip_suffix('/').map(|text| text.trim_end_matches('/').to_owned());
            [text].into_iter().chain(plain)
        };
        let lax: Vec<String> = exact
            .iter()
            .flat_map(|text| with_and_without_port(lax(text)))
            .flat_map(with_and_without_slash)
            .collect();
        match (pattern::Patterns::new(&exact), pattern::Patterns::new(&lax)) {
            (Ok(exact), Ok(lax)) => Ok(Self { exact, lax }),
            (Err(_), _) | (_, Err(_)) => Err(patterns.first().map_or("", String::as_str)),
        }
    }

    /// Whether it is this that they are about.
    pub(super) fn open(&self, uri: &Readings) -> bool {
        self.exact.is_match(&uri.exact)
    }

    /// Whether it is this to some reader: then what the rule needs is needed.
    pub(super) fn concern(&self, uri: &Readings) -> bool {
        self.open(uri) || uri.lax.iter().any(|text| self.lax.is_match(text))
    }
}

/// Whether some URI that is judged may match a pattern. Only what every match would have wrong is found, whatever the stars
/// stand for.
///
/// # Errors
/// What that is.
pub fn is_possible(pattern: &str) -> Result<(), Unclear> {
    let Some((start, rest)) = pattern.split_once('*') else { return check(pattern) };
    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    if pattern.contains(is_odd) || start.trim_start() != start || end.trim_end() != end {
        return Err(Unclear::Character);
    }
    let path = possible_path(start)?;
    check_segments(&plain_slashes(&format!("{path}x")))?;
    let has_dots = |part: String| has_dots(&plain_slashes(&part));
    if middle.split('*').any(|part| has_dots(format!("x{part}x"))) || has_dots(format!("x{end}")) {
        return Err(Unclear::Segment);
    }
    let special = start.split_once(':').and_then(|(scheme, _)| Special::of(scheme));
    let known = if path.contains('?') { Part::Query } else { Part::path(special) };
    let is_wrong =
        has_wrong_escape(path, known) || rest.split('*').any(|part| has_wrong_escape(part, Part::Query));
    if is_wrong { Err(Unclear::Escape) } else { Ok(()) }
}

/// As much of the path as is known, where something is to follow.
fn possible_path(start: &str) -> Result<&str, Unclear> {
    let Some((scheme, rest)) = start.split_once(':') else {
        return if start.is_empty() || is_scheme(start) { Ok("") } else { Err(Unclear::Scheme) };
    };
    if !is_scheme(scheme) {
        return Err(Unclear::Scheme);
    }
    let special = Special::of(scheme);
    let (is_right, path) = match (special, rest.strip_prefix("//")) {
        (None, None) => (true, rest),
        (Some(_), None) => ("/".starts_with(rest), ""),
        (_, Some(rest)) => {
            if let Some(at) = rest.find(['/', '?', '#']) {
                let (authority, path) = rest.split_at(at);
                (is_plain_authority(special, authority, path), path)
            } else {
                let may_be = rest.bytes().all(|byte| may_be_in_authority(special, byte));
                (may_be && !has_wrong_escape(rest, Part::Host), "")
            }
        }
    };
    if is_right { Ok(path) } else { Err(Unclear::Host) }
}

fn may_be_in_authority(special: Option<Special>, byte: u8) -> bool {
    match special {
        Some(Special::File) => false,
        Some(Special::Web(_)) => is_in_web_host(byte) || b".:[]".contains(&byte),
        None => is_in_own_host(byte) || b"@:[]".contains(&byte),
    }
}

/// An escape that is wrong in that part, whatever follows.
fn has_wrong_escape(text: &str, part: Part) -> bool {
    let after = |at: usize| text.as_bytes().get(at + 1..).unwrap_or_default();
    text.match_indices('%').any(|(at, _)| match escaped(after(at)) {
        Some((byte, _)) => !may_be_escaped(byte, part),
        // Of one that is cut off by a star nothing is known.
        None => after(at).len() > 1,
    })
}

/// Whether every reader takes the URI for the same thing, but for what [`Readings`] holds.
fn check(uri: &str) -> Result<(), Unclear> {
    if uri.trim() != uri || uri.contains(is_odd) {
        return Err(Unclear::Character);
    }
    let (scheme, rest) =
        uri.split_once(':').filter(|(scheme, _)| is_scheme(scheme)).ok_or(Unclear::Scheme)?;
    let special = Special::of(scheme);
    let path = match rest.strip_prefix("//") {
        Some(rest) => {
            let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
            if !is_plain_authority(special, authority, path) {
                return Err(Unclear::Host);
            }
            path
        }
        // Readers put the slashes there.
        None if special.is_some() => return Err(Unclear::Host),
        None => rest,
    };
    check_escapes(path, Part::path(special))?;
    // Whoever undoes an escaped slash gets segments from it, too.
    check_segments(&plain_slashes(path))
}

/// WHATWG URL s4.4: tabs and line breaks are dropped, a backslash is a slash, and | is the colon of a drive.
fn is_odd(c: char) -> bool {
    c.is_control() || c == '\\' || c == '|'
}

fn is_scheme(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(is_part)
}

/// Schemes of which the WHATWG URL standard (s3.1) knows more than RFC 3986 does.
#[derive(Clone, Copy)]
enum Special {
    File,
    /// With the port that is not written.
    Web(&'static str),
}

impl Special {
    fn of(scheme: &str) -> Option<Self> {
        match scheme {
            "file" => Some(Self::File),
            "ftp" => Some(Self::Web("21")),
            "http" | "ws" => Some(Self::Web("80")),
            "https" | "wss" => Some(Self::Web("443")),
            _ => None,
        }
    }
}

/// Whether no reader rewrites it or takes another host out of it.
fn is_plain_authority(special: Option<Special>, authority: &str, path: &str) -> bool {
    match special {
        // To most readers of files a host there is nothing, and to some a part of the path.
        Some(Special::File) => authority.is_empty() && path.starts_with('/'),
        Some(Special::Web(default)) => {
            let parts = host_and_port(authority);
            let is_plain = |(host, port): (&str, Option<&str>)| is_web_host(host) && port != Some(default);
            path.starts_with('/') && parts.is_some_and(is_plain)
        }
        None => {
            let (user, address) = match authority.rsplit_once('@') {
                Some((user, address)) => (Some(user), address),
                None => (None, authority),
            };
            let is_plain = |(host, _): (&str, Option<&str>)| is_own_host(host);
            authority.is_empty()
                || user.is_none_or(is_plain_user) && host_and_port(address).is_some_and(is_plain)
        }
    }
}

fn host_and_port(authority: &str) -> Option<(&str, Option<&str>)> {
    let end = if authority.starts_with('[') {
        authority.find(']')? + 1
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, rest) = authority.split_at(end);
    if rest.is_empty() {
        return Some((host, None));
    }
    let port = rest.strip_prefix(':')?;
    let is_plain = port.parse::<u16>().is_ok_and(|number| number.to_string() == port);
    (is_plain || is_variable(port)).then_some((host, Some(port)))
}

/// Of a template: `{port}`.
fn is_variable(text: &str) -> bool {
    let name = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_default();
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Braces are those of templates.
fn is_in_web_host(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_{}".contains(&byte)
}

fn is_in_own_host(byte: u8) -> bool {
    is_unreserved(byte) || b"!$%&'()*+,;={}".contains(&byte)
}

fn is_web_host(host: &str) -> bool {
    if host.starts_with('[') {
        return is_plain_v6(host);
    }
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(is_in_web_host);
    let last = host.rsplit('.').next().unwrap_or_default();
    // WHATWG URL s3.5: what ends in a number is an address of four, however it is written.
    let hex = last.strip_prefix("0x");
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || hex.is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    host.split('.').all(is_label)
        && (!is_number || host.parse::<Ipv4Addr>().is_ok_and(|address| address.to_string() == host))
}

/// A host whose meaning is its server's own: `greeting://{name}` of the quickstarts, for which the SDKs put what a person
/// wrote, escaped. The WHATWG URL standard (s3.5, opaque hosts) leaves it as it is, and who lowers its letters is seen to by
/// [`lax`].
fn is_own_host(host: &str) -> bool {
    if host.starts_with('[') {
        return is_plain_v6(host);
    }
    !host.is_empty()
        && !has_dots(host)
        && host.bytes().all(is_in_own_host)
        && check_escapes(host, Part::Host).is_ok()
}

/// The two standards shorten addresses alike, but for those that hold one of four numbers.
fn is_plain_v6(host: &str) -> bool {
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    inside.is_some_and(|inside| {
        !inside.contains('.') && inside.parse::<Ipv6Addr>().is_ok_and(|address| address.to_string() == inside)
    })
}

fn is_plain_user(user: &str) -> bool {
    let is_part = |byte: u8| is_unreserved(byte) || b"!$&()*+,{}".contains(&byte);
    user.splitn(2, ':').all(|part| !part.is_empty() && !has_dots(part) && part.bytes().all(is_part))
}

/// Segments that readers resolve or drop.
fn check_segments(text: &str) -> Result<(), Unclear> {
    let path = text.split(['?', '#']).next().unwrap_or_default();
    if has_dots(text) || path.contains("//") { Err(Unclear::Segment) } else { Ok(()) }
}

/// Also where a parameter is a path.
fn has_dots(text: &str) -> bool {
    text.split(['/', '?', '#', '&', '=', ';']).any(|part| matches!(part, "." | ".."))
}

/// Where an escape stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Of a scheme of one's own: others have no escapes there.
    Host,
    OwnPath,
    SpecialPath,
    Query,
}

impl Part {
    fn path(special: Option<Special>) -> Self {
        match special {
            Some(Special::File | Special::Web(_)) => Self::SpecialPath,
            None => Self::OwnPath,
        }
    }
}

/// RFC 3986 s2: what means the same escaped and plain is plain.
fn check_escapes(text: &str, mut part: Part) -> Result<(), Unclear> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'?' {
            part = Part::Query;
        }
        if *byte != b'%' {
            plain.push(*byte);
            continue;
        }
        let Some((escaped, after)) = escaped(after) else { return Err(Unclear::Escape) };
        if !may_be_escaped(escaped, part) {
            return Err(Unclear::Escape);
        }
        plain.push(escaped);
        rest = after;
    }
    let plain = String::from_utf8(plain).map_err(|_| Unclear::Escape)?;
    let is_twice = |at: usize| escaped(plain.as_bytes().get(at + 1..).unwrap_or_default()).is_some();
    if plain.match_indices('%').any(|(at, _)| is_twice(at)) {
        return Err(Unclear::Escape);
    }
    if plain.chars().any(is_lookalike) { Err(Unclear::Character) } else { Ok(()) }
}

/// To a reader of files an escaped slash is one, to others not. Servers with schemes of their own cannot do without it: the
/// SDKs escape what they put for `{page}`, and match no slash with it. There it is another thing than a slash, and [`lax`]
/// takes it for one.
fn may_be_escaped(byte: u8, part: Part) -> bool {
    let divides = match part {
        Part::Host => b"/?#@:[]".contains(&byte),
        Part::SpecialPath => byte == b'/',
        Part::OwnPath | Part::Query => false,
    };
    !is_unreserved(byte) && !byte.is_ascii_control() && byte != b'\\' && !divides
}

/// The byte that two hexadecimal digits at the start stand for, and what follows.
fn escaped(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, rest) = text.split_at_checked(2)?;
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    Some((16 * value(digits[0])? + value(digits[1])?, rest))
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Beyond ASCII: controls, and what Unicode (NFKC) or Windows folds into dots, slashes and percent signs, or (as a/c) into
/// something with a slash in it.
fn is_lookalike(c: char) -> bool {
    let folds = matches!(
        c,
        '\u{2024}'
            | '\u{2025}'
            | '\u{2044}'
            | '\u{2100}'
            | '\u{2101}'
            | '\u{2105}'
            | '\u{2106}'
            | '\u{2215}'
            | '\u{fe30}'
            | '\u{fe52}'
            | '\u{fe68}'
            | '\u{fe6a}'
            | '\u{ff05}'
            | '\u{ff0e}'
            | '\u{ff0f}'
            | '\u{ff3c}'
    );
    folds || (!c.is_ascii() && c.is_control())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Star {
    Literal,
    /// Any run of characters.
    Wild,
}

/// The one spelling in which a URI, or a pattern of URIs, is compared. In a path an escape means its character, and in a query
/// too but for what divides it (`%26` is no `&`). A slash is another thing escaped, wherever it stands; what a URI cannot hold is
/// escaped, as the libraries do.
fn spelled(text: &str, star: Star) -> String {
    let mut all = String::with_capacity(text.len());
    let mut in_query = false;
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        in_query |= *byte == b'?';
        if let Some((escaped, after)) = escaped(after).filter(|_| *byte == b'%') {
            rest = after;
            let divides = in_query && b"&=+;".contains(&escaped);
            let means_itself = b"!$&'()+,;=:@[]".contains(&escaped) || in_query && escaped == b'?';
            push(&mut all, escaped, means_itself && !divides);
        } else {
            let is_literal = *byte != b'*' || star == Star::Wild;
            let is_plain = byte.is_ascii_graphic() && !b"\"<>^`{}|".contains(byte) && is_literal;
            push(&mut all, *byte, is_plain);
        }
    }
    all
}

fn push(all: &mut String, byte: u8, is_plain: bool) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if is_plain {
        all.push(char::from(byte));
        return;
    }
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    all.extend(['%', digit(byte >> 4), digit(byte & 15)]);
}

/// Without what some readers make no difference by: a name before the host, which case letters are in, and whether a slash is
/// escaped.
fn lax(spelled: &str) -> String {
    plain_slashes(&without_user(spelled).to_ascii_lowercase())
}

fn plain_slashes(text: &str) -> String {
    text.replace("%2F", "/").replace("%2f", "/")
}

fn without_user(text: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = text.split_once("://") else { return text.into() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rfind('@') {
        Some(at) => format!("{scheme}://{}", rest.get(at + 1..).unwrap_or_default()).into(),
        None => text.into(),
    }
}

/// `new URL(uri).hostname` of TypeScript, `urlsplit(uri).hostname` of Python: some servers look at no more of the address.
fn with_and_without_port(lax: String) -> impl Iterator<Item = String> {
    let without = without_port(&lax);
    [lax].into_iter().chain(without)
}

/// `None`: there is no port. A star that stands in it may be more than the port, and stays.
fn without_port(lax: &str) -> Option<String> {
    let (scheme, rest) = lax.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (before, after) = authority.split_at(authority.find(']').unwrap_or(0));
    let (host, port) = after.split_once(':')?;
    let port =
        if port.starts_with("%7b") { "" } else { port.trim_start_matches(|c: char| c.is_ascii_digit()) };
    // Two stars in a row would be another sign.
    let host = if port.starts_with('*') { host.trim_end_matches('*') } else { host };
    (port.is_empty() || port.starts_with('*')).then(|| format!("{scheme}://{before}{host}{port}{path}"))
}

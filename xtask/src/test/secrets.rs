//! PC-43: finds secrets in what was written down. Tells where and of what kind, never the value.

use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Shorter runs behind a prefix of ours are redacted forms or words.
const SECRET_LENGTH: usize = 20;
/// `Basic` with less than this is a word, or a user without a secret.
const BASIC_LENGTH: usize = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An `Authorization: Basic` value: client id and secret.
    Basic,
    Jwt,
    /// `pc` + this letter + `_`: how every secret that we make begins.
    Ours(char),
    PrivateKey,
}

pub(crate) struct Hit {
    file: PathBuf,
    line: usize,
    kind: Kind,
}

/// Every hit in all files below a folder.
pub(crate) fn scan(folder: &Path) -> Result<Vec<Hit>> {
    let mut hits = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            hits.extend(scan(&entry.path())?);
        } else if kind.is_file() {
            hits.extend(scan_file(&entry.path())?);
        }
    }
    Ok(hits)
}

pub(crate) fn scan_file(path: &Path) -> Result<Vec<Hit>> {
    let mut reader =
        BufReader::new(File::open(path).with_context(|| format!("cannot read {}", path.display()))?);
    let mut hits = Vec::new();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        hits.extend(kinds(&line).map(|kind| Hit { file: path.to_owned(), line: number, kind }));
    }
    Ok(hits)
}

fn kinds(line: &[u8]) -> impl Iterator<Item = Kind> {
    (0..line.len()).filter_map(|start| line.get(start..)).filter_map(kind_at)
}

/// What begins exactly here.
fn kind_at(text: &[u8]) -> Option<Kind> {
    match text {
        [b'p', b'c', letter @ b'a'..=b'z', b'_', rest @ ..] => {
            let value = rest.get(..run(rest, is_base64url)).unwrap_or_default();
            (value.len() >= SECRET_LENGTH && looks_random(value)).then_some(Kind::Ours(char::from(*letter)))
        }
        [b'e', b'y', b'J', ..] => is_jwt(text).then_some(Kind::Jwt),
        [b'B' | b'b', rest @ ..] if rest.starts_with(b"asic ") => {
            let value = rest.get(5..).unwrap_or_default();
            let value = value.get(..run(value, is_base64)).unwrap_or_default();
            (value.len() >= BASIC_LENGTH && looks_random(value)).then_some(Kind::Basic)
        }
        [b'-', ..] if text.starts_with(b"-----BEGIN ") => {
            let label = text.get(11..).unwrap_or_default();
            let label = label.get(..run(label, |byte| byte != b'-')).unwrap_or_default();
            label.ends_with(b"PRIVATE KEY").then_some(Kind::PrivateKey)
        }
        _ => None,
    }
}

/// Three parts of base64url; the first two are JSON objects. Without its signature it is no secret.
fn is_jwt(text: &[u8]) -> bool {
    let mut parts = text.splitn(3, |byte| *byte == b'.');
    let (Some(header), Some(claims), Some(signature)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let whole =
        |part: &[u8]| part.starts_with(b"eyJ") && part.len() >= 13 && run(part, is_base64url) == part.len();
    whole(header) && whole(claims) && run(signature, is_base64url) >= SECRET_LENGTH
}

fn run(text: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    text.iter().position(|byte| !belongs(*byte)).unwrap_or(text.len())
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

/// Words in snake case have no capitals and no digits; a random value of that length always has.
fn looks_random(value: &[u8]) -> bool {
    value.iter().any(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

impl fmt::Display for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file.display(), self.line)?;
        match self.kind {
            Kind::Basic => write!(f, "Basic credentials"),
            Kind::Jwt => write!(f, "JWT"),
            Kind::Ours(letter) => write!(f, "secret with the prefix pc{letter}_"),
            Kind::PrivateKey => write!(f, "private key in PEM"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Put together here, so that neither this file nor a failed assertion holds anything that looks real.
    fn planted(prefix: &str) -> String {
        format!("{prefix}{}", "aB3_-x9Zq7".repeat(4))
    }

    fn found(line: &str) -> Vec<Kind> {
        kinds(line.as_bytes()).collect()
    }

    fn jwt() -> String {
        format!("{}.{}.{}", planted("eyJ"), planted("eyJ"), planted(""))
    }

    #[test]
    fn secrets_of_ours_are_found_wherever_they_stand() {
        for letter in ['c', 'i', 'p', 'r', 's'] {
            let secret = planted(&format!("pc{letter}_"));
            for line in [
                format!("refresh_token={secret}&x=1"),
                format!("\"{secret}\""),
                format!("debug: \\n{secret}"),
                secret.clone(),
            ] {
                assert_eq!(found(&line), [Kind::Ours(letter)]);
            }
        }
    }

    #[test]
    fn redacted_and_harmless_forms_are_no_hits() {
        for line in [
            "pcr_…abcd",
            "Plain(pcr_...abcd)",
            "pcr_short",
            "test pcr_token_with_a_wrong_mac_reveals_nothing ... ok",
            "the grpc_status_code_of_the_answer",
            "Basic authentication-is-a-word-of-this-length-and-more",
            "Authorization: Basic [redacted]",
            "-----BEGIN PUBLIC KEY-----",
            "-----BEGIN CERTIFICATE-----",
        ] {
            assert_eq!(found(line), [], "{line}");
        }
    }

    #[test]
    fn jwts_are_found_and_those_without_signature_are_not() {
        assert_eq!(found(&format!("Authorization: Bearer {}", jwt())), [Kind::Jwt]);
        assert_eq!(found(&format!("{}.{}.", planted("eyJ"), planted("eyJ"))), []);
        assert_eq!(found(&format!("{}.{}.…", planted("eyJ"), planted("eyJ"))), []);
    }

    #[test]
    fn basic_credentials_and_private_keys_are_found() {
        let value = "aB3x9Zq7+/".repeat(5);
        assert_eq!(found(&format!("authorization: Basic {value}==")), [Kind::Basic]);
        assert_eq!(found(&format!("{}BEGIN EC PRIVATE KEY{}", "-----", "-----")), [Kind::PrivateKey]);
        assert_eq!(found(&format!("{}BEGIN PRIVATE KEY{}", "-----", "-----")), [Kind::PrivateKey]);
    }

    #[test]
    fn a_hit_tells_file_line_and_kind_but_not_the_value() {
        let folder = tempfile::tempdir().unwrap();
        let secret = planted("pcr_");
        fs::create_dir(folder.path().join("deep")).unwrap();
        fs::write(folder.path().join("deep/server.log"), format!("fine\nleaked {secret} and {}\n", jwt()))
            .unwrap();
        let hits: Vec<String> = scan(folder.path()).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(hits.len(), 2);
        assert!(hits[0].ends_with("deep/server.log:2: secret with the prefix pcr_"));
        assert!(hits[1].ends_with("deep/server.log:2: JWT"));
        assert!(hits.iter().all(|hit| !hit.contains("aB3")));
    }
}

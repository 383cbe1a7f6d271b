//! `WWW-Authenticate: Bearer …` (RFC 6750 s3, RFC 9728 s5.1): build and parse.

use crate::scope::ScopeSet;

/// A Bearer challenge. Values are escaped when printed; nothing from a request belongs in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BearerChallenge<'a> {
    /// RFC 6750 s3.1; absent when no credentials were presented.
    pub error: Option<&'a str>,
    /// A fixed sentence for people.
    pub error_description: Option<&'a str>,
    /// RFC 9728 s5.1: where the metadata of the protected resource stands.
    pub resource_metadata: Option<&'a str>,
    /// Scopes that the request needs.
    pub scope: Option<&'a ScopeSet>,
}

impl BearerChallenge<'_> {
    /// The header value: ASCII only, quotes and backslashes escaped, everything else replaced.
    pub fn to_header_value(&self) -> String {
        let scope = self.scope.filter(|scopes| !scopes.is_empty()).map(ToString::to_string);
        let parameters = [
            ("error", self.error),
            ("error_description", self.error_description),
            ("scope", scope.as_deref()),
            ("resource_metadata", self.resource_metadata),
        ];
        let printed: Vec<String> = parameters
            .iter()
            .filter_map(|(name, value)| value.map(|value| format!("{name}=\"{}\"", quoted(value))))
            .collect();
        if printed.is_empty() { "Bearer".to_owned() } else { format!("Bearer {}", printed.join(", ")) }
    }
}

/// RFC 9110 s5.6.4 quoted-string content.
fn quoted(text: &str) -> String {
    text.chars()
        .flat_map(|c| match c {
            '"' => vec!['\\', '"'],
            '\\' => vec!['\\', '\\'],
            ' '..='~' => vec![c],
            _ => vec!['?'],
        })
        .collect()
}

/// The value of one parameter of a Bearer challenge, unescaped; `None` when it is not there.
pub fn parameter(header: &str, name: &str) -> Option<String> {
    let mut rest = header.strip_prefix("Bearer")?.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(inner) => read_quoted(inner)?,
            None => after
                .split_once(',')
                .map_or((after.to_owned(), ""), |(value, rest)| (value.trim().to_owned(), rest)),
        };
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = after.trim_start_matches([',', ' ']);
    }
    None
}

fn read_quoted(inner: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = inner.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((value, &inner[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disc_02_no_error_without_credentials() {
        let scope = "a b".parse().unwrap();
        let challenge = BearerChallenge {
            scope: Some(&scope),
            resource_metadata: Some("https://x/y"),
            ..BearerChallenge::default()
        };
        assert_eq!(challenge.to_header_value(), r#"Bearer scope="a b", resource_metadata="https://x/y""#);
    }

    #[test]
    fn what_is_printed_reads_back_and_cannot_break_out() {
        let challenge = BearerChallenge {
            error_description: Some("say \"hi\\\r\nX: y\", scope=\"z\""),
            error: Some("invalid_token"),
            ..BearerChallenge::default()
        };
        let text = challenge.to_header_value();
        assert!(!text.contains(['\r', '\n']));
        assert_eq!(parameter(&text, "error").as_deref(), Some("invalid_token"));
        assert_eq!(parameter(&text, "scope"), None);
        assert!(parameter(&text, "error_description").unwrap().starts_with("say \"hi\\"));
    }
}

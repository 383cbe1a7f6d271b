//! Parameters of a form body or query: each at most once, an empty value counts as absent (OAuth 2.1 s3.1, s3.2).

use std::fmt;

/// Parsed `application/x-www-form-urlencoded` parameters. Values may be secrets, so `Debug` shows names only.
#[derive(Clone)]
pub struct Form(Vec<(String, String)>);

/// Why parameters could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidForm {
    /// Broken percent-encoding, or bytes that are not UTF-8, or control characters.
    #[error("parameters must be percent-encoded UTF-8 without control characters")]
    Encoding,
    /// A parameter that may stand once stands twice.
    #[error("a parameter may be given only once")]
    Repeated,
    /// More than 200 parameters.
    #[error("too many parameters")]
    TooMany,
}

impl Form {
    /// Parses `text`. Only the names in `repeatable` may occur more than once.
    pub fn parse(text: &str, repeatable: &[&str]) -> Result<Self, InvalidForm> {
        if text.split('&').count() > 200 {
            return Err(InvalidForm::TooMany);
        }
        if !is_well_encoded(text) {
            return Err(InvalidForm::Encoding);
        }
        let pairs: Vec<(String, String)> =
            url::form_urlencoded::parse(text.as_bytes()).into_owned().collect();
        let is_bad = |text: &str| text.contains(char::REPLACEMENT_CHARACTER) || text.contains('\0');
        if pairs.iter().any(|(name, value)| is_bad(name) || is_bad(value)) {
            return Err(InvalidForm::Encoding);
        }
        for (index, (name, _)) in pairs.iter().enumerate() {
            let again = pairs[..index].iter().any(|(earlier, _)| earlier == name);
            if again && !repeatable.contains(&name.as_str()) {
                return Err(InvalidForm::Repeated);
            }
        }
        Ok(Self(pairs))
    }

    /// The value of a parameter; `None` when absent or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Every non-empty value of a repeatable parameter.
    pub fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.0.iter().filter(move |(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_str())
    }

    /// Whether the parameter was sent at all, even empty.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(n, _)| n == name)
    }
}

/// Every `%` is followed by two hexadecimal digits.
fn is_well_encoded(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().all(|(at, byte)| {
        *byte != b'%' || bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    })
}

impl fmt::Debug for Form {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_http_05_repeats_are_refused_but_for_resource() {
        assert_eq!(Form::parse("a=1&a=1", &[]).unwrap_err(), InvalidForm::Repeated);
        let form = Form::parse("resource=x&resource=y&scope=", &["resource"]).unwrap();
        assert_eq!(form.all("resource").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(form.get("scope"), None, "AS-HTTP-06: empty is absent");
    }

    #[test]
    fn tok_08_broken_encodings_are_refused() {
        for bad in ["a=%zz", "a=%", "a=%4", "a=%ff", "a=%00", "a=%ed%a0%80"] {
            assert_eq!(Form::parse(bad, &[]).unwrap_err(), InvalidForm::Encoding, "{bad}");
        }
    }

    #[test]
    fn values_do_not_show_in_debug() {
        let form = Form::parse("client_secret=hunter2", &[]).unwrap();
        assert!(!format!("{form:?}").contains("hunter2"));
    }
}

//! Other people's words in TOML: quoted strings and comments that nothing can break out of.

use std::fmt::Write as _;

/// A basic string of TOML. What steers a terminal or turns the direction of text is escaped too.
pub(crate) fn quoted(text: &str) -> String {
    let mut toml = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => toml.extend(['\\', c]),
            _ if steers(c) => {
                let _infallible = write!(toml, "\\U{:08X}", u32::from(c));
            }
            _ => toml.push(c),
        }
    }
    toml.push('"');
    toml
}

/// A list of basic strings.
pub(super) fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let texts: Vec<String> = texts.into_iter().map(quoted).collect();
    format!("[{}]", texts.join(", "))
}

/// One line of a comment: no line break, nothing that steers.
pub(super) fn comment(words: &str) -> String {
    format!("# {}\n", plain(words, 400))
}

/// One line that a person can read, at most so many characters long.
pub(super) fn plain(text: &str, longest: usize) -> String {
    let mut line = String::new();
    for c in text.chars() {
        let c = if c.is_whitespace() { ' ' } else { c };
        if !steers(c) && (c != ' ' || !line.ends_with(' ')) {
            line.push(c);
        }
    }
    let line = line.trim();
    if line.chars().count() <= longest {
        return line.to_owned();
    }
    let cut: String = line.chars().take(longest.saturating_sub(1)).collect();
    format!("{}…", cut.trim_end())
}

/// Control characters, and those that are not seen or turn the direction of text.
pub(super) fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pc_36_a_quoted_text_is_read_back_and_stays_on_its_line(text in any::<String>()) {
            let line = format!("a = {}", quoted(&text));
            let breaks_out = line.contains(['\n', '\r', '\u{1b}', '\u{202e}']);
            prop_assert!(!breaks_out);
            let table: toml::Table = line.parse().unwrap();
            prop_assert_eq!(table["a"].as_str(), Some(text.as_str()));
        }

        #[test]
        fn pc_36_a_comment_stays_a_comment(text in any::<String>()) {
            let table: toml::Table = comment(&text).parse().unwrap();
            prop_assert!(table.is_empty());
            prop_assert_eq!(comment(&text).matches('\n').count(), 1);
        }
    }

    #[test]
    fn long_words_are_cut_and_white_space_is_one_space() {
        assert_eq!(plain(" a\n\n b\t c ", 10), "a b c");
        assert_eq!(plain("abcdef", 4), "abc…");
    }
}

//! Words of other parties, made fit to be shown: no control characters, no endless lines.

/// Longer words are cut.
const LONGEST: usize = 400;

/// One line without control characters. A server must not be able to write to somebody's terminal by way of an error.
pub(crate) fn one_line(words: &str) -> String {
    let mut line: String = words.chars().take(LONGEST).map(|c| if is_plain(c) { c } else { ' ' }).collect();
    if words.chars().nth(LONGEST).is_some() {
        line.push('…');
    }
    line.trim().to_owned()
}

/// Controls steer terminals; bidirectional marks make text read otherwise than it is.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn words_of_others_cannot_steer_a_terminal() {
        assert_eq!(one_line("needs a\u{1b}[2J\r\nb"), "needs a [2J  b");
        assert_eq!(one_line("\u{202e}abc"), "abc");
        assert_eq!(one_line(&"x".repeat(500)).chars().count(), 401);
        assert_eq!(one_line("  needs notes:write "), "needs notes:write");
    }
}

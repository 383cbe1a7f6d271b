//! What people see on a terminal: columns in line, and nothing in a cell that steers it.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

/// The rows under their heads, each column as wide as its widest cell.
pub(crate) fn table<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> String {
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| visible(cell))).collect();
    let mut widths = heads.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut line = |cells: [&str; N]| {
        let mut padded = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            let _infallible = write!(padded, "{cell:width$}  ");
        }
        text.push_str(padded.trim_end());
        text.push('\n');
    };
    line(heads);
    for row in &rows {
        line(row.each_ref().map(String::as_str));
    }
    text
}

/// Control characters, and those that turn the direction of text, are shown escaped.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    shown
}

pub(crate) fn print(text: &str) -> io::Result<()> {
    io::stdout().write_all(text.as_bytes())
}

/// Asks on the terminal. Without one, nobody can be asked, and what would have been asked is only said.
pub(crate) fn agreed(question: &str) -> io::Result<bool> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        io::stderr().write_all(format!("{question}\n").as_bytes())?;
        return Ok(false);
    }
    io::stderr().write_all(format!("{question} Type yes: ").as_bytes())?;
    let mut line = String::new();
    stdin.read_line(&mut line)?;
    Ok(line.trim() == "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adm_08_columns_are_in_line_and_a_name_cannot_steer_the_terminal() {
        let rows = [["a".to_owned(), "x".to_owned()], ["b\u{1b}[2J\n".to_owned(), "\u{202e}y".to_owned()]];
        let text = table(["NAME", "IS"], &rows);
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("NAME             IS"));
        assert_eq!(lines.next(), Some("a                x"));
        assert_eq!(lines.next(), Some("b\\u{1b}[2J\\u{a}  \\u{202e}y"));
        assert_eq!(lines.next(), None);
    }
}

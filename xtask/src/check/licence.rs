//! Whether an SPDX expression can be satisfied with the licences that we allow.

/// `OR` needs one side, `AND` both; an old-style `/` is an `OR`. What cannot be read is not allowed.
pub(crate) fn allowed(expression: &str, known: impl Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { words: &words, known: &known };
    let verdict = reader.alternatives();
    verdict.unwrap_or(false) && reader.words.is_empty()
}

struct Reader<'a, F> {
    words: &'a [&'a str],
    known: &'a F,
}

impl<'a, F: Fn(&str) -> bool> Reader<'a, F> {
    fn alternatives(&mut self) -> Option<bool> {
        let mut verdict = self.all_of()?;
        while self.takes("OR") {
            verdict |= self.all_of()?;
        }
        Some(verdict)
    }

    fn all_of(&mut self) -> Option<bool> {
        let mut verdict = self.one()?;
        while self.takes("AND") {
            verdict &= self.one()?;
        }
        Some(verdict)
    }

    fn one(&mut self) -> Option<bool> {
        if self.takes("(") {
            let verdict = self.alternatives()?;
            return self.takes(")").then_some(verdict);
        }
        let id = self.next()?;
        if self.takes("WITH") {
            let exception = self.next()?;
            return Some((self.known)(&format!("{id} WITH {exception}")));
        }
        Some((self.known)(id))
    }

    fn takes(&mut self, word: &str) -> bool {
        let found = self.words.first() == Some(&word);
        if found {
            self.next();
        }
        found
    }

    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_weighed_as_written() {
        let known = |id: &str| ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].contains(&id);
        for (expression, verdict) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("GPL-3.0 OR MIT", true),
            ("GPL-3.0/MIT", true),
            ("GPL-3.0 AND MIT", false),
            ("MIT AND (GPL-3.0 OR ISC)", true),
            ("(MIT OR GPL-3.0) AND GPL-3.0", false),
            ("MIT OR GPL-3.0 AND GPL-2.0", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("Apache-2.0", false),
            ("", false),
            ("MIT OR", false),
            ("(MIT", false),
            ("MIT ISC", false),
        ] {
            assert_eq!(allowed(expression, known), verdict, "{expression}");
        }
    }
}

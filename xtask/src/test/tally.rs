//! Sums of passed and failed tests, read from what Rust's test programs print.

use std::fmt;
use std::ops::AddAssign;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Tally {
    pub(crate) fn one_failure() -> Self {
        Self { passed: 0, failed: 1 }
    }

    pub(crate) fn good(self) -> bool {
        self.failed == 0
    }

    /// One test program: its last result line counts (a test may print such lines too). None, or a bad
    /// end in spite of a good line, is one failure.
    pub(crate) fn of_program(stdout: &str, ended_well: bool) -> Self {
        let tally = stdout.lines().rev().find_map(result_line);
        Self::settled(tally.into_iter(), ended_well)
    }

    /// Many programs in a row, as `cargo test --doc` runs them: every result line counts.
    pub(crate) fn of_many(stdout: &str, ended_well: bool) -> Self {
        Self::settled(stdout.lines().filter_map(result_line), ended_well)
    }

    fn settled(lines: impl Iterator<Item = Self>, ended_well: bool) -> Self {
        let mut lines = lines.peekable();
        let silent = lines.peek().is_none();
        let mut sum = Self::default();
        for line in lines {
            sum += line;
        }
        if (silent || !ended_well) && sum.failed == 0 {
            sum.failed = 1;
        }
        sum
    }
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s`.
/// Nothing is skipped in silence: ignored tests are failures.
fn result_line(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |name: &str| -> Option<u64> {
        let part = counts.split("; ").find_map(|part| part.strip_suffix(name))?;
        part.trim().parse().ok()
    };
    Some(Tally { passed: count("passed")?, failed: count("failed")? + count("ignored")? })
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "running 3 tests\ntest result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out; finished in 0.01s\n";
    const BAD: &str =
        "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n";

    fn tally(passed: u64, failed: u64) -> Tally {
        Tally { passed, failed }
    }

    #[test]
    fn the_last_result_line_of_a_program_counts() {
        assert_eq!(Tally::of_program(GOOD, true), tally(3, 0));
        assert_eq!(Tally::of_program(&format!("{BAD}{GOOD}"), true), tally(3, 0));
    }

    #[test]
    fn ignored_tests_are_failures() {
        assert_eq!(Tally::of_program(BAD, false), tally(3, 3));
    }

    #[test]
    fn a_crash_is_a_failure() {
        assert_eq!(Tally::of_program("running 3 tests\n", false), tally(0, 1));
        assert_eq!(Tally::of_program(GOOD, false), tally(3, 1));
        assert_eq!(Tally::of_program("", true), tally(0, 1));
    }

    #[test]
    fn documentation_sums_all_lines() {
        assert_eq!(Tally::of_many(&format!("{GOOD}{BAD}"), false), tally(6, 3));
    }

    #[test]
    fn the_last_line_reads_as_promised() {
        assert_eq!(tally(12, 0).to_string(), "12 passed, 0 failed");
    }
}

//! `cargo xtask ci`: the stages in order, as a contributor would run them one by one. The tests come last, so
//! that their sum is the last line.

use std::process::ExitCode;

use crate::system::Consent;
use crate::{check, interop, outcome, test};

pub(crate) fn run(consent: Consent) -> ExitCode {
    let stages: [&dyn Fn() -> ExitCode; 3] =
        [&|| outcome(check::run()), &|| outcome(interop::run(consent, None, None)), &|| test::run(consent)];
    stages
        .into_iter()
        .map(|stage| stage())
        .find(|code| *code != ExitCode::SUCCESS)
        .unwrap_or(ExitCode::SUCCESS)
}

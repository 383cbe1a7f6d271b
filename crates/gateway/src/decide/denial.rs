//! Why a call may not be, and the stable word for it.

use crate::decide::pins::Unpinned;
use portcullis_domain::policy::{Never, Shortfall};
use portcullis_domain::registry::Name;

/// Why a call may not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// Asking again cannot help.
    Never(Never),
    /// Asking for these scopes can help.
    StepUp(Shortfall),
    /// A method that has no meaning here, and that no rule names.
    UnknownMethod,
    /// The tool of this server is not as it was approved (PC-33).
    Unpinned(Unpinned, Name),
}

/// A stable word.
pub(crate) fn denial_reason(denial: &Denial) -> &'static str {
    match denial {
        Denial::StepUp(_) => "insufficient_scope",
        Denial::Never(Never::BeyondAgent(_)) => "beyond_agent",
        Denial::Never(Never::BeyondIssuer(_)) => "beyond_issuer",
        Denial::Never(Never::BeyondUser(_)) => "beyond_user",
        Denial::Never(Never::Forbidden(_)) => "forbidden",
        Denial::Never(Never::NothingLeft) => "nothing_left",
        Denial::Never(Never::NoRule) => "no_rule",
        Denial::Never(Never::Unclear(_)) => "unclear_uri",
        Denial::UnknownMethod => "unknown_method",
        Denial::Unpinned(Unpinned::Changed, _) => "tool_changed",
        Denial::Unpinned(Unpinned::NotApproved, _) => "tool_not_approved",
    }
}

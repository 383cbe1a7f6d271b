//! From a principal and a call to permits. The only question is put to the one decision function (PC-22).

use crate::call::{Aim, Call};
use portcullis_domain::policy::{Decision, Never, Operation, Permit, ServerPolicy, Shortfall};
use portcullis_domain::principal::Principal;
use portcullis_domain::registry::Risk;
use portcullis_oauth::scope::ScopeSet;

/// Every operation of one call is allowed. Only [`authorize`] makes one, and forwarding consumes it.
#[derive(Debug)]
pub(crate) struct Permits(Vec<Permit>);

impl Permits {
    /// In the order of the call's operations; never empty.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Permit> {
        self.0.iter()
    }

    /// Whether the decision must be on the disk, not only in the kernel, before the call goes on.
    pub(crate) fn is_strict(&self) -> bool {
        self.iter().any(|permit| permit.risk() == Risk::High)
    }
}

/// Why a call may not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// Asking again cannot help.
    Never(Never),
    /// Asking for these scopes can help.
    StepUp(Shortfall),
    /// A method that nobody gave a meaning here.
    UnknownMethod,
}

/// Decides about everything that `call` wants.
pub(crate) fn authorize(
    policy: &ServerPolicy,
    principal: &Principal,
    call: &Call,
) -> Result<Permits, Denial> {
    if call.aim == Aim::Unknown {
        return Err(Denial::UnknownMethod);
    }
    let mut permits = Vec::new();
    let mut lacking: Option<Shortfall> = None;
    for operation in call.aim.operations() {
        match policy.decide(principal, operation) {
            Decision::Permit(permit) => permits.push(permit),
            Decision::StepUp(shortfall) => lacking = Some(together(lacking, shortfall)),
            Decision::Never(never) => return Err(Denial::Never(never)),
        }
    }
    match lacking {
        Some(shortfall) => Err(Denial::StepUp(shortfall)),
        None => Ok(Permits(permits)),
    }
}

/// PC-23: all scopes of the operation at once.
fn together(before: Option<Shortfall>, next: Shortfall) -> Shortfall {
    let before =
        before.unwrap_or_else(|| Shortfall { needs: ScopeSet::default(), missing: ScopeSet::default() });
    Shortfall { needs: before.needs.union(&next.needs), missing: before.missing.union(&next.missing) }
}

/// Decides about being connected at all: GET and DELETE.
pub(crate) fn authorize_connection(policy: &ServerPolicy, principal: &Principal) -> Result<Permits, Denial> {
    match policy.decide(principal, Operation::Connect) {
        Decision::Permit(permit) => Ok(Permits(vec![permit])),
        Decision::StepUp(shortfall) => Err(Denial::StepUp(shortfall)),
        Decision::Never(never) => Err(Denial::Never(never)),
    }
}

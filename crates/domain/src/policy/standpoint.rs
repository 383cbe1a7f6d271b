//! From where somebody looks at a list: everything that the list filter depends on, besides the thing that is listed. Who looks
//! from the same standpoint by the same policy sees the same, so what was found for one need not be found again for another.

use super::{Bits, Decision, Held, Operation, ServerPolicy};
use crate::condition::Circumstances;
use crate::principal::{Principal, Subject};

/// What a principal holds on a server at one moment, and which conditions hold then. Means something with the policy that made
/// it, and with no other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Standpoint {
    kind: Kind,
    held: Held,
    forbids: Vec<usize>,
}

/// Which kind of subject it is, where it does not matter which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Agent,
    External,
    User,
}

impl From<&Principal> for Kind {
    fn from(principal: &Principal) -> Self {
        match principal.subject {
            Subject::Agent(_) => Self::Agent,
            Subject::External { .. } => Self::External,
            Subject::User(_) => Self::User,
        }
    }
}

impl ServerPolicy {
    /// From where `principal` looks at lists now.
    pub fn standpoint(&self, principal: &Principal, circumstances: &Circumstances<'_>) -> Standpoint {
        Standpoint {
            kind: principal.into(),
            held: self.held(principal, circumstances),
            forbids: self.holding(principal.into(), circumstances),
        }
    }

    /// What [`ServerPolicy::shows`] says to whoever looks from there.
    pub fn shows_from(&self, standpoint: &Standpoint, operation: Operation<'_>) -> bool {
        let Standpoint { kind, held, forbids } = standpoint;
        if let Operation::Connect = operation {
            return held.effective() != 0;
        }
        let forbidden = |needs: Bits| self.forbidden_by(forbids, (operation, needs));
        match self.judge(*kind, held, operation, forbidden) {
            Decision::Permit(_) => true,
            Decision::StepUp(_) => *kind == Kind::User,
            Decision::Never(_) => false,
        }
    }
}

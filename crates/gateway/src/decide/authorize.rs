//! From a principal and a call to permits. The only question is put to the one decision function (PC-22).

use crate::Inner;
use crate::decide::circumstances::InMessage;
use crate::decide::denial::{Denial, denial_reason};
use crate::decide::pins::{AsPinned, ServerPins};
use crate::decide::refusal::Refusal;
use crate::known::caller::Caller;
use crate::message::call::{Aim, Call, OfTask};
use crate::message::headers::Era;
use crate::survey::Probe;
use portcullis_domain::condition::Circumstances;
use portcullis_domain::policy::{Decision, Never, Operation, Permit, Refused, ServerPolicy, Shortfall};
use portcullis_domain::principal::Principal;
use portcullis_domain::registry::Risk;
use portcullis_oauth::scope::ScopeSet;

/// Every operation of one call is allowed. Only [`authorize`] makes one, and forwarding consumes it.
#[derive(Debug)]
pub(crate) struct Permits(Vec<Pass>);

/// One operation is allowed, and the tool that it needs is as it was approved (PC-33).
#[derive(Debug)]
struct Pass {
    permit: Permit,
    #[expect(dead_code, reason = "without it there is no pass")]
    pinned: AsPinned,
}

impl Permits {
    /// In the order of the call's operations; never empty.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Permit> {
        self.0.iter().map(|pass| &pass.permit)
    }

    /// For our own look at what a server lists: no caller's, and no operation.
    pub(crate) fn of_survey(_: &Probe) -> Self {
        Self(Vec::new())
    }

    /// Why the call would have been refused, were the server not observed (PC-36): a fixed word.
    pub(crate) fn observed(&self) -> Option<&'static str> {
        let refused = self.iter().find_map(Permit::observed)?;
        Some(denial_reason(&match refused {
            Refused::Never(never) => Denial::Never(never.clone()),
            Refused::StepUp(shortfall) => Denial::StepUp(shortfall.clone()),
        }))
    }

    /// Whether the decision must be on the disk, not only in the kernel, before the call goes on.
    pub(crate) fn is_strict(&self) -> bool {
        self.iter().any(|permit| permit.risk() == Risk::High)
    }
}

/// Decides about everything that `call` wants.
pub(crate) fn authorize(
    (policy, pins): (&ServerPolicy, &ServerPins<'_>),
    principal: &Principal,
    call: &Call,
    circumstances: &Circumstances<'_>,
) -> Result<Permits, Denial> {
    if call.aim == Aim::Unknown {
        return Err(Denial::UnknownMethod);
    }
    let unpinned = |why| Denial::Unpinned(why, policy.server().name.clone());
    let mut permits = Vec::new();
    let mut lacking: Option<Shortfall> = None;
    for operation in call.aim.operations() {
        match policy.decide(principal, operation, circumstances) {
            Decision::Permit(permit) => {
                permits.push(Pass { permit, pinned: pins.admit(operation).map_err(unpinned)? });
            }
            Decision::StepUp(shortfall) => {
                // No more scopes help with a tool that nobody may call.
                pins.admit(operation).map_err(unpinned)?;
                lacking = Some(together(lacking, shortfall));
            }
            Decision::Never(Never::NoRule) if matches!(call.aim, Aim::Method(_)) => {
                return Err(Denial::UnknownMethod);
            }
            Decision::Never(never) => return Err(Denial::Never(never)),
        }
    }
    match lacking {
        Some(shortfall) => Err(Denial::StepUp(shortfall)),
        None => Ok(Permits(permits)),
    }
}

/// Whether everything that was asked for with `aim` is allowed now, for what was permitted before and goes on.
pub(crate) fn is_still_allowed(
    (policy, pins): (&ServerPolicy, &ServerPins<'_>),
    principal: &Principal,
    aim: &Aim,
    circumstances: &Circumstances<'_>,
) -> bool {
    aim.operations().into_iter().all(|operation| {
        matches!(policy.decide(principal, operation, circumstances), Decision::Permit(_))
            && pins.admit(operation).is_ok()
    })
}

/// PC-23: all scopes of the operation at once.
fn together(before: Option<Shortfall>, next: Shortfall) -> Shortfall {
    let before =
        before.unwrap_or_else(|| Shortfall { needs: ScopeSet::default(), missing: ScopeSet::default() });
    Shortfall { needs: before.needs.union(&next.needs), missing: before.missing.union(&next.missing) }
}

/// Decides about being connected at all: GET and DELETE.
pub(crate) fn authorize_connection(
    (policy, pins): (&ServerPolicy, &ServerPins<'_>),
    principal: &Principal,
    circumstances: &Circumstances<'_>,
) -> Result<Permits, Denial> {
    match policy.decide(principal, Operation::Connect, circumstances) {
        Decision::Permit(permit) => {
            let pinned = pins.admit(Operation::Connect);
            let pinned = pinned.map_err(|why| Denial::Unpinned(why, policy.server().name.clone()))?;
            Ok(Permits(vec![Pass { permit, pinned }]))
        }
        Decision::StepUp(shortfall) => Err(Denial::StepUp(shortfall)),
        Decision::Never(never) => Err(Denial::Never(never)),
    }
}

impl Inner {
    pub(crate) fn permits(
        &self,
        caller: &Caller,
        call: &Call,
        era: Era,
        arguments: &InMessage,
    ) -> Result<Permits, Refusal> {
        // 2026-07-28 has no handshake.
        if era == Era::Stateless && call.aim == Aim::Initialize {
            return Err(Refusal::Denied(Denial::UnknownMethod));
        }
        if let Aim::Task(OfTask { made_by: None, .. }) = &call.aim {
            return Err(Refusal::UnknownTask);
        }
        let circumstances = Circumstances { arguments: Some(arguments), ..caller.circumstances() };
        let rules = (policy_of(caller)?, &self.pins_of(caller)?);
        authorize(rules, &caller.principal, call, &circumstances).map_err(Refusal::Denied)
    }

    /// Within one snapshot a door always has its pins.
    pub(crate) fn pins_of<'c>(&self, caller: &'c Caller) -> Result<ServerPins<'c>, Refusal> {
        self.pins.of(&caller.known, &caller.door).ok_or(Refusal::UnknownServer)
    }
}

/// Within one snapshot a door always has its policy.
pub(crate) fn policy_of(caller: &Caller) -> Result<&ServerPolicy, Refusal> {
    caller.known.policy_of(&caller.door).ok_or(Refusal::UnknownServer)
}

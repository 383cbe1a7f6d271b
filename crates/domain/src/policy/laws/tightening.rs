//! Whatever makes a fleet stricter opens nothing to anybody.

use super::conditions::{Around, around, client, is_permit, worlds};
use super::{SCOPES, needs_of, operations, policies, principal, rule, scope, scopes};
use crate::policy::{Operation, Policy};
use crate::principal::Principal;
use crate::registry::{Access, Rule};
use crate::snapshot::Snapshot;
use portcullis_oauth::scope::ScopeSet;
use proptest::prelude::*;

/// One way to do it.
#[derive(Clone, Debug)]
enum Tightening {
    /// The agent keeps these scopes only.
    Agent(ScopeSet),
    /// Another rule, about things that a rule is about already.
    AnotherRule(Rule),
    /// The registered client keeps these scopes only.
    Client(ScopeSet),
    ClientDisabled,
    Disabled,
    /// A scope implies nothing any more.
    Implies(usize),
    /// The role keeps these scopes only.
    Role(ScopeSet),
    /// One more scope for a rule.
    RuleNeeds(usize, usize),
    /// Clients that registered themselves keep these scopes only.
    SelfRegistered(ScopeSet),
}

fn tightenings() -> impl Strategy<Value = Tightening> {
    prop_oneof![
        scopes(3).prop_map(Tightening::Agent),
        rule().prop_map(Tightening::AnotherRule),
        scopes(3).prop_map(Tightening::Client),
        Just(Tightening::ClientDisabled),
        Just(Tightening::Disabled),
        (0..SCOPES).prop_map(Tightening::Implies),
        scopes(3).prop_map(Tightening::Role),
        (0..4_usize, 0..SCOPES).prop_map(|(rule, scope)| Tightening::RuleNeeds(rule, scope)),
        scopes(3).prop_map(Tightening::SelfRegistered),
    ]
}

impl Tightening {
    fn of(&self, snapshot: &Snapshot) -> Snapshot {
        let mut tight = snapshot.clone();
        let name = tight.servers[0].name.clone();
        let cut = |access: &mut Access, keep: &ScopeSet| {
            let kept = access[&name].intersection(keep);
            access.insert(name.clone(), kept);
        };
        match self {
            Self::Agent(keep) => cut(&mut tight.agents[0].access, keep),
            Self::AnotherRule(rule) => tight.servers[0].rules.insert(0, rule.clone()),
            Self::Client(keep) => tight.clients.iter_mut().for_each(|client| cut(&mut client.access, keep)),
            Self::ClientDisabled => tight.clients.iter_mut().for_each(|client| client.disabled = true),
            Self::Disabled => tight.agents[0].disabled = true,
            Self::Implies(at) => {
                tight.servers[0].scopes.get_mut(&scope(*at)).unwrap().implies = ScopeSet::default();
            }
            Self::Role(keep) => cut(&mut tight.roles[0].access, keep),
            Self::RuleNeeds(at, more) => {
                if let Some(rule) = tight.servers[0].rules.get_mut(*at) {
                    rule.scopes.insert(scope(*more));
                }
            }
            Self::SelfRegistered(keep) => cut(&mut tight.self_registered, keep),
        }
        tight
    }

    /// A rule about something that no rule was about opens it: that is what rules are for.
    fn opens(&self, before: &Snapshot, operation: Operation<'_>) -> bool {
        matches!(self, Self::AnotherRule(_)) && needs_of(before, operation).is_none()
    }
}

/// With the client of the caller registered, or not.
fn with_client(mut snapshot: Snapshot, own: Option<ScopeSet>) -> Snapshot {
    snapshot.clients = own.map(|own| client(&snapshot, own)).into_iter().collect();
    snapshot
}

fn allows(snapshot: &Snapshot, caller: &Principal, operation: Operation<'_>, around: &Around) -> bool {
    let policy = Policy::compile(snapshot).unwrap();
    let server = policy.server("notes").unwrap();
    around.with(|circumstances| {
        let allowed = is_permit(&server.decide(caller, operation, circumstances));
        assert!(!allowed || server.shows(caller, operation, circumstances), "what may be called is listed");
        allowed
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn pc_21_no_tightening_widens(snapshot in policies(), own in prop::option::of(scopes(4)), by in tightenings(), around in around(), token in scopes(5), is_agent: bool, observe: bool, operation in operations()) {
        let mut wide = with_client(snapshot, own);
        wide.servers[0].observe = observe;
        prop_assume!(!by.opens(&wide, operation));
        let (tight, caller) = (by.of(&wide), principal(is_agent, token));
        prop_assert!(!allows(&tight, &caller, operation, &around) || allows(&wide, &caller, operation, &around));
    }

    /// But for one: a forbid of a scope holds for what implies it, too, so what implies it no more is no more forbidden with it.
    #[test]
    fn pc_21_no_tightening_widens_under_conditions((snapshot, _) in worlds(), own in prop::option::of(scopes(4)), by in tightenings(), around in around(), (token, keep) in (scopes(5), scopes(3)), is_agent: bool, observe: bool, operation in operations()) {
        prop_assume!(!matches!(by, Tightening::Implies(_)));
        let mut wide = with_client(snapshot, own);
        wide.servers[0].observe = observe;
        prop_assume!(!by.opens(&wide, operation));
        let (tight, caller) = (by.of(&wide), principal(is_agent, token.clone()));
        prop_assert!(!allows(&tight, &caller, operation, &around) || allows(&wide, &caller, operation, &around));
        let fewer = principal(is_agent, token.intersection(&keep));
        prop_assert!(!allows(&wide, &fewer, operation, &around) || allows(&wide, &caller, operation, &around));
    }
}

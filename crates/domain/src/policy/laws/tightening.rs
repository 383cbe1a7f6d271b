//! Whatever makes a fleet stricter opens nothing to anybody.

use super::conditions::{Around, around, client, is_permit, worlds};
use super::{SCOPES, everything, needs_of, policies, principal, rule, scope, scopes};
use crate::policy::{Operation, Policy};
use crate::principal::Principal;
use crate::registry::{Access, Rule};
use crate::snapshot::Snapshot;
use portcullis_oauth::scope::ScopeSet;
use proptest::prelude::*;

/// One way to do it.
#[derive(Clone, Debug, PartialEq)]
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

/// One of each kind.
fn tightenings() -> impl Strategy<Value = Vec<Tightening>> {
    let keeps = (scopes(3), scopes(3), scopes(3), scopes(3));
    let rules = (rule(), 0..4_usize, 0..SCOPES);
    (keeps, rules, 0..SCOPES).prop_map(|((agent, client, role, open), (rule, at, more), implies)| {
        vec![
            Tightening::Agent(agent),
            Tightening::AnotherRule(rule),
            Tightening::Client(client),
            Tightening::ClientDisabled,
            Tightening::Disabled,
            Tightening::Implies(implies),
            Tightening::Role(role),
            Tightening::RuleNeeds(at, more),
            Tightening::SelfRegistered(open),
        ]
    })
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

/// Everything of `operations` that the caller may do.
fn allowed(snapshot: &Snapshot, caller: &Principal, around: &Around) -> Vec<Operation<'static>> {
    let policy = Policy::compile(snapshot).unwrap();
    let server = policy.server("notes").unwrap();
    around.with(|circumstances| {
        let may = |operation: &Operation<'_>| {
            let may = is_permit(&server.decide(caller, *operation, circumstances));
            assert!(!may || server.shows(caller, *operation, circumstances), "what may be called is listed");
            may
        };
        everything().filter(may).collect()
    })
}

/// What a stricter fleet allows that the other does not, and how it got stricter.
fn widened<'b>(
    wide: &Snapshot,
    by: &'b [Tightening],
    (caller, around): (&Principal, &Around),
) -> Vec<(Operation<'static>, &'b Tightening)> {
    let before = allowed(wide, caller, around);
    let of = |by: &'b Tightening| {
        let after = allowed(&by.of(wide), caller, around);
        let new = after.into_iter().filter(|operation| !before.contains(operation));
        new.filter(|operation| !by.opens(wide, *operation))
            .map(|operation| (operation, by))
            .collect::<Vec<_>>()
    };
    by.iter().flat_map(of).collect()
}

proptest! {
    #[test]
    fn pc_21_no_tightening_widens(snapshot in policies(), own in prop::option::of(scopes(4)), by in tightenings(), around in around(), token in scopes(5), is_agent: bool, observe: bool) {
        let mut wide = with_client(snapshot, own);
        wide.servers[0].observe = observe;
        prop_assert_eq!(widened(&wide, &by, (&principal(is_agent, token), &around)), vec![]);
    }

    /// But for one: a forbid of a scope holds for what implies it, too, so what implies it no more is no more forbidden with it.
    #[test]
    fn pc_21_no_tightening_widens_under_conditions((snapshot, _) in worlds(), own in prop::option::of(scopes(4)), by in tightenings(), around in around(), (token, keep) in (scopes(5), scopes(3)), is_agent: bool, observe: bool) {
        let mut wide = with_client(snapshot, own);
        wide.servers[0].observe = observe;
        let caller = principal(is_agent, token.clone());
        let mut widened = widened(&wide, &by, (&caller, &around));
        widened.retain(|(_, by)| !matches!(by, Tightening::Implies(_)));
        prop_assert_eq!(widened, vec![]);
        let most = allowed(&wide, &caller, &around);
        let fewer = principal(is_agent, token.intersection(&keep));
        prop_assert!(allowed(&wide, &fewer, &around).iter().all(|operation| most.contains(operation)));
    }
}

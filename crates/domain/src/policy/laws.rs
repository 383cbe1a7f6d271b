//! Laws that hold for every policy, checked on random ones against a second, naive reading of PC-21.

mod agents;
mod conditions;
mod tightening;

use super::{Asker, Decision, Never, Operation, Policy};
use crate::condition::Circumstances;
use crate::id::{SessionId, TokenId, UserId};
use crate::principal::{Principal, Subject};
use crate::registry::{Risk, Rule, ScopeMeaning};
use crate::snapshot::{Snapshot, tests::snapshot};
use portcullis_oauth::scope::{Scope, ScopeSet};
use portcullis_oauth::time::Timestamp;
use proptest::prelude::*;
use std::collections::BTreeMap;

const SCOPES: usize = 5;
const HERE: Circumstances<'_> = Circumstances::at(Timestamp::from_seconds(0));
const TOOLS: [&str; 4] = ["alpha", "beta", "gamma_one", "gamma_two"];
const METHODS: [&str; 3] = ["com.example/a", "com.example/b", "notifications/c"];
const PATTERNS: [&str; 5] = ["alpha", "beta", "gamma_*", "*", "nothing"];
/// The last one is not the same thing to all readers.
const URIS: [&str; 6] =
    ["note://a/1", "note://a/2?x", "note://A/1", "note://b/1", "note://b/1#x", "note://b/../a/1"];
const URI_PATTERNS: [&str; 6] = ["note://a/*", "note://A/1", "note://b/1", "note://b/*", "*", "note://a/2"];

fn scope(at: usize) -> Scope {
    format!("s:{at}").parse().unwrap()
}

fn scopes(max: usize) -> impl Strategy<Value = ScopeSet> {
    prop::collection::vec(0..SCOPES, 0..=max).prop_map(|all| all.into_iter().map(scope).collect())
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    prop::collection::vec(rule(), 0..4)
}

fn rule() -> impl Strategy<Value = Rule> {
    let methods = prop::sample::subsequence(METHODS.to_vec(), 0..=2);
    let prompts = prop::sample::subsequence(PATTERNS.to_vec(), 0..=2);
    let resources = prop::sample::subsequence(URI_PATTERNS.to_vec(), 0..=2);
    let tool = prop::sample::select(PATTERNS.to_vec());
    let rule = (tool, prompts, resources, methods, 0..SCOPES, scopes(2));
    rule.prop_map(|(tool, prompts, resources, methods, one, mut scopes)| {
        scopes.insert(scope(one));
        let texts = |all: Vec<&str>| all.into_iter().map(str::to_owned).collect();
        Rule {
            tools: vec![tool.to_owned()],
            prompts: texts(prompts),
            resources: texts(resources),
            methods: texts(methods),
            scopes,
            risk: Risk::Usual,
        }
    })
}

/// Everything that can be listed.
fn everything() -> impl Iterator<Item = Operation<'static>> {
    let tools = TOOLS.map(Operation::Tool);
    let prompts = TOOLS.map(Operation::Prompt);
    tools.into_iter().chain(prompts).chain(URIS.map(Operation::Resource))
}

fn operations() -> impl Strategy<Value = Operation<'static>> {
    prop::sample::select(everything().collect::<Vec<_>>())
}

/// A random policy for the one server of the sample snapshot.
fn policies() -> impl Strategy<Value = Snapshot> {
    let implied = prop::collection::vec(scopes(2), SCOPES);
    (implied, rules(), scopes(4), scopes(4), scopes(4)).prop_map(|(implied, rules, agent, role, open)| {
        let mut snapshot = snapshot();
        let server = &mut snapshot.servers[0];
        let meaning = |implies| ScopeMeaning { says: "x".into(), implies };
        server.scopes =
            implied.into_iter().enumerate().map(|(at, implies)| (scope(at), meaning(implies))).collect();
        server.default_scopes = ScopeSet::default();
        server.rules = rules;
        let access = |scopes| BTreeMap::from([(server.name.clone(), scopes)]);
        snapshot.agents[0].access = access(agent);
        snapshot.roles[0].access = access(role);
        snapshot.self_registered = access(open);
        snapshot
    })
}

fn principal(is_agent: bool, scopes: ScopeSet) -> Principal {
    let subject = if is_agent {
        Subject::Agent("cli_agent".parse().unwrap())
    } else {
        Subject::User(UserId::from_bytes([1; 16]))
    };
    Principal {
        subject,
        client_id: "cli_agent".parse().unwrap(),
        session: SessionId::from_bytes([1; 16]),
        token: TokenId::from_bytes([1; 16]),
        scopes,
        roles: if is_agent { vec![] } else { vec!["engineers".into()] },
        issued_at: Timestamp::from_seconds(0),
        expires_at: Timestamp::from_seconds(900),
    }
}

/// Everything that a set implies, by sets instead of bits.
fn closure(snapshot: &Snapshot, start: &ScopeSet) -> ScopeSet {
    let mut all = start.clone();
    loop {
        let more = all
            .iter()
            .fold(all.clone(), |more, scope| more.union(&snapshot.servers[0].scopes[scope].implies));
        if more == all {
            return all;
        }
        all = more;
    }
}

fn ceiling(snapshot: &Snapshot, is_agent: bool) -> ScopeSet {
    let of = |access: &crate::registry::Access| closure(snapshot, &access[&snapshot.servers[0].name]);
    if is_agent {
        of(&snapshot.agents[0].access)
    } else {
        of(&snapshot.self_registered).intersection(&of(&snapshot.roles[0].access))
    }
}

/// What a tool needs: the union over every rule that matches; `None` without one.
fn needs(snapshot: &Snapshot, tool: &str) -> Option<ScopeSet> {
    needs_of(snapshot, Operation::Tool(tool))
}

/// The same of anything.
fn needs_of(snapshot: &Snapshot, operation: Operation<'_>) -> Option<ScopeSet> {
    let rules = &snapshot.servers[0].rules;
    let some = |patterns: &[String], name: &str| patterns.iter().any(|pattern| matches(pattern, name));
    let about: Vec<&Rule> = match operation {
        Operation::Tool(name) => rules.iter().filter(|rule| some(&rule.tools, name)).collect(),
        Operation::Prompt(name) => rules.iter().filter(|rule| some(&rule.prompts, name)).collect(),
        Operation::Method(name) => {
            rules.iter().filter(|rule| rule.methods.iter().any(|method| method == name)).collect()
        }
        Operation::Resource(uri) if uri.contains("..") => return None,
        Operation::Resource(uri) => {
            if !rules.iter().any(|rule| some(&rule.resources, uri)) {
                return None;
            }
            // What some readers take for the same is asked for, too.
            let lower = uri.to_lowercase();
            let bare = lower.split(['?', '#']).next().unwrap();
            let alike = |pattern: &String| {
                matches(&pattern.to_lowercase(), &lower) || matches(&pattern.to_lowercase(), bare)
            };
            rules.iter().filter(|rule| rule.resources.iter().any(alike)).collect()
        }
        Operation::Connect | Operation::Unknown => return None,
    };
    about.into_iter().map(|rule| rule.scopes.clone()).reduce(|all, more| all.union(&more))
}

/// A star stands at the end of a pattern only, here.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

proptest! {
    #[test]
    fn pc_07_a_method_goes_exactly_where_rules_name_it_and_the_formula_allows_it(snapshot in policies(), token in scopes(5), is_agent: bool, observe: bool, method in prop::sample::select(METHODS.to_vec())) {
        let mut snapshot = snapshot;
        // PC-36: nobody knows what a method does that no rule is about, so observing lets none through.
        snapshot.servers[0].observe = observe;
        let policy = Policy::compile(&snapshot).unwrap();
        let server = policy.server("notes").unwrap();
        let effective = closure(&snapshot, &token).intersection(&ceiling(&snapshot, is_agent));
        let needs = needs_of(&snapshot, Operation::Method(method));
        let caller = principal(is_agent, token);
        let decision = server.decide(&caller, Operation::Method(method), &HERE);
        let may = needs.as_ref().is_some_and(|needs| needs.is_subset(&effective));
        prop_assert_eq!(matches!(decision, Decision::Permit(_)), may);
        prop_assert_eq!(matches!(decision, Decision::Never(Never::NoRule)), needs.is_none());
        prop_assert!(!matches!(server.decide(&caller, Operation::Unknown, &HERE), Decision::Permit(_)));
    }

    #[test]
    fn pc_21_decide_allows_exactly_what_the_formula_allows(snapshot in policies(), token in scopes(5), is_agent: bool, operation in operations()) {
        let policy = Policy::compile(&snapshot).unwrap();
        let server = policy.server("notes").unwrap();
        let ceiling = ceiling(&snapshot, is_agent);
        let effective = closure(&snapshot, &token).intersection(&ceiling);
        match (server.decide(&principal(is_agent, token), operation, &HERE), needs_of(&snapshot, operation)) {
            (Decision::Permit(permit), Some(needs)) => {
                prop_assert!(needs.is_subset(&effective));
                prop_assert_eq!(permit.used(), &needs);
            }
            (Decision::StepUp(shortfall), Some(needs)) => {
                prop_assert!(!needs.is_subset(&effective) && needs.is_subset(&ceiling));
                prop_assert_eq!(&shortfall.needs, &needs);
                prop_assert_eq!(shortfall.missing, needs.difference(&effective));
            }
            (Decision::Never(Never::BeyondAgent(shortfall) | Never::BeyondUser(shortfall)), Some(needs)) => {
                prop_assert!(!needs.is_subset(&ceiling));
                prop_assert_eq!(shortfall.needs, needs);
            }
            (Decision::Never(Never::NoRule), None) => {}
            (Decision::Never(Never::Unclear(_)), None) => {
                prop_assert_eq!(operation, Operation::Resource(URIS[5]));
            }
            (decision, needs) => prop_assert!(false, "{decision:?} where {needs:?}"),
        }
    }

    #[test]
    fn pc_22_list_and_call_agree(snapshot in policies(), token in scopes(5), is_agent: bool, observe: bool, operation in operations()) {
        let mut snapshot = snapshot;
        snapshot.servers[0].observe = observe;
        let policy = Policy::compile(&snapshot).unwrap();
        let server = policy.server("notes").unwrap();
        let caller = principal(is_agent, token);
        let decision = server.decide(&caller, operation, &HERE);
        let shown = server.shows(&caller, operation, &HERE);
        prop_assert_eq!(shown, matches!(decision, Decision::Permit(_)) || (!is_agent && matches!(decision, Decision::StepUp(_))));
    }

    #[test]
    fn pc_23_a_token_with_the_challenged_scopes_is_let_in(snapshot in policies(), token in scopes(5), is_agent: bool, operation in operations()) {
        let policy = Policy::compile(&snapshot).unwrap();
        let server = policy.server("notes").unwrap();
        if let Decision::StepUp(shortfall) = server.decide(&principal(is_agent, token), operation, &HERE) {
            let roles = ["engineers".to_owned()];
            let client = "cli_agent".parse().unwrap();
            let asker = if is_agent { Asker::Agent(&client) } else { Asker::User { client: &client, roles: &roles } };
            let issued = server.issue(asker, Some(&shortfall.needs), Timestamp::from_seconds(0)).unwrap();
            prop_assert_eq!(&issued, &shortfall.needs, "what the challenge names can be had");
            let again = server.decide(&principal(is_agent, issued), operation, &HERE);
            prop_assert!(matches!(again, Decision::Permit(_)));
        }
    }

    #[test]
    fn pc_21_what_is_issued_lies_below_the_ceiling(snapshot in policies(), asked in scopes(5), is_agent: bool) {
        let policy = Policy::compile(&snapshot).unwrap();
        let server = policy.server("notes").unwrap();
        let roles = ["engineers".to_owned()];
        let client = "cli_agent".parse().unwrap();
        let asker = if is_agent { Asker::Agent(&client) } else { Asker::User { client: &client, roles: &roles } };
        if let Ok(issued) = server.issue(asker, Some(&asked), Timestamp::from_seconds(0)) {
            prop_assert!(!issued.is_empty());
            prop_assert!(issued.is_subset(&asked) && issued.is_subset(&ceiling(&snapshot, is_agent)));
        }
    }
}

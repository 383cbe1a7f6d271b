//! The same laws with `[[forbid]]`, ended agents, registered clients and observed servers, under random circumstances.

use super::{SCOPES, TOOLS, ceiling, closure, needs, policies, principal, scope, scopes};
use crate::condition::tests::{NIGHT, NOON};
use crate::condition::{Arguments, Circumstances, Forbid, When};
use crate::policy::{Asker, Decision, Never, Operation, Policy, Refused};
use crate::principal::Principal;
use crate::registry::{Client, ClientAuth};
use crate::snapshot::Snapshot;
use portcullis_oauth::scope::ScopeSet;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::collections::BTreeMap;

/// Random circumstances, by what they mean for the conditions below.
#[derive(Clone, Debug)]
pub(super) struct Around {
    is_day: bool,
    /// From the office, from elsewhere, or from nobody knows where.
    from_office: Option<bool>,
    /// What the call says; `None`: its arguments are not known.
    path: Option<Said>,
}

/// A path, to the pattern below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Within,
    Beyond,
    Unclear,
}

impl Around {
    fn arguments(&self) -> Option<BTreeMap<String, String>> {
        let path = match self.path? {
            Said::Within => "/srv/notes/a",
            Said::Beyond => "/etc/passwd",
            Said::Unclear => "/srv/notes/../../etc/passwd",
        };
        Some(BTreeMap::from([("path".to_owned(), path.to_owned())]))
    }

    pub(super) fn with<T>(&self, ask: impl FnOnce(&Circumstances<'_>) -> T) -> T {
        let arguments = self.arguments();
        let address = self.from_office.map(|office| if office { "10.1.2.3" } else { "192.0.2.1" });
        ask(&Circumstances {
            now: if self.is_day { NOON } else { NIGHT },
            address: address.map(|address| address.parse().unwrap()),
            arguments: arguments.as_ref().map(|arguments| arguments as &dyn Arguments),
        })
    }
}

pub(super) fn around() -> impl Strategy<Value = Around> {
    let path = prop::option::of(select(vec![Said::Within, Said::Beyond, Said::Unclear]));
    (any::<bool>(), any::<Option<bool>>(), path).prop_map(|(is_day, from_office, path)| Around {
        is_day,
        from_office,
        path,
    })
}

const NIGHTLY: &str = "outside = \"07:00-19:00 Europe/Amsterdam\"";
const ELSEWHERE: &str = "address_not_in = [\"10.0.0.0/8\"]";
const OUTSIDE: &str = "argument_outside = { path = \"/srv/notes/**\" }";

/// Some conditions together, by text, so that [`forbids`] can read them naively.
fn forbid() -> impl Strategy<Value = (Forbid, Vec<&'static str>)> {
    let when = subsequence(vec![NIGHTLY, ELSEWHERE, OUTSIDE], 0..=3);
    let here = subsequence(vec!["notes", "elsewhere"], 0..=2);
    let labels = subsequence(vec!["pii", "production"], 0..=2);
    let tools = subsequence(vec!["alpha", "gamma_*", "*"], 0..=2);
    let who = select(vec![None, Some("agent"), Some("label"), Some("role"), Some("another")]);
    (when, here, labels, scopes(2), tools, who).prop_map(|(when, here, labels, scopes, mut tools, who)| {
        if when.contains(&OUTSIDE) && tools.is_empty() {
            tools.push("*");
        }
        let texts = |all: Vec<&str>| all.into_iter().map(str::to_owned).collect::<Vec<_>>();
        let names = |wanted: &str, name: &str| {
            if who == Some(wanted) { vec![name.parse().unwrap()] } else { vec![] }
        };
        let forbid = Forbid {
            name: "x".to_owned(),
            servers: here.iter().map(|name| name.parse().unwrap()).collect(),
            labels: texts(labels),
            scopes,
            tools: texts(tools),
            agents: if who == Some("another") {
                names("another", "nobody")
            } else {
                names("agent", "ci-bot")
            },
            agent_labels: if who == Some("label") { vec!["nightly".to_owned()] } else { vec![] },
            roles: names("role", "engineers"),
            when: toml::from_str::<When>(&when.join("\n")).unwrap(),
        };
        (forbid, when)
    })
}

/// Whether a tool that needs these scopes is forbidden: a second, naive reading.
fn forbids(
    (forbid, when): &(Forbid, Vec<&'static str>),
    snapshot: &Snapshot,
    (is_agent, around): (bool, &Around),
    (tool, needs): (&str, &ScopeSet),
) -> bool {
    let server = &snapshot.servers[0];
    let selected = (forbid.servers.is_empty() || forbid.servers.contains(&server.name))
        && (forbid.labels.is_empty() || forbid.labels.iter().any(|label| server.labels.contains(label)))
        && (forbid.agents.is_empty() || is_agent && forbid.agents[0].as_str() == "ci-bot")
        && (forbid.agent_labels.is_empty()
            || is_agent && snapshot.agents[0].labels.contains(&"nightly".to_owned()))
        && (forbid.roles.is_empty() || !is_agent)
        && (forbid.tools.is_empty()
            || forbid.tools.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(start) => tool.starts_with(start),
                None => tool == pattern,
            }))
        && (forbid.scopes.is_empty()
            || needs.iter().any(|need| {
                let held = closure(snapshot, &[need.clone()].into_iter().collect());
                !held.intersection(&forbid.scopes).is_empty()
            }));
    selected
        && when.iter().all(|condition| match *condition {
            NIGHTLY => !around.is_day,
            ELSEWHERE => around.from_office != Some(true),
            _ => around.path != Some(Said::Within),
        })
}

/// A world with everything that can stand against a call, and its forbids in both readings.
pub(super) type World = (Snapshot, Vec<(Forbid, Vec<&'static str>)>);

pub(super) fn worlds() -> impl Strategy<Value = World> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (policies(), prop::collection::vec(forbid(), 0..3), flags).prop_map(
        |(mut snapshot, forbids, (is_disabled, has_ended, is_labelled, is_sensitive))| {
            snapshot.agents[0].disabled = is_disabled && has_ended;
            snapshot.agents[0].expires_at = (has_ended && !is_disabled).then_some(NIGHT);
            if is_labelled {
                snapshot.agents[0].labels = vec!["nightly".to_owned()];
            }
            if is_sensitive {
                snapshot.servers[0].labels = vec!["pii".to_owned()];
            }
            snapshot.forbids = forbids.iter().map(|(forbid, _)| forbid.clone()).collect();
            (snapshot, forbids)
        },
    )
}

fn has_ended(snapshot: &Snapshot, around: &Around) -> bool {
    let now = around.with(|circumstances| circumstances.now);
    snapshot.agents[0].has_ended(now)
}

fn decide(snapshot: &Snapshot, caller: &Principal, tool: &str, around: &Around) -> Decision {
    let policy = Policy::compile(snapshot).unwrap();
    let server = policy.server("notes").unwrap();
    around.with(|circumstances| server.decide(caller, Operation::Tool(tool), circumstances))
}

fn effective(snapshot: &Snapshot, caller: &Principal, around: &Around) -> ScopeSet {
    let policy = Policy::compile(snapshot).unwrap();
    let notes = policy.server("notes").unwrap();
    around.with(|circumstances| notes.names_of(notes.effective(caller, circumstances)))
}

fn observed(snapshot: &Snapshot) -> Snapshot {
    let mut snapshot = snapshot.clone();
    snapshot.servers[0].observe = true;
    snapshot
}

pub(super) fn is_permit(decision: &Decision) -> bool {
    matches!(decision, Decision::Permit(_))
}

/// The client that people of [`principal`] come with, as one that the operator registered.
pub(super) fn client(snapshot: &Snapshot, own: ScopeSet) -> Client {
    Client {
        client_id: "cli_agent".parse().unwrap(),
        name: "desk".parse().unwrap(),
        title: "Desk".into(),
        owner: "o".into(),
        redirect_uris: vec![],
        auth: ClientAuth::None,
        deliver: None,
        disabled: false,
        access: BTreeMap::from([(snapshot.servers[0].name.clone(), own)]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn pc_24_decide_allows_exactly_what_formula_and_conditions_allow((snapshot, both) in worlds(), around in around(), token in scopes(5), is_agent: bool, tool in select(TOOLS.to_vec())) {
        let decision = decide(&snapshot, &principal(is_agent, token.clone()), tool, &around);
        let ended = is_agent && has_ended(&snapshot, &around);
        let ceiling = if ended { ScopeSet::default() } else { ceiling(&snapshot, is_agent) };
        let effective = closure(&snapshot, &token).intersection(&ceiling);
        let Some(needs) = needs(&snapshot, tool) else {
            prop_assert_eq!(decision, Decision::Never(Never::NoRule));
            return Ok(());
        };
        let is_forbidden = both.iter().any(|forbid| forbids(forbid, &snapshot, (is_agent, &around), (tool, &needs)));
        prop_assert_eq!(is_permit(&decision), needs.is_subset(&effective) && !is_forbidden);
        prop_assert_eq!(matches!(decision, Decision::Never(Never::Forbidden(_))), is_forbidden, "and asking again is not advised");
    }

    #[test]
    fn pc_24_lists_hide_what_no_argument_could_open((snapshot, _) in worlds(), around in around(), token in scopes(5), is_agent: bool, tool in select(TOOLS.to_vec()), observe: bool) {
        let mut snapshot = snapshot;
        snapshot.servers[0].observe = observe;
        let caller = principal(is_agent, token);
        let policy = Policy::compile(&snapshot).unwrap();
        let shown = around.with(|circumstances| {
            policy.server("notes").unwrap().shows(&caller, Operation::Tool(tool), circumstances)
        });
        snapshot.forbids.retain(|forbid| !forbid.when.asks_for_arguments());
        let decision = decide(&snapshot, &caller, tool, &around);
        prop_assert_eq!(shown, is_permit(&decision) || (!is_agent && matches!(decision, Decision::StepUp(_))));
    }

    #[test]
    fn pc_24_another_forbid_never_widens((snapshot, _) in worlds(), (more, _) in forbid(), around in around(), token in scopes(5), is_agent: bool, tool in select(TOOLS.to_vec()), observe: bool) {
        let mut wide = snapshot;
        wide.servers[0].observe = observe;
        let mut tight = wide.clone();
        tight.forbids.push(more);
        let caller = principal(is_agent, token);
        prop_assert!(!is_permit(&decide(&tight, &caller, tool, &around)) || is_permit(&decide(&wide, &caller, tool, &around)));
        prop_assert!(effective(&tight, &caller, &around).is_subset(&effective(&wide, &caller, &around)));
    }

    #[test]
    fn pc_36_observing_records_what_it_lets_through_and_changes_nothing_else((snapshot, both) in worlds(), around in around(), token in scopes(5), is_agent: bool, tool in select(TOOLS.to_vec())) {
        let caller = principal(is_agent, token);
        let plain = decide(&snapshot, &caller, tool, &around);
        let watched = decide(&observed(&snapshot), &caller, tool, &around);
        let effective_now = effective(&snapshot, &caller, &around);
        prop_assert_eq!(&effective(&observed(&snapshot), &caller, &around), &effective_now, "the upstream is told no more");
        match watched {
            Decision::Permit(permit) => match permit.observed() {
                None => prop_assert_eq!(Decision::Permit(permit), plain),
                Some(refused) => {
                    prop_assert!(!effective_now.is_empty(), "nothing at all stays nothing");
                    let refused = match refused.clone() {
                        Refused::StepUp(shortfall) => Decision::StepUp(shortfall),
                        Refused::Never(never) => Decision::Never(never),
                    };
                    prop_assert_eq!(refused, plain);
                    let needs = needs(&snapshot, tool).unwrap_or_else(|| (0..SCOPES).map(scope).collect());
                    prop_assert!(!both.iter().any(|forbid| forbids(forbid, &snapshot, (is_agent, &around), (tool, &needs))));
                }
            },
            Decision::StepUp(_) | Decision::Never(_) => prop_assert!(!is_permit(&plain)),
        }
    }

    #[test]
    fn pc_23_a_token_with_the_challenged_scopes_is_let_in_under_the_same_circumstances((snapshot, _) in worlds(), around in around(), token in scopes(5), is_agent: bool, tool in select(TOOLS.to_vec())) {
        let policy = Policy::compile(&snapshot).unwrap();
        let server = policy.server("notes").unwrap();
        let Decision::StepUp(shortfall) = decide(&snapshot, &principal(is_agent, token), tool, &around) else { return Ok(()) };
        let (roles, client) = (["engineers".to_owned()], "cli_agent".parse().unwrap());
        let asker = if is_agent { Asker::Agent(&client) } else { Asker::User { client: &client, roles: &roles } };
        let issued = around.with(|circumstances| {
            let issued = server.issue(asker, Some(&shortfall.needs), circumstances.now).unwrap();
            server.in_force(asker, &issued, circumstances).unwrap()
        });
        prop_assert_eq!(&issued, &shortfall.needs);
        prop_assert!(is_permit(&decide(&snapshot, &principal(is_agent, issued), tool, &around)));
    }

    #[test]
    fn pc_24_what_is_issued_is_in_force((snapshot, _) in worlds(), around in around(), asked in scopes(5), is_agent: bool) {
        let policy = Policy::compile(&snapshot).unwrap();
        let server = policy.server("notes").unwrap();
        let (roles, client) = (["engineers".to_owned()], "cli_agent".parse().unwrap());
        let asker = if is_agent { Asker::Agent(&client) } else { Asker::User { client: &client, roles: &roles } };
        let issued = around.with(|circumstances| {
            let issued = server.issue(asker, Some(&asked), circumstances.now).ok()?;
            server.in_force(asker, &issued, circumstances).ok()
        });
        if let Some(issued) = issued {
            prop_assert!(!issued.is_empty() && issued.is_subset(&closure(&snapshot, &asked)));
            prop_assert!(issued.is_subset(&effective(&snapshot, &principal(is_agent, issued.clone()), &around)));
        }
    }

    #[test]
    fn pc_21_a_registered_client_is_a_ceiling_of_its_own((snapshot, _) in worlds(), own in scopes(4), disabled: bool, around in around(), token in scopes(5), tool in select(TOOLS.to_vec())) {
        let mut snapshot = snapshot;
        snapshot.clients = vec![Client { disabled, ..client(&snapshot, own.clone()) }];
        let caller = principal(false, token.clone());
        let role = closure(&snapshot, &snapshot.roles[0].access[&snapshot.servers[0].name]);
        let most = if disabled { ScopeSet::default() } else { closure(&snapshot, &own).intersection(&role) };
        prop_assert!(effective(&snapshot, &caller, &around).is_subset(&closure(&snapshot, &token).intersection(&most)));
        if is_permit(&decide(&snapshot, &caller, tool, &around)) {
            prop_assert!(needs(&snapshot, tool).unwrap().is_subset(&most));
        }
    }
}

#[test]
fn pc_36_observing_opens_nothing_to_whom_nothing_is_open_and_no_unknown_method() {
    let snapshot = observed(&crate::snapshot::tests::snapshot());
    let day = Around { is_day: true, from_office: None, path: None };
    let refused = |caller: &Principal, operation: Operation<'_>, snapshot: &Snapshot| {
        let policy = Policy::compile(snapshot).unwrap();
        day.with(|circumstances| {
            !is_permit(&policy.server("notes").unwrap().decide(caller, operation, circumstances))
        })
    };
    let reader = principal(true, "notes:read".parse().unwrap());
    assert!(!refused(&reader, Operation::Tool("create_note"), &snapshot), "that is what observing is");
    assert!(!refused(&reader, Operation::Tool("no_rule_at_all"), &snapshot));
    assert!(refused(&reader, Operation::Unknown, &snapshot));
    let nobody = principal(true, ScopeSet::default());
    for operation in [Operation::Connect, Operation::Tool("list_notes"), Operation::Tool("no_rule_at_all")] {
        assert!(refused(&nobody, operation, &snapshot), "{operation:?}");
    }
    let mut ended = snapshot;
    ended.agents[0].disabled = true;
    for operation in [Operation::Connect, Operation::Tool("list_notes"), Operation::Tool("create_note")] {
        assert!(refused(&reader, operation, &ended), "{operation:?}");
    }
}

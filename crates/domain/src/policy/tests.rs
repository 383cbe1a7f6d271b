//! The decision by example; `laws` has it in general.

use super::*;
use crate::id::{SessionId, TokenId, UserId};
use crate::snapshot::tests::snapshot;

const NOW: Timestamp = Timestamp::from_seconds(100);
const HERE: Circumstances<'_> = Circumstances::at(NOW);

fn principal(subject: Subject, scopes: &str, roles: &[&str]) -> Principal {
    Principal {
        subject,
        client_id: "cli_agent".parse().unwrap(),
        session: SessionId::from_bytes([1; 16]),
        token: TokenId::from_bytes([1; 16]),
        scopes: scopes.parse().unwrap(),
        roles: roles.iter().map(ToString::to_string).collect(),
        issued_at: Timestamp::from_seconds(0),
        expires_at: Timestamp::from_seconds(900),
    }
}

fn agent(scopes: &str) -> Principal {
    principal(Subject::Agent("cli_agent".parse().unwrap()), scopes, &[])
}

fn user(scopes: &str) -> Principal {
    principal(Subject::User(UserId::from_bytes([1; 16])), scopes, &["engineers"])
}

fn policy() -> Policy {
    Policy::compile(&snapshot()).unwrap()
}

#[test]
fn pc_07_no_rule_means_no_call() {
    let policy = policy();
    let notes = policy.server("notes").unwrap();
    for name in ["other", "List_notes", "list_notes ", "", "list_notes/../create_note"] {
        assert_eq!(
            notes.decide(&user("notes:read notes:write"), Operation::Tool(name), &HERE),
            Decision::Never(Never::NoRule),
            "{name:?}"
        );
    }
    assert_eq!(notes.decide(&user("notes:read"), Operation::Unknown, &HERE), Decision::Never(Never::NoRule));
    assert_eq!(
        notes.decide(&user("notes:read"), Operation::Prompt("list_notes"), &HERE),
        Decision::Never(Never::NoRule),
        "a rule for tools says nothing of prompts"
    );
    assert_eq!(notes.decide(&user(""), Operation::Connect, &HERE), Decision::Never(Never::NothingLeft));
}

#[test]
fn pc_20_a_read_scope_does_not_write_and_implies_only_as_configured() {
    let policy = policy();
    let notes = policy.server("notes").unwrap();
    assert!(matches!(
        notes.decide(&agent("notes:read"), Operation::Tool("list_notes"), &HERE),
        Decision::Permit(_)
    ));
    assert!(
        matches!(
            notes.decide(&user("notes:write"), Operation::Tool("list_notes"), &HERE),
            Decision::Permit(_)
        ),
        "write implies read"
    );
    for scopes in ["NOTES:READ", "notes:rea", "notes:*", "*", "notes:readx"] {
        assert!(
            !matches!(notes.decide(&user(scopes), Operation::Tool("list_notes"), &HERE), Decision::Permit(_)),
            "SCOPE-11: {scopes}"
        );
    }
}

#[test]
fn pc_23_step_up_where_asking_helps_and_never_beyond_the_ceiling() {
    let policy = policy();
    let notes = policy.server("notes").unwrap();
    let Decision::StepUp(shortfall) =
        notes.decide(&user("notes:read"), Operation::Tool("create_note"), &HERE)
    else {
        panic!("a person may ask")
    };
    assert_eq!(shortfall.needs.to_string(), "notes:write");
    let Decision::Never(Never::BeyondAgent(shortfall)) =
        notes.decide(&agent("notes:read"), Operation::Tool("create_note"), &HERE)
    else {
        panic!("the agent may not")
    };
    assert_eq!(shortfall.needs.to_string(), "notes:write");
}

#[test]
fn pc_21_tightening_acts_at_once() {
    let mut tightened = snapshot();
    tightened.agents[0].access.clear();
    let policy = Policy::compile(&tightened).unwrap();
    let decision =
        policy.server("notes").unwrap().decide(&agent("notes:read"), Operation::Tool("list_notes"), &HERE);
    assert!(matches!(decision, Decision::Never(Never::BeyondAgent(_))));
    assert!(matches!(
        policy.server("notes").unwrap().decide(&agent("notes:read"), Operation::Connect, &HERE),
        Decision::Never(Never::NothingLeft)
    ));
}

#[test]
fn pc_22_lists_show_what_can_be_called_or_consented_to() {
    let policy = policy();
    let notes = policy.server("notes").unwrap();
    assert!(notes.shows(&user("notes:read"), Operation::Tool("create_note"), &HERE));
    assert!(!notes.shows(&agent("notes:read"), Operation::Tool("create_note"), &HERE));
    assert!(!notes.shows(&user("notes:read"), Operation::Tool("unknown"), &HERE));
}

#[test]
fn pc_1a_issue_cuts_to_the_ceiling_and_refuses_the_undeclared() {
    let policy = policy();
    let notes = policy.server("notes").unwrap();
    let client = "cli_agent".parse().unwrap();
    let issue = |asked: Option<&str>| {
        notes
            .issue(Asker::Agent(&client), asked.map(|text| text.parse().unwrap()).as_ref(), NOW)
            .map(|scopes| scopes.to_string())
    };
    assert_eq!(issue(None), Ok("notes:read".into()));
    assert_eq!(issue(Some("notes:read notes:write offline_access")), Ok("notes:read".into()));
    assert_eq!(issue(Some("notes:write")), Err(IssueRefusal::NothingLeft));
    assert_eq!(issue(Some("ops:read")), Err(IssueRefusal::Undeclared));
    let stranger = "cli_other".parse().unwrap();
    assert_eq!(notes.issue(Asker::Agent(&stranger), None, NOW), Err(IssueRefusal::NothingLeft));
    assert_eq!(
        notes.issue(Asker::User { client: &stranger, roles: &[] }, None, NOW),
        Err(IssueRefusal::NothingLeft),
        "SCOPE-08: no role, no scope"
    );
}

#[test]
fn patterns_are_literal_but_for_the_star() {
    let matches = |pattern: &str, name: &str| glob(pattern).unwrap().compile_matcher().is_match(name);
    assert!(
        matches("read_*", "read_note")
            && matches("a[b]{c}?", "a[b]{c}?")
            && matches("note://*", "note://a/b")
    );
    assert!(!matches("a?", "ab") && !matches("read_*", "Read_note") && !matches("{a,b}", "a"));
}

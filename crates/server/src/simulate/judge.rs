//! One recorded call, decided again by one fleet.

use crate::app::App;
use crate::calls::Call;
use crate::fault::Fault;
use portcullis_domain::condition::{Circumstances, Forbid};
use portcullis_domain::id::{SessionId, TokenId, UserId};
use portcullis_domain::policy::{Decision, Never, Operation, Policy, UnusableSnapshot};
use portcullis_domain::principal::{Principal, Subject};
use portcullis_domain::registry::{Name, Role};
use portcullis_domain::snapshot::Snapshot;
use portcullis_oauth::client::ClientId;
use portcullis_oauth::scope::ScopeSet;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;

/// The record cuts longer names.
const LONGEST_NAME: usize = 200;

/// Reasons of refusals that a fleet decides about.
const OF_THE_FLEET: [&str; 7] = [
    "beyond_agent",
    "beyond_user",
    "forbidden",
    "insufficient_scope",
    "no_rule",
    "nothing_left",
    "unclear_uri",
];

/// Whether it was refused for what is no matter of the fleet.
pub(super) fn is_other(call: &Call) -> bool {
    call.is_refused() && !call.reason.as_deref().is_some_and(|reason| OF_THE_FLEET.contains(&reason))
}

/// What a fleet decides about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes through.
    Allowed,
    /// The token of the call lacks these scopes; the caller may have them.
    NeedsScope(ScopeSet),
    /// Asking again cannot help, in words.
    Refused(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed => formatter.write_str("allowed"),
            Self::NeedsScope(scopes) => write!(formatter, "the token lacks {scopes}"),
            Self::Refused(why) => formatter.write_str(why),
        }
    }
}

/// Why it cannot be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknowable {
    /// The caller or the server is not there today.
    Gone,
    /// It hangs on what was not recorded.
    Undecidable,
}

/// Who there is today.
pub(crate) struct Facts {
    agents: HashMap<ClientId, Name>,
    users: HashMap<UserId, (String, Vec<String>)>,
    servers: HashSet<String>,
}

/// What is known of the caller of one call.
#[derive(Debug)]
pub(crate) struct Known {
    /// In words.
    pub(crate) who: String,
    pub(crate) principal: Principal,
    /// Name and groups of a person: which roles they have is for each fleet to say.
    person: Option<(String, Vec<String>)>,
}

impl Facts {
    pub(crate) async fn read(app: &App) -> Result<Self, Fault> {
        let today = app.current.load_full();
        let users = app.store.read().await?.reader().users().await?;
        let agents = today.snapshot.agents.iter();
        Ok(Self {
            agents: agents.map(|agent| (agent.client_id.clone(), agent.name.clone())).collect(),
            users: users
                .into_iter()
                .filter(|user| !user.disabled)
                .map(|user| (user.id, (user.username, user.groups)))
                .collect(),
            servers: today.snapshot.servers.iter().map(|server| server.id.to_string()).collect(),
        })
    }

    /// The caller of a call.
    pub(super) fn of(&self, call: &Call) -> Result<Known, Unknowable> {
        self.known(call).filter(|_| self.servers.contains(&call.server)).ok_or(Unknowable::Gone)
    }

    /// The same, whatever became of the server.
    pub(crate) fn known(&self, call: &Call) -> Option<Known> {
        let client_id: ClientId = call.client.parse().ok()?;
        let (subject, who, person) = match call.subject.parse::<UserId>() {
            Ok(user) => {
                let person = self.users.get(&user)?;
                (Subject::User(user), format!("user {}", person.0), Some(person.clone()))
            }
            Err(_) if call.subject.contains('|') => {
                let (issuer, subject) = call.subject.split_once('|')?;
                let issuer = issuer.parse().ok()?;
                let who = format!("{subject} of issuer {issuer}");
                (Subject::External { issuer, subject: subject.to_owned() }, who, None)
            }
            Err(_) if call.subject == call.client => {
                let name = self.agents.get(&client_id)?;
                (Subject::Agent(client_id.clone()), format!("agent {name}"), None)
            }
            Err(_) => return None,
        };
        let principal = Principal {
            subject,
            client_id,
            session: call.session.parse().unwrap_or(SessionId::from_bytes([0; 16])),
            token: call.token.parse().unwrap_or(TokenId::from_bytes([0; 16])),
            scopes: call.granted.clone(),
            roles: call.roles.clone(),
            issued_at: call.at,
            expires_at: call.at,
        };
        Some(Known { who, principal, person })
    }
}

/// The one decision of one fleet, asked so that what is not known shows itself: what is unknown forbids in `strict`, and
/// conditions on it are left out of the others. Where they agree, it does not matter.
pub(super) struct Judges {
    strict: Policy,
    /// `None` where no condition asks for it.
    without_arguments: Option<Policy>,
    without_either: Option<Policy>,
    /// What says who has which role, and the conditions.
    roles: Vec<Role>,
    forbids: Vec<Forbid>,
    labels: HashMap<ClientId, Vec<String>>,
}

/// What is decided if everything unknown forbids, and if nothing of it does.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) strict: Verdict,
    pub(super) lenient: Verdict,
}

impl Judged {
    /// The verdict, if the unknown does not matter.
    pub(super) fn known(self) -> Option<Verdict> {
        is_alike(&self.strict, &self.lenient).then_some(self.strict)
    }

    /// Whether both are the same, whatever the unknown is.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        is_alike(&self.strict, &other.strict) && is_alike(&self.lenient, &other.lenient)
    }
}

/// Whether the call goes through, or could with another token, or not.
fn is_alike(one: &Verdict, other: &Verdict) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}

impl Judges {
    pub(super) fn of(snapshot: &Snapshot) -> Result<Self, UnusableSnapshot> {
        let without = |asks: fn(&Forbid) -> bool| {
            if !snapshot.forbids.iter().any(asks) {
                return Ok(None);
            }
            let mut less = snapshot.clone();
            less.forbids.retain(|forbid| !asks(forbid));
            Policy::compile(&less).map(Some)
        };
        Ok(Self {
            strict: Policy::compile(snapshot)?,
            without_arguments: without(|forbid| forbid.when.asks_for_arguments())?,
            without_either: without(|forbid| {
                forbid.when.asks_for_arguments() || forbid.when.asks_for_address()
            })?,
            roles: snapshot.roles.clone(),
            forbids: snapshot.forbids.clone(),
            labels: snapshot
                .agents
                .iter()
                .map(|agent| (agent.client_id.clone(), agent.labels.clone()))
                .collect(),
        })
    }

    /// Whether conditions on what is not recorded mean the same for a call in both.
    pub(super) fn asks_the_same_as(&self, other: &Self, call: &Call, known: &Known) -> bool {
        let server =
            |judges: &Self| judges.strict.server(&call.server_name).map(|server| server.server().clone());
        let client = &known.principal.client_id;
        self.forbids == other.forbids
            && self.labels.get(client) == other.labels.get(client)
            && server(self) == server(other)
    }

    pub(super) fn judge(&self, call: &Call, known: &Known) -> Result<Judged, Unknowable> {
        let operation = operation(call)?;
        let address: Option<IpAddr> = call.address.as_deref().and_then(|text| text.parse().ok());
        let circumstances = Circumstances { now: call.at, address, arguments: None };
        let principal = self.today(known);
        let by = |policy: &Policy| verdict(policy, call, (&principal, operation), &circumstances);
        let lenient = if address.is_some() { &self.without_arguments } else { &self.without_either };
        let strict = by(&self.strict);
        let lenient = lenient.as_ref().map_or_else(|| strict.clone(), by);
        Ok(Judged { strict, lenient })
    }

    /// The caller with the roles that this fleet gives: of those that the token named, and that are still theirs.
    fn today(&self, known: &Known) -> Principal {
        let mut principal = known.principal.clone();
        if let Some((username, groups)) = &known.person {
            let has = |role: &String| {
                let mut roles = self.roles.iter().filter(|known| known.name.as_str() == role);
                roles.any(|role| role.members.include(username, groups))
            };
            let builtin = |role: &String| !self.roles.iter().any(|known| known.name.as_str() == role);
            principal.roles.retain(|role| has(role) || builtin(role));
            let gained = self.roles.iter().filter(|role| role.members.include(username, groups));
            for role in gained.map(|role| role.name.to_string()) {
                if !principal.roles.contains(&role) {
                    principal.roles.push(role);
                }
            }
        }
        principal
    }
}

fn operation(call: &Call) -> Result<Operation<'_>, Unknowable> {
    let whole = |name: &str| name.chars().count() < LONGEST_NAME;
    match (call.object_kind.as_deref(), call.object.as_deref()) {
        (Some(_), Some(name)) if !whole(name) => Err(Unknowable::Undecidable),
        (Some("tool"), Some(name)) => Ok(Operation::Tool(name)),
        (Some("prompt"), Some(name)) => Ok(Operation::Prompt(name)),
        (Some("method"), Some(name)) => Ok(Operation::Method(name)),
        (Some("resource"), Some(uri)) => Ok(Operation::Resource(uri)),
        (None, None) => Ok(Operation::Connect),
        // Several resources, or a record of another version.
        _ => Err(Unknowable::Undecidable),
    }
}

fn verdict(
    policy: &Policy,
    call: &Call,
    (principal, operation): (&Principal, Operation<'_>),
    circumstances: &Circumstances<'_>,
) -> Verdict {
    // A name that changes hands is another server.
    let named = policy.server(&call.server_name);
    let server = named.filter(|server| server.server().id.to_string() == call.server);
    let Some(server) = server else {
        return Verdict::Refused(format!("the server {} is gone", call.server_name));
    };
    let rule = server.needs(operation).map(|(rule, needs)| match rule {
        portcullis_domain::policy::RuleRef::Rule(number) => format!("rule {number} needs {needs}"),
        portcullis_domain::policy::RuleRef::Connect | portcullis_domain::policy::RuleRef::None => {
            format!("needs {needs}")
        }
    });
    let rule = rule.unwrap_or_default();
    match server.decide(principal, operation, circumstances) {
        Decision::Permit(_) => Verdict::Allowed,
        Decision::StepUp(shortfall) => Verdict::NeedsScope(shortfall.missing),
        Decision::Never(never) => Verdict::Refused(match never {
            Never::BeyondAgent(_) => format!("{rule}, which is beyond the agent's access"),
            Never::BeyondIssuer(_) => format!("{rule}, which is beyond what tokens of the issuer may do"),
            Never::BeyondUser(_) => format!("{rule}, which is beyond their roles or their client"),
            Never::Forbidden(forbidden) => forbidden.to_string(),
            Never::NothingLeft => "nothing on this server is open to them".to_owned(),
            Never::NoRule => "no rule is about it".to_owned(),
            Never::Unclear(unclear) => unclear.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::planned;
    use super::*;
    use portcullis_domain::fleet::{Fleet, Surroundings};
    use portcullis_oauth::jwk::JwkSet;
    use portcullis_oauth::time::Timestamp;
    use rand::SeedableRng as _;
    use std::collections::{BTreeMap, BTreeSet};

    const FLEET: &str = r#"
[[server]]
name = "notes"
upstream = { url = "http://127.0.0.1:9/mcp" }
[server.scopes]
"notes:read" = "Read"
"notes:write" = "Write"
[[server.rule]]
tools = ["list_notes"]
scopes = ["notes:read"]
[[agent]]
name = "bot"
owner = "us"
access = { notes = ["notes:read", "notes:write"] }
"#;

    const BY_ARGUMENT: &str = r#"
[[forbid]]
name = "elsewhere"
tools = ["list_notes"]
when = { argument_outside = { folder = "/ours" } }
"#;

    fn snapshot(before: Option<&Snapshot>, text: &str) -> Snapshot {
        let (issuer, commands) = ("https://as.test".parse().unwrap(), BTreeSet::new());
        let fleet = Fleet::parse(text, Surroundings { issuer: &issuer, commands: &commands }).unwrap();
        let empty = Snapshot {
            number: 1,
            issuer,
            keys: JwkSet::default(),
            leeway_seconds: 30,
            max_life_seconds: 3600,
            servers: vec![],
            agents: vec![],
            clients: vec![],
            roles: vec![],
            self_registered: BTreeMap::default(),
            forbids: vec![],
            pins: BTreeMap::default(),
        };
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        planned::snapshot(before.unwrap_or(&empty), &fleet, Timestamp::from_seconds(1000), &mut rng)
    }

    fn facts(today: &Snapshot) -> Facts {
        Facts {
            agents: today.agents.iter().map(|agent| (agent.client_id.clone(), agent.name.clone())).collect(),
            users: HashMap::new(),
            servers: today.servers.iter().map(|server| server.id.to_string()).collect(),
        }
    }

    fn call(today: &Snapshot, tool: &str) -> Call {
        let client = today.agents[0].client_id.as_str();
        serde_json::from_value(serde_json::json!({
            "at": 1000, "call": "c", "outcome": "allowed", "subject": client, "client": client, "session": "s", "token": "t",
            "server": today.servers[0].id.to_string(), "server_name": "notes", "method": "tools/call", "object": tool,
            "object_kind": "tool", "granted": "notes:read",
        }))
        .unwrap()
    }

    /// What the fleets decide about a call of `list_notes`, and whether the unknown means the same in both.
    fn both(before: &str, after: &str) -> (Judged, Judged, bool) {
        let today = snapshot(None, before);
        let planned = snapshot(Some(&today), after);
        let call = call(&today, "list_notes");
        let known = facts(&today).of(&call).unwrap();
        let (before, after) = (Judges::of(&today).unwrap(), Judges::of(&planned).unwrap());
        let same = before.asks_the_same_as(&after, &call, &known);
        (before.judge(&call, &known).unwrap(), after.judge(&call, &known).unwrap(), same)
    }

    #[test]
    fn pc_26_a_recorded_call_is_decided_as_the_gateway_would() {
        let (before, after, same) = both(
            FLEET,
            &FLEET.replace("scopes = [\"notes:read\"]\n[[agent", "scopes = [\"notes:write\"]\n[[agent"),
        );
        assert_eq!(before.known(), Some(Verdict::Allowed));
        assert_eq!(after.known(), Some(Verdict::NeedsScope("notes:write".parse().unwrap())));
        assert!(!same);
        let (_, after, _) = both(FLEET, &FLEET.replace("[\"notes:read\", \"notes:write\"]", "[]"));
        assert!(matches!(after.known(), Some(Verdict::Refused(_))));
    }

    #[test]
    fn pc_26_what_hangs_on_arguments_that_were_not_recorded_is_not_guessed() {
        let forbidden = format!("{FLEET}{BY_ARGUMENT}");
        let (before, after, same) = both(FLEET, &forbidden);
        assert!(!before.is_like(&after) && !same);
        assert_eq!(before.known(), Some(Verdict::Allowed));
        assert_eq!(after.known(), None, "it depends");
        let (before, after, same) = both(&forbidden, &forbidden);
        assert!(before.is_like(&after) && same, "whatever it was, it stays");
    }

    #[test]
    fn pc_26_who_is_gone_and_what_was_cut_is_counted_apart() {
        let today = snapshot(None, FLEET);
        let mut gone = call(&today, "list_notes");
        gone.server = "srv_00000000000000000000000000000000".to_owned();
        assert_eq!(facts(&today).of(&gone).err(), Some(Unknowable::Gone));
        let mut gone = call(&today, "list_notes");
        (gone.client, gone.subject) = ("cli_other".to_owned(), "cli_other".to_owned());
        assert_eq!(facts(&today).of(&gone).err(), Some(Unknowable::Gone));
        let cut = call(&today, &"x".repeat(LONGEST_NAME));
        let known = facts(&today).of(&cut).unwrap();
        assert_eq!(Judges::of(&today).unwrap().judge(&cut, &known).err(), Some(Unknowable::Undecidable));
        let mut several = call(&today, "file:///a");
        several.object_kind = Some("resources".to_owned());
        assert_eq!(Judges::of(&today).unwrap().judge(&several, &known).err(), Some(Unknowable::Undecidable));
    }
}

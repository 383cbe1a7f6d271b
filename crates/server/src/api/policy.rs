//! `policy explain`: what the one decision would be for somebody whose token carries all that can be had.

use super::error::Refusal;
use super::input::{BadInput, Input, Missing};
use super::names;
use super::operator::{Operator, Reads};
use crate::app::{App, Current};
use crate::fault::Fault;
use crate::issuer::today::roles_of;
use axum::Json;
use axum::extract::State;
use portcullis_domain::condition::{Arguments, Circumstances, is_other_spelling};
use portcullis_domain::id::{SessionId, TokenId, UserId};
use portcullis_domain::policy::{Decision, Never, Operation, Refused, RuleRef, ServerPolicy};
use portcullis_domain::principal::{Principal, Subject};
use portcullis_domain::registry::{Access, Client, Server};
use portcullis_oauth::client::ClientId;
use portcullis_oauth::scope::{Scope, ScopeSet};
use portcullis_oauth::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Who: `agent`, `user` (through a client that registered itself), `user` and `client`, or `client` alone (for somebody with
/// every role). What: exactly one of `tool`, `prompt`, `resource` and `method`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    agent: Option<String>,
    user: Option<String>,
    /// A client that the fleet file names.
    client: Option<String>,
    server: String,
    tool: Option<String>,
    prompt: Option<String>,
    resource: Option<String>,
    /// One that MCP itself has no meaning for.
    method: Option<String>,
    /// When, by RFC 3339; now, if it is left out.
    at: Option<String>,
    /// From where; not known, if it is left out.
    address: Option<String>,
    /// Arguments of the call; what depends on them is said, if they are left out.
    arguments: Option<BTreeMap<String, Value>>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Explanation {
    /// Whether a token can be had that opens it.
    allowed: bool,
    /// The first `[[server.rule]]` that is about it, counted from 1.
    rule: Option<usize>,
    /// Scopes that all such rules need together.
    #[schemars(with = "Vec<String>")]
    needs: Vec<Scope>,
    /// The most that they can ever have on this server, implied scopes included.
    #[schemars(with = "Vec<String>")]
    ceiling: Vec<Scope>,
    /// The `[[forbid]]` that stands against it.
    condition: Option<String>,
    /// Every `[[forbid]]` that decides by the arguments, where none were given and nothing else stands against it.
    depends_on: Vec<String>,
    /// Whether it goes through, and is recorded, only because the server is observed.
    observed: bool,
    /// The same for people.
    says: String,
}

/// Who is asked about.
struct Asked {
    /// `agent "x"`
    words: String,
    principal: Principal,
    /// Nothing is issued to them at all.
    disabled: bool,
    /// The fleet gives them something on the server.
    has_access: bool,
}

/// `POST /api/v1/policy/explain`
pub(super) async fn explain(
    operator: Operator<Reads>,
    State(app): State<Arc<App>>,
    Input(question): Input<Question>,
) -> Result<Json<Explanation>, Refusal> {
    let operation = question.operation()?;
    let place = question.place(app.clock.now())?;
    // What is committed, not what this node has heard of.
    app.catch_up().await;
    let current = app.current.load_full();
    let server =
        current.policy.server(&question.server).ok_or_else(|| Missing::Server(question.server.clone()))?;
    operator.touches(&server.server().name)?;
    let asked = question.asked(&app, (&current, server.server()), place.now).await;
    let asked =
        if operator.everywhere().is_ok() { asked? } else { question.seen_from_here(asked, place.now)? };
    Ok(Json(answer(server, &asked, operation, &place)))
}

impl Question {
    fn operation(&self) -> Result<Operation<'_>, BadInput> {
        match (&self.tool, &self.prompt, &self.resource, &self.method) {
            (Some(name), None, None, None) => Ok(Operation::Tool(name)),
            (None, Some(name), None, None) => Ok(Operation::Prompt(name)),
            (None, None, Some(uri), None) => Ok(Operation::Resource(uri)),
            (None, None, None, Some(name)) => Ok(Operation::Method(name)),
            _ => {
                let says = "exactly one of tool, prompt, resource and method is needed";
                Err(BadInput::Malformed(says.to_owned()))
            }
        }
    }

    /// Under which circumstances.
    fn place(&self, now: Timestamp) -> Result<Place<'_>, BadInput> {
        let at = self.at.as_deref().map(|text| {
            let moment = text.parse::<jiff::Timestamp>();
            let moment = moment.map(|moment| Timestamp::from_seconds(moment.as_second()));
            moment.map_err(|_| {
                BadInput::Malformed("at must be a moment, as 2026-11-20T23:00:00+01:00".to_owned())
            })
        });
        let address = self.address.as_deref().map(|text| {
            text.parse().map_err(|_| BadInput::Malformed("address must be an IP address".to_owned()))
        });
        let arguments = self.arguments.as_ref().map(Given);
        Ok(Place { now: at.transpose()?.unwrap_or(now), address: address.transpose()?, arguments })
    }

    /// ADM-02: whoever administers some servers only learns nothing of those who have nothing there; not that they exist, and
    /// not that they do not.
    fn seen_from_here(&self, asked: Result<Asked, Refusal>, now: Timestamp) -> Result<Asked, Refusal> {
        match asked {
            Ok(asked) if asked.has_access => Ok(asked),
            Ok(_) | Err(Refusal::Missing(_)) => {
                let nobody = names::nobody()?;
                let subject = match &self.agent {
                    Some(_) => Subject::Agent(nobody.clone()),
                    None => Subject::User(UserId::from_bytes([0; 16])),
                };
                let principal = principal(subject, nobody, Vec::new(), now);
                Ok(Asked { words: self.words(), principal, disabled: false, has_access: false })
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Whom the question is about, in the words of the answer.
    fn words(&self) -> String {
        match (&self.agent, &self.user, &self.client) {
            (Some(agent), _, _) => format!("agent {agent:?}"),
            (None, Some(user), None) => format!("user {user:?}"),
            (None, Some(user), Some(client)) => format!("user {user:?} through client {client:?}"),
            (None, None, client) => {
                let client = client.as_deref().unwrap_or_default();
                format!("somebody with every role through client {client:?}")
            }
        }
    }

    async fn asked(
        &self,
        app: &App,
        (current, server): (&Current, &Server),
        now: Timestamp,
    ) -> Result<Asked, Refusal> {
        let gives = |access: &Access| access.contains_key(&server.name);
        let words = self.words();
        let mut handle = app.store.read().await?;
        match (&self.agent, &self.user) {
            (Some(name), None) if self.client.is_none() => {
                let mut agents = current.snapshot.agents.iter();
                let agent = agents.find(|agent| agent.name.as_str() == name.as_str());
                let agent = agent.ok_or_else(|| Missing::Agent(name.clone()))?;
                let client = handle.reader().client(&agent.client_id, now).await?;
                let subject = Subject::Agent(agent.client_id.clone());
                Ok(Asked {
                    words,
                    principal: principal(subject, agent.client_id.clone(), Vec::new(), now),
                    disabled: agent.has_ended(now) || client.is_none_or(|client| client.disabled),
                    has_access: gives(&agent.access),
                })
            }
            (None, Some(name)) => {
                let user = handle.reader().user_by_name(name).await?;
                let user = user.ok_or_else(|| Missing::User(name.clone()))?;
                let client = self.registered(current)?;
                let subject = Subject::User(user.id);
                let roles = roles_of(&user, current);
                let theirs =
                    current.snapshot.roles.iter().filter(|role| roles.contains(&role.name.to_string()));
                let has_role = theirs.map(|role| &role.access).any(gives);
                Ok(Asked {
                    words,
                    principal: principal(subject, client_id(client)?, roles, now),
                    disabled: user.disabled || client.is_some_and(|client| client.disabled),
                    has_access: has_role && client.is_none_or(|client| gives(&client.access)),
                })
            }
            (None, None) if self.client.is_some() => {
                let client = self.registered(current)?;
                let roles = current.snapshot.roles.iter().map(|role| role.name.to_string()).collect();
                let subject = Subject::User(UserId::from_bytes([0; 16]));
                Ok(Asked {
                    words,
                    principal: principal(subject, client_id(client)?, roles, now),
                    disabled: client.is_some_and(|client| client.disabled),
                    has_access: client.is_some_and(|client| gives(&client.access)),
                })
            }
            _ => {
                Err(BadInput::Malformed("agent, user, client, or user and client are needed".to_owned())
                    .into())
            }
        }
    }

    fn registered<'c>(&self, current: &'c Current) -> Result<Option<&'c Client>, Missing> {
        let Some(name) = &self.client else {
            return Ok(None);
        };
        let mut clients = current.snapshot.clients.iter();
        let found = clients.find(|client| client.name.as_str() == name.as_str());
        let missing = || Missing::Named { what: "client", name: name.clone(), near: None };
        found.ok_or_else(missing).map(Some)
    }
}

/// The arguments of a question.
struct Given<'a>(&'a BTreeMap<String, Value>);

impl Arguments for Given<'_> {
    fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        if self.0.keys().any(|other| is_other_spelling(other, name)) {
            return None;
        }
        self.0.get(name)?.as_str().map(Cow::Borrowed)
    }
}

/// Under which circumstances is asked.
struct Place<'a> {
    now: Timestamp,
    address: Option<IpAddr>,
    arguments: Option<Given<'a>>,
}

impl Place<'_> {
    fn circumstances(&self) -> Circumstances<'_> {
        let arguments = self.arguments.as_ref().map(|given| given as &dyn Arguments);
        Circumstances { now: self.now, address: self.address, arguments }
    }
}

/// The client, or one that registered itself: none that the fleet file names has this id.
fn client_id(client: Option<&Client>) -> Result<ClientId, Fault> {
    match client {
        Some(client) => Ok(client.client_id.clone()),
        None => "self-registered".parse().map_err(|_| Fault::Shape("a client id")),
    }
}

/// Somebody without scopes yet. It never leaves this file: nothing is signed from it.
fn principal(subject: Subject, client_id: ClientId, roles: Vec<String>, now: Timestamp) -> Principal {
    Principal {
        subject,
        client_id,
        session: SessionId::from_bytes([0; 16]),
        token: TokenId::from_bytes([0; 16]),
        scopes: ScopeSet::default(),
        roles,
        issued_at: now,
        expires_at: now,
    }
}

fn answer(server: &ServerPolicy, asked: &Asked, operation: Operation<'_>, place: &Place<'_>) -> Explanation {
    let circumstances = place.circumstances();
    let ceiling = server.ceiling(&asked.principal, &circumstances);
    let holder = Principal { scopes: ceiling.clone(), ..asked.principal.clone() };
    let (rule, needs) = server.needs(operation).unzip();
    let rule = rule.and_then(|rule| match rule {
        RuleRef::Rule(number) => Some(number),
        RuleRef::Connect | RuleRef::None => None,
    });
    let needs = needs.unwrap_or_default();
    let decision = server.decide(&holder, operation, &circumstances);
    let depends_on = depends_on(server, &holder, operation, &circumstances);
    let is_open = matches!(decision, Decision::Permit(_)) && !asked.disabled;
    let verdict = if asked.disabled {
        "is disabled: nothing is issued to it, and nothing it holds counts".to_owned()
    } else if depends_on.is_empty() {
        verdict(&decision, &needs)
    } else {
        format!("may do this unless its arguments are forbidden by {}", quoted(&depends_on))
    };
    let by = rule.map(|number| format!(" (rule {number} of {})", server.server().name)).unwrap_or_default();
    let says = format!("{} {verdict}{by}", asked.words);
    let list = |scopes: &ScopeSet| scopes.iter().cloned().collect();
    Explanation {
        allowed: is_open,
        rule,
        needs: list(&needs),
        ceiling: list(&ceiling),
        condition: condition(&decision).filter(|_| depends_on.is_empty()),
        depends_on,
        observed: is_open && observed(&decision).is_some(),
        says,
    }
}

/// What only the arguments can settle, where none were given and nothing else stands against it.
fn depends_on(
    server: &ServerPolicy,
    holder: &Principal,
    operation: Operation<'_>,
    circumstances: &Circumstances<'_>,
) -> Vec<String> {
    if circumstances.arguments.is_some() || !server.shows(holder, operation, circumstances) {
        return Vec::new();
    }
    let waiting = server.waiting_for_arguments(holder, operation, circumstances);
    waiting.into_iter().map(|forbid| forbid.name.clone()).collect()
}

fn quoted(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    quoted.join(" or ")
}

fn condition(decision: &Decision) -> Option<String> {
    match decision {
        Decision::Never(Never::Forbidden(forbidden)) => Some(forbidden.by.clone()),
        Decision::Never(
            Never::BeyondAgent(_)
            | Never::BeyondIssuer(_)
            | Never::BeyondUser(_)
            | Never::NothingLeft
            | Never::NoRule
            | Never::Unclear(_),
        )
        | Decision::Permit(_)
        | Decision::StepUp(_) => None,
    }
}

fn observed(decision: &Decision) -> Option<&Refused> {
    match decision {
        Decision::Permit(permit) => permit.observed(),
        Decision::StepUp(_) | Decision::Never(_) => None,
    }
}

fn verdict(decision: &Decision, needs: &ScopeSet) -> String {
    match decision {
        Decision::Permit(permit) => match permit.observed() {
            None => format!("may do this with a token that carries {needs}"),
            Some(refused) => {
                let refused = match refused {
                    Refused::Never(never) => against(never),
                    Refused::StepUp(shortfall) => {
                        format!("may ask for {}, and then do this", shortfall.missing)
                    }
                };
                format!(
                    "goes through and is recorded, because the server is observed; otherwise it {refused}"
                )
            }
        },
        Decision::StepUp(shortfall) => format!("may ask for {}, and then do this", shortfall.missing),
        Decision::Never(never) => against(never),
    }
}

fn against(never: &Never) -> String {
    match never {
        Never::BeyondAgent(shortfall) => {
            format!("may not: {} is beyond its access in the fleet file", shortfall.missing)
        }
        Never::BeyondIssuer(shortfall) => {
            format!("may not: {} is beyond the access of its issuer in the fleet file", shortfall.missing)
        }
        Never::BeyondUser(shortfall) => format!(
            "may not: {} is beyond what their roles and the client's access ([self_registered] for one that registered itself) both allow",
            shortfall.missing
        ),
        Never::Forbidden(forbidden) => format!("may not now: {forbidden}"),
        Never::NothingLeft => "may not: nothing on this server is open to it".to_owned(),
        Never::NoRule => {
            "may not: no rule of this server is about it, and what no rule is about is refused".to_owned()
        }
        Never::Unclear(unclear) => format!("may not: {unclear}"),
    }
}

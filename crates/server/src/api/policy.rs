//! `policy explain`: what the one decision would be for somebody whose token carries all that can be had.

use super::error::Refusal;
use super::input::{BadInput, Input, Missing};
use super::operator::{Operator, Reads};
use crate::app::{App, Current};
use crate::issuer::today::roles_of;
use axum::Json;
use axum::extract::State;
use portcullis_domain::id::{SessionId, TokenId};
use portcullis_domain::policy::{Decision, Never, Operation, RuleRef, ServerPolicy};
use portcullis_domain::principal::{Principal, Subject};
use portcullis_oauth::client::ClientId;
use portcullis_oauth::scope::{Scope, ScopeSet};
use portcullis_oauth::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Exactly one of `agent` and `user`, and exactly one of `tool`, `prompt` and `resource`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    agent: Option<String>,
    user: Option<String>,
    server: String,
    tool: Option<String>,
    prompt: Option<String>,
    resource: Option<String>,
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
}

/// `POST /api/v1/policy/explain`
pub(super) async fn explain(
    operator: Operator<Reads>,
    State(app): State<Arc<App>>,
    Input(question): Input<Question>,
) -> Result<Json<Explanation>, Refusal> {
    let operation = question.operation()?;
    // What is committed, not what this node has heard of.
    app.catch_up().await;
    let current = app.current.load_full();
    let server =
        current.policy.server(&question.server).ok_or_else(|| Missing::Server(question.server.clone()))?;
    operator.touches(&server.server().name)?;
    let asked = question.asked(&app, &current).await?;
    Ok(Json(answer(server, &asked, operation)))
}

impl Question {
    fn operation(&self) -> Result<Operation<'_>, BadInput> {
        match (&self.tool, &self.prompt, &self.resource) {
            (Some(name), None, None) => Ok(Operation::Tool(name)),
            (None, Some(name), None) => Ok(Operation::Prompt(name)),
            (None, None, Some(uri)) => Ok(Operation::Resource(uri)),
            _ => Err(BadInput::Malformed("exactly one of tool, prompt and resource is needed".to_owned())),
        }
    }

    async fn asked(&self, app: &App, current: &Current) -> Result<Asked, Refusal> {
        let now = app.clock.now();
        let mut handle = app.store.read().await?;
        match (&self.agent, &self.user) {
            (Some(name), None) => {
                let mut agents = current.snapshot.agents.iter();
                let agent = agents.find(|agent| agent.name.as_str() == name.as_str());
                let agent = agent.ok_or_else(|| Missing::Agent(name.clone()))?;
                let client = handle.reader().client(&agent.client_id, now).await?;
                let subject = Subject::Agent(agent.client_id.clone());
                Ok(Asked {
                    words: format!("agent {name:?}"),
                    principal: principal(subject, agent.client_id.clone(), Vec::new(), now),
                    disabled: client.is_none_or(|client| client.disabled),
                })
            }
            (None, Some(name)) => {
                let user = handle.reader().user_by_name(name).await?;
                let user = user.ok_or_else(|| Missing::User(name.clone()))?;
                let client = user.id.to_string().parse();
                let client = client.map_err(|_| crate::fault::Fault::Shape("a user's id"))?;
                let roles = roles_of(&user, current);
                Ok(Asked {
                    words: format!("user {name:?}"),
                    principal: principal(Subject::User(user.id), client, roles, now),
                    disabled: user.disabled,
                })
            }
            _ => Err(BadInput::Malformed("exactly one of agent and user is needed".to_owned()).into()),
        }
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

fn answer(server: &ServerPolicy, asked: &Asked, operation: Operation<'_>) -> Explanation {
    let ceiling = server.ceiling(&asked.principal);
    let holder = Principal { scopes: ceiling.clone(), ..asked.principal.clone() };
    let (rule, needs) = server.needs(operation).unzip();
    let rule = rule.and_then(|rule| match rule {
        RuleRef::Rule(number) => Some(number),
        RuleRef::Connect => None,
    });
    let needs = needs.unwrap_or_default();
    let decision = server.decide(&holder, operation);
    let allowed = matches!(decision, Decision::Permit(_)) && !asked.disabled;
    let verdict = if asked.disabled {
        "is disabled: nothing is issued to it, and nothing it holds counts".to_owned()
    } else {
        verdict(&decision, &needs)
    };
    let by = rule.map(|number| format!(" (rule {number} of {})", server.server().name)).unwrap_or_default();
    let says = format!("{} {verdict}{by}", asked.words);
    let list = |scopes: &ScopeSet| scopes.iter().cloned().collect();
    Explanation { allowed, rule, needs: list(&needs), ceiling: list(&ceiling), says }
}

fn verdict(decision: &Decision, needs: &ScopeSet) -> String {
    match decision {
        Decision::Permit(_) => format!("may do this with a token that carries {needs}"),
        Decision::StepUp(shortfall) => format!("may ask for {}, and then do this", shortfall.missing),
        Decision::Never(Never::BeyondAgent(shortfall)) => {
            format!("may not: {} is beyond its access in the fleet file", shortfall.missing)
        }
        Decision::Never(Never::BeyondUser(shortfall)) => format!(
            "may not: {} is beyond what their roles and [self_registered] both allow",
            shortfall.missing
        ),
        Decision::Never(Never::NothingLeft) => "may not: nothing on this server is open to it".to_owned(),
        Decision::Never(Never::NoRule) => {
            "may not: no rule of this server is about it, and what no rule is about is refused".to_owned()
        }
    }
}

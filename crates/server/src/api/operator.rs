//! Who calls the admin API, and with which right.
//!
//! Taking an `Operator<R>` is the permission to do what `R` names: there is no other check of it behind. What remains for a
//! handler is to ask how far the operator reaches, since some administer their own servers only.

use super::door;
use super::error::Refusal;
use super::input::Missing;
use super::tag::{IfMatch, tag_of};
use crate::app::App;
use crate::once::Once;
use axum::Extension;
use axum::Router;
use axum::extract::FromRequestParts;
use http::request::Parts;
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_domain::principal::{Principal, Subject};
use portcullis_domain::registry::Name;
use portcullis_guard::challenge::Challenges;
use serde::Serialize;
use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::sync::Arc;

/// Somebody who may do what `R` names.
#[derive(Clone, Debug)]
pub(crate) struct Operator<R> {
    identity: Arc<Identity>,
    reach: Reach,
    if_match: IfMatch,
    once: Once,
    right: PhantomData<fn() -> R>,
}

/// What [`admit`] leaves in a request. No request brings one along: extensions do not travel.
#[derive(Clone)]
pub(super) struct Admitted(pub(super) Arc<Identity>);

/// Who it is, and all that they may do.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) who: Who,
    /// What they may do everywhere.
    pub(super) everywhere: BTreeSet<RightName>,
    /// What they may do on their own servers. Apart: an auditor of everything who owns one server writes to that one only.
    pub(super) on_own_servers: BTreeSet<RightName>,
    pub(super) own_servers: BTreeSet<Name>,
    /// How they are told what their token lacks.
    pub(super) challenges: Option<Challenges>,
}

/// Who asked for a change, and with which power: for what is recorded, and for what not everybody may do.
#[derive(Clone, Debug)]
pub struct By(Arc<Identity>);

/// Who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// A process of this machine that runs as the user who serves, or as root.
    Local {
        /// Its user.
        uid: u32,
    },
    /// The holder of an access token.
    Token {
        /// Whose, as the token says.
        principal: Box<Principal>,
        /// The user name of a person.
        name: Option<String>,
    },
}

/// How far an operator reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Everything of this deployment.
    Everything,
    /// These servers, and nothing that belongs to no server.
    Servers(BTreeSet<Name>),
}

/// What a handler is for, as a type.
pub(crate) trait Right: Send + Sync + 'static {
    /// The same, as a value.
    const NAME: RightName;
}

/// What a handler is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RightName {
    /// Read what was recorded: `audit:read`.
    Audits,
    /// What only owners do: widen access to this very API, name administrators, end everything.
    Owns,
    /// Look: `admin:read`.
    Reads,
    /// Change: `admin:write`.
    Writes,
}

impl RightName {
    /// What is missing when it is missing.
    pub(super) fn wanted(self) -> &'static str {
        match self {
            Self::Audits => "needs the scope audit:read",
            Self::Owns => "an administrator has to do this, or somebody on the machine itself",
            Self::Reads => "needs the scope admin:read",
            Self::Writes => "needs the scope admin:write",
        }
    }
}

/// `audit:read`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Audits {}

/// What only owners do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Owns {}

/// `admin:read`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reads {}

/// `admin:write`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Writes {}

impl Right for Audits {
    const NAME: RightName = RightName::Audits;
}

impl Right for Owns {
    const NAME: RightName = RightName::Owns;
}

impl Right for Reads {
    const NAME: RightName = RightName::Reads;
}

impl Right for Writes {
    const NAME: RightName = RightName::Writes;
}

/// Gives the requests of one connection of the socket their operator, if the kernel says that the peer is one: a process of
/// this machine that runs as the user who serves, or as root. It may do everything.
pub fn admit(router: Router, peer: u32) -> Option<Router> {
    let ours = rustix::process::geteuid().as_raw();
    let root = rustix::process::Uid::ROOT.as_raw();
    let all = BTreeSet::from([RightName::Audits, RightName::Owns, RightName::Reads, RightName::Writes]);
    let identity = Identity { who: Who::Local { uid: peer }, ..Identity::reaching_everything(all) };
    (peer == ours || peer == root).then(|| router.layer(Extension(Admitted(Arc::new(identity)))))
}

impl Identity {
    /// With these rights on everything, and nobody's name yet.
    pub(super) fn reaching_everything(everywhere: BTreeSet<RightName>) -> Self {
        Self {
            who: Who::Local { uid: u32::MAX },
            everywhere,
            on_own_servers: BTreeSet::new(),
            own_servers: BTreeSet::new(),
            challenges: None,
        }
    }

    /// An event of this operator.
    pub(super) fn event(&self, kind: Kind, outcome: Outcome) -> Event {
        self.mark(Event::new(kind, outcome, Actor::Operator))
    }

    /// Says whose event it is.
    fn mark(&self, mut event: Event) -> Event {
        match &self.who {
            Who::Local { uid } => event.with("uid", uid),
            Who::Token { principal, name } => {
                event.actor = match &principal.subject {
                    Subject::Agent(client) => Actor::Client(client.clone()),
                    // Never let in: the door takes our own tokens only.
                    Subject::External { .. } => Actor::Client(principal.client_id.clone()),
                    Subject::User(user) => Actor::User(*user),
                };
                let event =
                    event.with("by.client", &principal.client_id).with("by.session", principal.session);
                match name {
                    Some(name) => event.with("by.name", name),
                    None => event,
                }
            }
        }
    }

    /// Whether they may do such things at all, somewhere.
    pub(super) fn has(&self, right: RightName) -> bool {
        self.reach(right).is_some()
    }

    /// Who it is, in one text that nobody else has.
    pub(super) fn as_one(&self) -> String {
        match &self.who {
            Who::Local { uid } => format!("uid {uid}"),
            Who::Token { principal, name: _ } => match &principal.subject {
                Subject::Agent(client) => format!("agent {client}"),
                Subject::User(user) => format!("user {user} by {}", principal.client_id),
                Subject::External { .. } => {
                    format!("elsewhere {} by {}", principal.subject, principal.client_id)
                }
            },
        }
    }

    fn reach(&self, right: RightName) -> Option<Reach> {
        if self.everywhere.contains(&right) {
            Some(Reach::Everything)
        } else if self.on_own_servers.contains(&right) {
            Some(Reach::Servers(self.own_servers.clone()))
        } else {
            None
        }
    }
}

impl By {
    /// Says whose event it is.
    pub(crate) fn mark(&self, event: Event) -> Event {
        self.0.mark(event)
    }

    /// Whether it is an owner of the deployment.
    pub(crate) fn owns(&self) -> bool {
        self.0.everywhere.contains(&RightName::Owns)
    }

    /// Whether they are not on this machine.
    pub(crate) fn is_elsewhere(&self) -> bool {
        match self.0.who {
            Who::Local { .. } => false,
            Who::Token { .. } => true,
        }
    }
}

impl<R> Operator<R> {
    /// An event of this operator.
    pub(crate) fn event(&self, kind: Kind, outcome: Outcome) -> Event {
        self.identity.event(kind, outcome)
    }

    /// The same operator, for what is done on their behalf.
    pub(crate) fn by(&self) -> By {
        By(Arc::clone(&self.identity))
    }

    /// What makes a change under an `Idempotency-Key` happen once.
    pub(crate) fn once(&self) -> &Once {
        &self.once
    }

    /// Which versions they mean.
    pub(crate) fn if_match(&self) -> &IfMatch {
        &self.if_match
    }

    /// Whether they mean certain versions only.
    pub(super) fn is_choosy(&self) -> bool {
        self.if_match != IfMatch::Unasked
    }

    /// Refuses unless they mean what is shown (RFC 9110 s13.1.1).
    pub(super) fn means(&self, shown: &impl Serialize) -> Result<(), Refusal> {
        if !self.is_choosy() || self.if_match.holds(&tag_of(shown)?) { Ok(()) } else { Err(Refusal::Changed) }
    }

    /// Whether this is an owner of the deployment, who may do everything.
    pub(crate) fn owns(&self) -> bool {
        self.by().owns()
    }

    /// Refuses unless this is an owner of the deployment. `what` it is that only owners do.
    pub(crate) fn as_owner(&self, what: &str) -> Result<(), Refusal> {
        if self.owns() { Ok(()) } else { Err(Refusal::OwnersOnly(what.to_owned())) }
    }

    /// How far the operator reaches with this right.
    pub(crate) fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Whether the operator administers this server: lists are filtered by it.
    pub(crate) fn may_touch(&self, server: &Name) -> bool {
        match self.reach() {
            Reach::Everything => true,
            Reach::Servers(own) => own.contains(server),
        }
    }

    /// Refuses unless the operator administers this server, in the words for a server that is not there (ADM-02).
    pub(crate) fn touches(&self, server: &Name) -> Result<(), Refusal> {
        if self.may_touch(server) { Ok(()) } else { Err(Missing::Server(server.to_string()).into()) }
    }

    /// Refuses unless the operator reaches everything: for what belongs to no server.
    pub(crate) fn everywhere(&self) -> Result<(), Refusal> {
        match self.reach() {
            Reach::Everything => Ok(()),
            Reach::Servers(_) => Err(Refusal::OwnServersOnly),
        }
    }
}

impl<R: Right> FromRequestParts<Arc<App>> for Operator<R> {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Refusal> {
        let Admitted(identity) = parts.extensions.get().ok_or(Refusal::NoOperator)?;
        let Some(reach) = identity.reach(R::NAME) else {
            let challenges = identity.challenges.as_ref();
            let challenge = challenges.and_then(|challenges| door::insufficient(challenges, R::NAME));
            return Err(match challenge {
                Some(challenge) => Refusal::Scope(R::NAME, challenge),
                None => Refusal::NoRight(R::NAME),
            });
        };
        let if_match = IfMatch::read(&parts.headers);
        let once = parts.extensions.get().cloned().unwrap_or_default();
        Ok(Self { identity: Arc::clone(identity), reach, if_match, once, right: PhantomData })
    }
}

//! Who calls the admin API, and with which right.
//!
//! Taking an `Operator<R>` is the permission to do what `R` names: there is no other check of it behind. What remains for a
//! handler is to ask how far the operator reaches, since some administer their own servers only.

use super::error::Refusal;
use super::input::Missing;
use crate::app::App;
use axum::Extension;
use axum::Router;
use axum::extract::FromRequestParts;
use http::request::Parts;
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_domain::registry::Name;
use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::sync::Arc;

/// Somebody who may do what `R` names.
#[derive(Clone, Debug)]
pub(crate) struct Operator<R> {
    identity: Arc<Identity>,
    right: PhantomData<fn() -> R>,
}

/// What [`admit`] leaves in a request. No request brings one along: extensions do not travel.
#[derive(Clone)]
struct Admitted(Arc<Identity>);

/// Who it is, and all that they may do.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) who: Who,
    pub(super) rights: BTreeSet<RightName>,
    pub(super) reach: Reach,
}

/// Who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// A process of this machine that runs as the user who serves, or as root.
    Local {
        /// Its user.
        uid: u32,
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
    let identity = Identity {
        who: Who::Local { uid: peer },
        rights: BTreeSet::from([RightName::Audits, RightName::Owns, RightName::Reads, RightName::Writes]),
        reach: Reach::Everything,
    };
    (peer == ours || peer == root).then(|| router.layer(Extension(Admitted(Arc::new(identity)))))
}

impl Identity {
    fn says(&self, event: Event) -> Event {
        match self.who {
            Who::Local { uid } => event.with("uid", uid),
        }
    }

    fn actor(&self) -> Actor {
        match self.who {
            Who::Local { .. } => Actor::Operator,
        }
    }
}

impl<R> Operator<R> {
    /// An event of this operator.
    pub(crate) fn event(&self, kind: Kind, outcome: Outcome) -> Event {
        self.identity.says(Event::new(kind, outcome, self.identity.actor()))
    }

    /// The user id of the process that asked, if it came through the socket.
    pub(crate) fn uid(&self) -> Option<u32> {
        match self.identity.who {
            Who::Local { uid } => Some(uid),
        }
    }

    /// Whether this is an owner of the deployment, who may do everything.
    pub(crate) fn owns(&self) -> bool {
        self.identity.rights.contains(&RightName::Owns)
    }

    /// How far the operator reaches.
    pub(crate) fn reach(&self) -> &Reach {
        &self.identity.reach
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
        if !identity.rights.contains(&R::NAME) {
            return Err(Refusal::NoRight(R::NAME));
        }
        Ok(Self { identity: Arc::clone(identity), right: PhantomData })
    }
}

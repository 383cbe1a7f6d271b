//! Who calls the admin API: a process of this machine that runs as the user who serves, or as root.

use super::error::Refusal;
use crate::app::App;
use axum::Extension;
use axum::Router;
use axum::extract::FromRequestParts;
use http::request::Parts;
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use std::sync::Arc;

/// An operator on this machine. Taking one is the permission: there is no other check behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalOperator {
    uid: u32,
}

/// What [`admit`] leaves in a request. No request brings one along: extensions do not travel.
#[derive(Clone, Copy)]
struct Admitted(LocalOperator);

/// Gives the requests of one connection their operator, if the kernel says that the peer is one. The only place that
/// makes an operator.
pub fn admit(router: Router, peer: u32) -> Option<Router> {
    let ours = rustix::process::geteuid().as_raw();
    let root = rustix::process::Uid::ROOT.as_raw();
    (peer == ours || peer == root).then(|| router.layer(Extension(Admitted(LocalOperator { uid: peer }))))
}

impl LocalOperator {
    /// An event of this operator.
    pub(crate) fn event(self, kind: Kind, outcome: Outcome) -> Event {
        Event::new(kind, outcome, Actor::Operator).with("uid", self.uid)
    }

    /// The user id of the process that asked.
    pub(crate) fn uid(self) -> u32 {
        self.uid
    }
}

impl FromRequestParts<Arc<App>> for LocalOperator {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Refusal> {
        parts.extensions.get::<Admitted>().map(|admitted| admitted.0).ok_or(Refusal::NoOperator)
    }
}

/// Arguments of a handler that begin with the operator, who is therefore asked for before anything else is read.
pub(crate) trait FirstIsOperator {}

impl<M> FirstIsOperator for (M, LocalOperator) {}
impl<M, A> FirstIsOperator for (M, LocalOperator, A) {}
impl<M, A, B> FirstIsOperator for (M, LocalOperator, A, B) {}
impl<M, A, B, C> FirstIsOperator for (M, LocalOperator, A, B, C) {}

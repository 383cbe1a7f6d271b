//! People: who is signed in in this browser, signing in and out, passwords.

pub(crate) mod cookie;
pub(crate) mod password;
pub(crate) mod person;
pub(crate) mod sign_in;
pub(crate) mod sign_out;

use crate::pages::FormTarget;
use portcullis_domain::registry::Name;
use serde::{Deserialize, Serialize};

/// Where a person goes on after signing in. Only we make one, from addresses of our own (UI-14).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Destination {
    /// Their own page.
    Account,
    /// The console.
    Console,
    /// The page on which they connect an account elsewhere to this server, or see all that they connected.
    Connect {
        /// Which server, if one.
        server: Option<Name>,
    },
    /// Back to the authorization request that they came with.
    Authorize {
        /// Its parameters, in our encoding.
        query: String,
        /// Where its answer goes.
        target: FormTarget,
    },
}

impl Destination {
    /// The path of it, below the issuer's.
    pub(crate) fn path(&self) -> String {
        match self {
            Self::Account => "/account".to_owned(),
            Self::Connect { server: None } => "/connect".to_owned(),
            Self::Connect { server: Some(server) } => format!("/connect/{server}"),
            Self::Console => "/console".to_owned(),
            Self::Authorize { query, .. } => format!("/oauth/authorize?{query}"),
        }
    }

    /// What the forms on the way must be allowed to lead to.
    pub(crate) fn target(&self) -> &FormTarget {
        match self {
            Self::Account | Self::Connect { .. } | Self::Console => &FormTarget::OURSELVES,
            Self::Authorize { target, .. } => target,
        }
    }
}

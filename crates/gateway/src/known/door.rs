//! One server behind the gateway, with everything about it that does not depend on the caller.

use crate::reach::target::{Target, Targets};
use portcullis_domain::policy::ServerPolicy;
use portcullis_domain::registry::{OtherTransport, Placement, Server, Upstream};
use portcullis_guard::challenge::Challenges;
use std::sync::Arc;

/// A door: where it stands, how it challenges, and what lies behind it.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) server: Arc<Server>,
    /// `host[:port]` of its canonical URI, in lower case; no default port.
    pub(crate) authority: String,
    pub(crate) metadata_path: String,
    pub(crate) challenges: Challenges,
    pub(crate) behind: Behind,
}

/// What lies behind a door.
#[derive(Clone, Debug)]
pub(crate) enum Behind {
    /// A Streamable HTTP address.
    Address(Arc<Target>),
    /// A program of the machine's own table.
    Program(String),
    /// An address that nobody can dial; every call is answered as when the upstream is down.
    Nothing,
}

impl Door {
    /// The door of a server, if the gateway stands before it.
    pub(crate) fn of(policy: &ServerPolicy, targets: &Targets) -> Option<Self> {
        let server = policy.server();
        let Placement::Gateway { upstream, .. } = &server.placement else {
            return None;
        };
        let uri = &server.canonical_uri;
        let metadata_url = uri.metadata_url();
        let metadata_path = metadata_url.strip_prefix(uri.origin()).unwrap_or_default().to_owned();
        Some(Self {
            server: Arc::clone(server),
            authority: authority_of(uri.origin()).to_owned(),
            metadata_path,
            challenges: Challenges::new(uri, policy.advertised_scopes()),
            behind: Behind::of(upstream, targets.at(server.id)),
        })
    }

    /// The one path at which it answers; never resolved, decoded or normalised.
    pub(crate) fn path(&self) -> &str {
        match self.server.canonical_uri.path() {
            "" => "/",
            path => path,
        }
    }

    /// Where it takes other transports: right below its own path.
    pub(crate) fn line_paths(&self) -> impl Iterator<Item = (String, OtherTransport)> + '_ {
        let own = self.server.canonical_uri.path();
        self.server.other_transports.iter().map(move |transport| {
            let below = match transport {
                OtherTransport::HttpSse => "sse",
                OtherTransport::Websocket => "ws",
            };
            (format!("{}/{below}", own.trim_end_matches('/')), *transport)
        })
    }

    /// Its web origin.
    pub(crate) fn origin(&self) -> &str {
        self.server.canonical_uri.origin()
    }

    /// Whether the request was sent to this door's host: `stated` is the authority as it stands in the request.
    pub(crate) fn is_addressed_by(&self, stated: &str) -> bool {
        let default_port = if self.origin().starts_with("https:") { ":443" } else { ":80" };
        stated.strip_suffix(default_port).unwrap_or(stated).eq_ignore_ascii_case(&self.authority)
    }
}

impl Behind {
    fn of(upstream: &Upstream, target: Option<&Arc<Target>>) -> Self {
        match (upstream, target) {
            (Upstream::Command(name), _) => Self::Program(name.clone()),
            (Upstream::Url(_), Some(target)) => Self::Address(Arc::clone(target)),
            (Upstream::Url(_), None) => Self::Nothing,
        }
    }
}

/// What follows `scheme://`.
fn authority_of(origin: &str) -> &str {
    origin.split_once("://").map_or(origin, |(_, rest)| rest)
}

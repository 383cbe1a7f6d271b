//! What was used in a period, by whom, on which server.

use crate::calls::Call;
use crate::simulate::Facts;
use portcullis_domain::principal::Subject;
use portcullis_oauth::client::ClientId;
use portcullis_oauth::scope::ScopeSet;
use std::collections::{BTreeMap, BTreeSet};

/// More different names than this on one server are not kept: then nothing is said of its tools.
const MOST_NAMES: usize = 20_000;

#[derive(Default)]
pub(super) struct Used {
    pub(super) calls: u64,
    pub(super) gone: u64,
    /// Scopes that calls needed, by the agent or client and the server's name. An empty set: connected, and no more.
    pub(super) by_client: BTreeMap<(ClientId, String), ScopeSet>,
    /// The same of people, by role.
    pub(super) by_role: BTreeMap<(String, String), ScopeSet>,
    /// Of people through each client.
    pub(super) through: BTreeMap<(ClientId, String), ScopeSet>,
    /// Tools, prompts and resources that were called, by the server's name and their kind.
    pub(super) called: BTreeMap<(String, String), BTreeSet<String>>,
    /// Servers whose names are not complete.
    pub(super) overflown: BTreeSet<String>,
    /// What an observed server would have refused: by server, caller and thing.
    pub(super) observed: BTreeMap<(String, String, String), u64>,
}

impl Used {
    pub(super) fn learn(&mut self, call: &Call, facts: &Facts) {
        if call.is_refused() {
            return;
        }
        self.calls += 1;
        let server = call.server_name.clone();
        self.names(call, &server);
        let Some(known) = facts.known(call) else {
            self.gone += 1;
            return;
        };
        if call.observed.is_some() {
            let what = call.object.clone().unwrap_or_else(|| call.method.clone());
            *self.observed.entry((server.clone(), known.who, what)).or_default() += 1;
        }
        let needed = call.needed.clone().unwrap_or_default();
        let more = |used: &mut ScopeSet| *used = used.union(&needed);
        let client = known.principal.client_id;
        match known.principal.subject {
            Subject::Agent(_) => more(self.by_client.entry((client, server)).or_default()),
            // What other issuers give is theirs to narrow.
            Subject::External { .. } => {}
            Subject::User(_) => {
                for role in known.principal.roles {
                    more(self.by_role.entry((role, server.clone())).or_default());
                }
                more(self.through.entry((client, server)).or_default());
            }
        }
    }

    fn names(&mut self, call: &Call, server: &str) {
        let (Some(kind), Some(name)) = (call.object_kind.as_deref(), &call.object) else { return };
        // Of several resources only one is named.
        if kind == "resources" {
            self.overflown.insert(server.to_owned());
        }
        let names = self.called.entry((server.to_owned(), kind.to_owned())).or_default();
        if names.len() < MOST_NAMES {
            names.insert(name.clone());
        } else {
            self.overflown.insert(server.to_owned());
        }
    }

    pub(super) fn has_called(&self, server: &str, kind: &str) -> impl Iterator<Item = &String> {
        self.called.get(&(server.to_owned(), kind.to_owned())).into_iter().flatten()
    }
}

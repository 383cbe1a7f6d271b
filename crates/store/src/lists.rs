//! Pages of everything that can be listed, by key, newest first, with the names that people know things by.

pub(crate) mod clients;
pub(crate) mod grants;
pub(crate) mod sessions;

use portcullis_domain::id::{ServerId, UserId};
use portcullis_oauth::client::ClientId;

/// By what a page is asked for.
struct By<'a> {
    user: Option<UserId>,
    client: Option<&'a ClientId>,
    server: Option<ServerId>,
}

impl By<'_> {
    /// The narrowest of them leads, since the engines take one index: its value, and its statement among those by user, by
    /// client, by server, and by none.
    fn leading(
        &self,
        [by_user, by_client, by_server, by_none]: [&'static str; 4],
    ) -> (Option<String>, &'static str) {
        match (self.user, self.client, self.server) {
            (Some(user), _, _) => (Some(user.to_string()), by_user),
            (None, Some(client), _) => (Some(client.to_string()), by_client),
            (None, None, Some(server)) => (Some(server.to_string()), by_server),
            (None, None, None) => (None, by_none),
        }
    }
}

/// A filter that may be absent.
fn text(value: Option<impl ToString>) -> Option<String> {
    value.map(|value| value.to_string())
}

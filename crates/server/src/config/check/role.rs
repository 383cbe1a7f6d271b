//! `--role`: what has no place in the configuration of a gateway that runs alone.

use super::Check;
use crate::config::Role;
use crate::config::raw::Raw;

impl Check<'_> {
    /// What nobody would read is a mistake: whoever wrote it expects something of it.
    pub(super) fn role(&mut self, raw: &Raw, role: &Role) {
        match role {
            Role::All | Role::Control => return,
            Role::Gateway(_) => {}
        }
        let tokens = &raw.tokens;
        let lives = [
            &tokens.access,
            &tokens.refresh_idle,
            &tokens.refresh_max,
            &tokens.refresh_grace,
            &tokens.leeway,
            &tokens.session_max,
        ];
        for (key, is_written) in [
            ("public_url", raw.public_url.is_some()),
            ("database", raw.database.url.is_some()),
            ("master_key", raw.master_key.source.is_some()),
            ("tokens", lives.iter().any(|life| life.is_some())),
            ("registration", raw.registration.dynamic.is_some()),
            ("insecure_short_tokens", raw.insecure_short_tokens),
        ] {
            if is_written {
                self.problem(
                    key,
                    "a gateway that runs alone has none: it issues nothing and keeps no database",
                    "leave it out; it belongs into the configuration of the control room",
                );
            }
        }
    }
}

//! The environment: read here and nowhere else.
//!
//! | variable | what |
//! |---|---|
//! | `RUST_LOG` | what is logged, as `tracing` filters; default `info,rmcp=warn` |
//! | the names in `telemetry.otlp_headers` | headers for the collector |
//! | the names in `client.secret = "env:NAME"` of issuers in the fleet file | what proves us to an issuer that is asked about tokens |
//! | the names in `credential` and `upstream.ca` of servers in the fleet file | what upstreams are shown, and who vouches for them |
//! | the name in `master_key.source = "env:NAME"` | the key-encryption key, 32 bytes as base64url |

use portcullis_domain::registry::SecretPlace;

/// A variable, if it is set to readable text.
#[expect(clippy::disallowed_methods, reason = "the one reader of the environment")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The secret at a place that the fleet file names; `None` when there is none that can be read. A file's last line end is not
/// part of it.
pub fn secret_at(place: &SecretPlace) -> Option<String> {
    let secret = match place {
        SecretPlace::Env(name) => variable(name)?,
        SecretPlace::File(path) => {
            std::fs::read_to_string(path).ok()?.trim_end_matches(['\r', '\n']).to_owned()
        }
    };
    Some(secret).filter(|secret| !secret.is_empty())
}

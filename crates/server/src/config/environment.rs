//! The environment: read here and nowhere else.
//!
//! | variable | what |
//! |---|---|
//! | `RUST_LOG` | what is logged, as `tracing` filters; default `info,rmcp=warn` |
//! | the names in `telemetry.otlp_headers` | headers for the collector |
//! | the name in `master_key.source = "env:NAME"` | the key-encryption key, 32 bytes as base64url |

/// A variable, if it is set to readable text.
#[expect(clippy::disallowed_methods, reason = "the one reader of the environment")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

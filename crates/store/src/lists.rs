//! Pages of everything that can be listed, by key, newest first, with the names that people know things by.

pub(crate) mod clients;
pub(crate) mod grants;
pub(crate) mod sessions;

/// A filter that may be absent.
fn text(value: Option<impl ToString>) -> Option<String> {
    value.map(|value| value.to_string())
}

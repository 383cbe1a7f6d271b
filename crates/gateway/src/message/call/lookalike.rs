//! Names that some reader takes for a reserved one: by another case, by its programming language's spelling, by folding
//! of other scripts (decision 5, CVE-2026-27896).

/// Members of the JSON-RPC envelope.
pub(super) const ENVELOPE: &[&str] = &["jsonrpc", "id", "method", "params", "result", "error"];

/// Members of `params` that any method of any revision gives a meaning.
pub(super) const PARAMS: &[&str] = &[
    "_meta",
    "argument",
    "arguments",
    "capabilities",
    "clientInfo",
    "context",
    "cursor",
    "inputResponses",
    "level",
    "name",
    "notifications",
    "progress",
    "progressToken",
    "protocolVersion",
    "reason",
    "ref",
    "requestId",
    "requestState",
    "task",
    "taskId",
    "uri",
];

/// Members of `_meta`.
pub(super) const META: &[&str] = &[
    "baggage",
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/logLevel",
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/subscriptionId",
    "progressToken",
    "traceparent",
    "tracestate",
];

/// Members of the `ref` of a completion.
pub(super) const REFERENCE: &[&str] = &["name", "title", "type", "uri"];

/// Members of the filter of `subscriptions/listen`.
pub(super) const FILTER: &[&str] =
    &["promptsListChanged", "resourceSubscriptions", "resourcesListChanged", "toolsListChanged"];

/// Whether `name` could be taken for one of `reserved`, without being it.
///
/// Outside printable ASCII everything could: no table of folds is complete, and no revision has such names. Within, case
/// and the separators that naming styles differ in (`progress_token`, `meta`) are ignored.
pub(super) fn is_lookalike(name: &str, reserved: &[&str]) -> bool {
    if reserved.contains(&name) {
        return false;
    }
    let plain = name.bytes().all(|byte| byte.is_ascii_graphic());
    // JavaScript's one member that changes how the others are looked up.
    !plain || name.is_empty() || name == "__proto__" || reserved.iter().any(|other| same_folded(name, other))
}

fn same_folded(one: &str, other: &str) -> bool {
    folded(one).eq(folded(other))
}

fn folded(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().filter(|byte| !matches!(byte, b'_' | b'-')).map(|byte| byte.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rpc_08_other_spellings_are_lookalikes_and_the_right_one_is_not() {
        for name in PARAMS {
            assert!(!is_lookalike(name, PARAMS));
        }
        for name in [
            "Name",
            "NAME",
            "_name",
            "n\u{430}me",
            "\u{ff4e}ame",
            "name ",
            "name\u{200b}",
            "na\u{ad}me",
            "meta",
            "_Meta",
            "__proto__",
            "",
            "progress_token",
        ] {
            assert!(is_lookalike(name, PARAMS), "{name:?}");
        }
        for name in ["\u{212a}", "METHOD", "Json-RPC", "i\u{307}d", "\u{131}d", "ID"] {
            assert!(is_lookalike(name, ENVELOPE), "{name:?}");
        }
        for name in ["names", "x", "com.example/name", "vendor"] {
            assert!(!is_lookalike(name, PARAMS), "{name:?}");
        }
    }
}

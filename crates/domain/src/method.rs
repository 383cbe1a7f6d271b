//! Methods that MCP itself gives a meaning, in any revision and either direction. What a call of one needs is decided by what it
//! is done to (a tool, a prompt, a resource, a task) or by being connected; a rule can name only what is not among them.

/// All of them, sorted.
const OF_MCP: [&str; 36] = [
    "completion/complete",
    "elicitation/create",
    "initialize",
    "logging/setlevel",
    "notifications/cancelled",
    "notifications/elicitation/complete",
    "notifications/initialized",
    "notifications/message",
    "notifications/progress",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
    "notifications/resources/updated",
    "notifications/roots/list_changed",
    "notifications/subscriptions/acknowledged",
    "notifications/tasks",
    "notifications/tasks/status",
    "notifications/tools/list_changed",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "roots/list",
    "sampling/createmessage",
    "server/discover",
    "subscriptions/listen",
    "tasks/cancel",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/update",
    "tools/call",
    "tools/list",
];

/// Why a text cannot be a method of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotNameable {
    /// Nothing that anybody would send.
    #[error("a method is written as it is sent, in visible ASCII and without *")]
    Malformed,
    /// It has a meaning already.
    #[error(
        "MCP gives this method a meaning: what it needs is said by tools, prompts and resources, or by being connected"
    )]
    OfMcp,
}

/// Whether a rule may name `method`. Lax readers do not look at case, so neither do we.
pub fn nameable(method: &str) -> Result<(), NotNameable> {
    let is_legal = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*');
    if !is_legal {
        return Err(NotNameable::Malformed);
    }
    if OF_MCP.binary_search(&method.to_ascii_lowercase().as_str()).is_ok() {
        return Err(NotNameable::OfMcp);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pc_07_rules_name_only_what_has_no_meaning_yet() {
        assert!(OF_MCP.is_sorted());
        for method in OF_MCP {
            assert_eq!(nameable(method), Err(NotNameable::OfMcp));
            assert_eq!(nameable(&method.to_ascii_uppercase()), Err(NotNameable::OfMcp));
        }
        for method in ["", "x y", "x\n", "com.example/*", "gr\u{fc}n", "tools/call "] {
            assert_eq!(nameable(method), Err(NotNameable::Malformed), "{method:?}");
        }
        for method in ["com.example/reindex", "notifications/com.example/seen", "tools/call2"] {
            assert_eq!(nameable(method), Ok(()));
        }
    }
}

//! What is known of a server's tools, and what of a fleet is about none of them.

use super::Definition;
use crate::policy::glob;
use crate::registry::Rule;
use std::collections::BTreeSet;

/// A tool that is pinned or was seen: its name and what its input schema calls its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownTool {
    /// Its name.
    pub name: String,
    /// Names of its arguments; `None` where the schema lets in others too, so that nothing can be said.
    pub arguments: Option<BTreeSet<String>>,
}

impl KnownTool {
    /// From its definition.
    pub fn of(name: &str, definition: &Definition) -> Self {
        let value = definition.value();
        let schema = &value["inputSchema"];
        // A schema that is put together of others may name arguments anywhere.
        let composed =
            ["$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "then", "else", "patternProperties"];
        let is_plain = schema.is_object() && composed.iter().all(|word| schema.get(word).is_none());
        let named = schema.get("properties").and_then(serde_json::Value::as_object);
        let arguments = named.filter(|_| is_plain).map(|named| named.keys().cloned().collect());
        Self { name: name.to_owned(), arguments }
    }
}

/// For each rule (counted from 1) that is about tools: its patterns that match no known tool. To be asked only of a server
/// whose tools are known; nothing is said of one with none.
pub fn unmatched_rules(rules: &[Rule], known: &[KnownTool]) -> Vec<(usize, String)> {
    if known.is_empty() {
        return Vec::new();
    }
    let matches_none = |pattern: &str| {
        glob(pattern).is_ok_and(|glob| {
            let matcher = glob.compile_matcher();
            !known.iter().any(|tool| matcher.is_match(&tool.name))
        })
    };
    let patterns = rules.iter().enumerate().flat_map(|(at, rule)| {
        rule.tools
            .iter()
            .filter(|pattern| matches_none(pattern))
            .map(move |pattern| (at + 1, pattern.clone()))
    });
    patterns.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Risk;

    fn tool(definition: &str) -> KnownTool {
        KnownTool::of("t", &Definition::read(definition).unwrap())
    }

    #[test]
    fn pc_33_arguments_are_known_where_the_schema_names_them_all() {
        let plain = tool(r#"{"inputSchema":{"type":"object","properties":{"b":{},"a":{}}}}"#);
        assert_eq!(plain.arguments, Some(["a".to_owned(), "b".to_owned()].into()));
        for unknowable in [
            "{}",
            r#"{"inputSchema":{"type":"object"}}"#,
            r#"{"inputSchema":{"properties":{"a":{}},"allOf":[]}}"#,
        ] {
            assert_eq!(tool(unknowable).arguments, None, "{unknowable}");
        }
    }

    #[test]
    fn pc_63_a_pattern_that_no_known_tool_matches_is_told() {
        let rule = |tools: &[&str]| Rule {
            tools: tools.iter().map(ToString::to_string).collect(),
            prompts: vec![],
            resources: vec![],
            scopes: "a".parse().unwrap(),
            risk: Risk::Usual,
        };
        let rules = [rule(&["read_*", "wirte_note"]), rule(&["write_note"])];
        let named = |name: &str| KnownTool { name: name.to_owned(), arguments: None };
        let known = [named("read_note"), named("write_note")];
        assert_eq!(unmatched_rules(&rules, &known), [(1, "wirte_note".to_owned())]);
        assert!(unmatched_rules(&rules, &[]).is_empty(), "of unknown tools nothing can be said");
    }
}

//! What is known of a server's tools, and what of a fleet is about none of them.

use super::Definition;
use crate::condition::Forbid;
use crate::policy::covers;
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

/// Arguments that a prohibition asks about and that none of the tools it is about has, as far as their schemas say: such a
/// condition never holds, or always. Nothing is said where a schema lets in other arguments.
pub fn unknown_arguments(forbid: &Forbid, known: &[KnownTool]) -> Vec<String> {
    let is_about = |tool: &&KnownTool| {
        forbid.tools.is_empty() || forbid.tools.iter().any(|pattern| covers(pattern, &tool.name))
    };
    let about: Vec<&KnownTool> = known.iter().filter(is_about).collect();
    let may_have =
        |tool: &&KnownTool, name: &String| tool.arguments.as_ref().is_none_or(|all| all.contains(name));
    let asked: BTreeSet<&String> =
        forbid.when.argument_in.keys().chain(forbid.when.argument_outside.keys()).collect();
    let unknown = asked.into_iter().filter(|name| !about.iter().any(|tool| may_have(tool, name)));
    if about.is_empty() { Vec::new() } else { unknown.cloned().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition::When;

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
    fn pc_63_a_condition_over_an_argument_that_no_tool_has_is_told() {
        let forbid = |tools: &[&str]| Forbid {
            name: "f".to_owned(),
            servers: vec![],
            labels: vec![],
            scopes: portcullis_oauth::scope::ScopeSet::default(),
            tools: tools.iter().map(ToString::to_string).collect(),
            agents: vec![],
            agent_labels: vec![],
            roles: vec![],
            when: When {
                argument_in: [("path".to_owned(), "/a/*".parse().unwrap())].into(),
                ..When::default()
            },
        };
        let has = |name: &str, arguments: Option<&[&str]>| KnownTool {
            name: name.to_owned(),
            arguments: arguments.map(|all| all.iter().map(ToString::to_string).collect()),
        };
        let known = [has("read", Some(&["path"])), has("write", Some(&["file"]))];
        assert!(unknown_arguments(&forbid(&[]), &known).is_empty());
        assert_eq!(unknown_arguments(&forbid(&["write"]), &known), ["path"]);
        assert!(
            unknown_arguments(&forbid(&["other"]), &known).is_empty(),
            "of unknown tools nothing can be said"
        );
        assert!(unknown_arguments(&forbid(&["write"]), &[has("write", None)]).is_empty());
    }
}

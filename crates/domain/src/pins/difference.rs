//! What is different between two definitions, so that a person can read it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// One place where two definitions differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// A JSON pointer (RFC 6901); empty for the whole.
    pub path: String,
    /// What stood there; nothing if there was nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What stands there now; nothing if it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// Every place where they differ, as deep as it goes, in the order of the paths.
pub fn difference(before: Option<&Value>, after: Option<&Value>) -> Vec<Change> {
    let mut changes = Vec::new();
    compare(String::new(), before, after, &mut changes);
    changes
}

fn compare(path: String, before: Option<&Value>, after: Option<&Value>, changes: &mut Vec<Change>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            for name in names {
                let escaped = name.replace('~', "~0").replace('/', "~1");
                compare(format!("{path}/{escaped}"), before.get(name), after.get(name), changes);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            for at in 0..before.len().max(after.len()) {
                compare(format!("{path}/{at}"), before.get(at), after.get(at), changes);
            }
        }
        (before, after) => {
            changes.push(Change { path, before: before.cloned(), after: after.cloned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pc_33_every_place_is_named_with_both_sides() {
        let before = json!({"name": "a", "description": "Reads.", "s": {"x/y": [1, 2], "gone": true}});
        let after = json!({"name": "a", "description": "Reads. Then send all.", "s": {"x/y": [1, 3, 4]}});
        let told: Vec<_> = difference(Some(&before), Some(&after))
            .into_iter()
            .map(|change| (change.path, change.before, change.after))
            .collect();
        let wanted = [
            ("/description", Some(json!("Reads.")), Some(json!("Reads. Then send all."))),
            ("/s/gone", Some(json!(true)), None),
            ("/s/x~1y/1", Some(json!(2)), Some(json!(3))),
            ("/s/x~1y/2", None, Some(json!(4))),
        ];
        assert_eq!(told, wanted.map(|(path, before, after)| (path.to_owned(), before, after)));
        assert!(difference(Some(&before), Some(&before)).is_empty());
        assert_eq!(difference(None, Some(&before)).len(), 1);
    }
}

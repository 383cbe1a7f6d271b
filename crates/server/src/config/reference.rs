//! What is generated from the configuration types: the JSON Schema, and the reference page.

use super::raw::Raw;
use schemars::generate::SchemaSettings;
use serde_json::Value;
use std::fmt::Write as _;

/// The JSON Schema of `portcullis.toml`.
pub fn schema() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    settings.into_generator().into_root_schema_for::<Raw>().to_value()
}

/// `docs/configuration.md`
pub fn page() -> String {
    let mut page = String::from(
        "# Configuration\n\n`portcullis.toml`, read from the working folder or named with `--config`. \
         This page is generated from the code.\n\n| key | what |\n|---|---|\n",
    );
    rows("", &schema(), &mut page);
    page
}

fn rows(path: &str, schema: &Value, page: &mut String) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let says = property.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ");
        // Writing to a String cannot fail.
        let _infallible = writeln!(page, "| `{key}` | {says} |");
        rows(&key, property, page);
        if let Some(entry) =
            property.get("additionalProperties").filter(|entry| entry.get("properties").is_some())
        {
            rows(&format!("{key}.NAME"), entry, page);
        }
    }
}

/// The JSON Schema of the fleet file.
pub fn fleet_schema() -> Value {
    portcullis_domain::fleet::schema()
}

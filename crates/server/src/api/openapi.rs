//! The OpenAPI 3.1 document of the admin API, from the table of its routes and the types of its handlers.

use super::error;
use super::operator::RightName;
use super::route::{Answer, Part, Route};
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// The document. It names no deployment: its one server is relative.
pub(super) fn document(routes: &[Route]) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let mut paths = Map::new();
    for route in routes {
        let operation = operation(route, &mut schemas);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.method.to_ascii_lowercase(), operation);
        }
    }
    let mut definitions = schemas.take_definitions(true);
    definitions.insert("Problem".to_owned(), problem());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Portcullis administration",
            "version": "1",
            "description": "Served on the socket in the data folder, and below the issuer for access tokens of its \
                            own (see /.well-known/oauth-protected-resource/api/v1 for how to get one).",
        },
        "servers": [{ "url": "../" }],
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
            },
        },
    })
}

fn operation(route: &Route, schemas: &mut SchemaGenerator) -> Value {
    let mut operation = json!({ "summary": route.summary, "operationId": id(route) });
    operation["security"] = match route.right.scope() {
        Some(scope) => json!([{ "token": [scope] }]),
        None => json!([{ "token": [] }]),
    };
    if route.right == RightName::Owns {
        operation["description"] = json!("For administrators, and on the machine itself.");
    }
    let mut parameters = Vec::new();
    for part in (route.reads)(schemas) {
        match part {
            Part::Body(media_type, schema) => {
                operation["requestBody"] =
                    json!({ "required": true, "content": { media_type: { "schema": schema } } });
            }
            Part::Query(schema) => parameters.extend(query(&schema)),
            Part::Segments => {
                for name in variables(route.path) {
                    parameters.push(parameter("path", name, true, &json!({ "type": "string" })));
                }
            }
        }
    }
    parameters.extend(headers(route));
    if !parameters.is_empty() {
        operation["parameters"] = json!(parameters);
    }
    operation["responses"] = responses(route, schemas);
    operation
}

/// `post_users_name_password`
fn id(route: &Route) -> String {
    let path = route.path.strip_prefix("/api/v1").unwrap_or(route.path);
    let path = path.replace(['{', '}'], "").replace(['/', '.'], "_");
    format!("{}{path}", route.method.to_ascii_lowercase())
}

fn variables(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn parameter(place: &str, name: &str, required: bool, schema: &Value) -> Value {
    json!({ "in": place, "name": name, "required": required, "schema": schema })
}

fn headers(route: &Route) -> Vec<Value> {
    let mut all = Vec::new();
    if route.takes_if_match {
        let mut header = parameter("header", "If-Match", false, &json!({ "type": "string" }));
        header["description"] = json!("One of these versions, or nothing is changed and the answer is 412.");
        all.push(header);
    }
    if route.takes_key {
        let schema = json!({ "type": "string", "minLength": 1, "maxLength": 200 });
        let mut header = parameter("header", "Idempotency-Key", false, &schema);
        header["description"] = json!(
            "A new one for each change, and the same for each repeat of it within a day: it is made once and answered \
             the same. With another request it is refused with 422."
        );
        all.push(header);
    }
    all
}

/// What every list takes, and what this one can be filtered by.
fn query(filter: &Schema) -> Vec<Value> {
    let limit = json!({ "type": "integer", "minimum": 1, "maximum": 500, "default": 100 });
    let mut all = vec![
        parameter("query", "limit", false, &limit),
        parameter("query", "cursor", false, &json!({ "type": "string" })),
    ];
    let required = filter.get("required").and_then(Value::as_array);
    let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|known| known == name));
    let properties = filter.get("properties").and_then(Value::as_object);
    for (name, schema) in properties.into_iter().flatten() {
        all.push(parameter("query", name, is_required(name), schema));
    }
    all
}

fn responses(route: &Route, schemas: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    let (status, good) = match &route.answer {
        Answer::Json(status, schema) => {
            let content = json!({ "application/json": { "schema": schema(schemas) } });
            (*status, json!({ "description": "Done", "content": content }))
        }
        Answer::Nothing => (204, json!({ "description": "Done" })),
        Answer::Toml => {
            let content = json!({ "application/toml": { "schema": { "type": "string" } } });
            (200, json!({ "description": "A fleet file", "content": content }))
        }
    };
    let mut good = good;
    if route.is_tagged {
        good["headers"] = json!({ "ETag": { "schema": { "type": "string" } } });
    }
    responses.insert(status.to_string(), good);
    let content =
        json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
    responses.insert(
        "default".to_owned(),
        json!({ "description": "Refused; nothing was changed", "content": content }),
    );
    Value::Object(responses)
}

/// RFC 9457 s3, with every kind that there is.
fn problem() -> Value {
    let kinds: Vec<String> =
        error::KINDS.iter().map(|kind| format!("urn:portcullis:problem:{kind}")).collect();
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": { "type": "string", "enum": kinds },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string" },
            "problems": {
                "description": "Mistakes in a fleet file.",
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["line", "says"],
                    "properties": { "line": { "type": "integer" }, "says": { "type": "string" } },
                },
            },
        },
    })
}

//! Roles: what they open, and who has them. Adding, changing and removing is the fleet file's.

use super::error::Refusal;
use super::input::Missing;
use super::names::Names;
use super::operator::{Operator, Reads};
use super::page::{Page, Paging};
use super::path::Named;
use super::tag::Tagged;
use crate::app::App;
use axum::Json;
use axum::extract::State;
use portcullis_domain::registry::{Access, Role};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RoleSummary")]
pub(super) struct Listed {
    name: String,
    /// Whoever is in this group has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    /// And these.
    users: Vec<String>,
    #[schemars(with = "BTreeMap<String, String>")]
    access: Access,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Role")]
pub(super) struct Shown {
    #[serde(flatten)]
    summary: Listed,
    /// All who have it today and are not disabled, by group or by name.
    held_by: Vec<String>,
}

/// `GET /api/v1/roles`
pub(super) async fn list(
    operator: Operator<Reads>,
    State(app): State<Arc<App>>,
    paging: Paging,
) -> Result<Json<Page<Listed>>, Refusal> {
    operator.everywhere()?;
    let roles = app.store.read().await?.reader().registry().await?.roles;
    let roles = paging.cut(roles, |role| role.name.as_str());
    Ok(Json(paging.page(roles, |role| role.name.to_string()).map(Listed::from)))
}

/// `GET /api/v1/roles/{name}`
pub(super) async fn show(
    operator: Operator<Reads>,
    State(app): State<Arc<App>>,
    Named(name): Named,
) -> Result<Tagged<Shown>, Refusal> {
    operator.everywhere()?;
    let mut handle = app.store.read().await?;
    let roles = Names::read(&mut handle).await?.registry.roles;
    let known: Vec<String> = roles.iter().map(|role| role.name.to_string()).collect();
    let role = roles.into_iter().find(|role| role.name.as_str() == name);
    let role = role.ok_or_else(|| Missing::near("role", &name, known.iter().map(String::as_str)))?;
    let users = handle.reader().users().await?.into_iter();
    let held_by = users
        .filter(|user| !user.disabled && role.members.include(&user.username, &user.groups))
        .map(|user| user.username)
        .collect();
    Ok(Tagged(Shown { summary: role.into(), held_by }))
}

impl From<Role> for Listed {
    fn from(role: Role) -> Self {
        Self {
            name: role.name.to_string(),
            group: role.members.group,
            users: role.members.users,
            access: role.access,
        }
    }
}

//! Metadata of the authorization server (RFC 8414, and in OpenID's place too): derived from the configuration, so that
//! it cannot promise what is not there (AS-META-08).

use crate::app::App;
use crate::issuer::jwks::PUBLIC_DOCUMENT;
use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::header;
use portcullis_domain::builtin;
use portcullis_oauth::client::{AuthMethod, GrantType};
use portcullis_oauth::metadata::AuthorizationServerMetadata;
use portcullis_oauth::scope::Scope;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Who we are and what we can.
pub(crate) async fn authorization_server(State(app): State<Arc<App>>) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, PUBLIC_DOCUMENT)], Json(metadata(&app)))
}

fn metadata(app: &App) -> AuthorizationServerMetadata {
    let issuer = &app.config.issuer;
    let secrets = vec![AuthMethod::ClientSecretBasic, AuthMethod::ClientSecretPost];
    let all_methods = vec![AuthMethod::None, AuthMethod::ClientSecretBasic, AuthMethod::ClientSecretPost];
    let registration = app.config.registration.dynamic;
    AuthorizationServerMetadata {
        issuer: issuer.clone(),
        authorization_endpoint: issuer.join("/oauth/authorize"),
        token_endpoint: issuer.join("/oauth/token"),
        jwks_uri: issuer.join("/oauth/jwks"),
        registration_endpoint: registration.then(|| issuer.join("/oauth/register")),
        introspection_endpoint: issuer.join("/oauth/introspect"),
        revocation_endpoint: issuer.join("/oauth/revoke"),
        response_types_supported: vec!["code"],
        response_modes_supported: vec!["query"],
        grant_types_supported: vec![
            GrantType::AuthorizationCode,
            GrantType::RefreshToken,
            GrantType::ClientCredentials,
        ],
        token_endpoint_auth_methods_supported: all_methods.clone(),
        introspection_endpoint_auth_methods_supported: secrets,
        revocation_endpoint_auth_methods_supported: all_methods,
        code_challenge_methods_supported: vec!["S256"],
        authorization_response_iss_parameter_supported: true,
        scopes_supported: default_scopes(app),
    }
}

/// What a request without `scope` means, on any server.
fn default_scopes(app: &App) -> Vec<Scope> {
    let current = app.current.load();
    // Whoever asks for what is listed here means some server of the fleet.
    let servers = current.snapshot.servers.iter().filter(|server| server.id != builtin::SERVER_ID);
    let scopes: BTreeSet<&Scope> = servers.flat_map(|server| server.default_scopes.iter()).collect();
    scopes.into_iter().cloned().collect()
}

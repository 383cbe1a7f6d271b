//! The metadata document of a protected resource (RFC 9728 s2).

use portcullis_oauth::metadata::{ProtectedResourceMetadata, ScopeList};
use portcullis_oauth::resource::ResourceUri;
use portcullis_oauth::scope::ScopeSet;

/// The document of the server `resource`, to be served at [`ResourceUri::metadata_url`].
///
/// `offline_access` is left out: it says nothing about the resource (AS-PRM-05).
pub fn protected_resource(
    resource: &ResourceUri,
    issuers: Vec<String>,
    scopes: &ScopeSet,
    name: Option<String>,
) -> ProtectedResourceMetadata {
    let scopes: ScopeSet = scopes.iter().filter(|scope| scope.as_str() != "offline_access").collect();
    ProtectedResourceMetadata {
        resource: resource.clone(),
        authorization_servers: issuers,
        bearer_methods_supported: vec!["header".to_owned()],
        scopes_supported: ScopeList::from(&scopes),
        resource_name: name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_prm_01_05_the_document_names_resource_issuer_and_scopes() {
        let resource = "https://mcp.test/mcp/a".parse().unwrap();
        let document = protected_resource(
            &resource,
            vec!["https://as.test".into()],
            &"a:read offline_access".parse().unwrap(),
            Some("A".into()),
        );
        assert_eq!(
            serde_json::to_value(document).unwrap(),
            serde_json::json!({
                "resource": "https://mcp.test/mcp/a",
                "authorization_servers": ["https://as.test"],
                "bearer_methods_supported": ["header"],
                "scopes_supported": ["a:read"],
                "resource_name": "A",
            })
        );
    }
}

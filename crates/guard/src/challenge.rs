//! What to answer a request that may not pass: status and `WWW-Authenticate` (RFC 6750 s3, RFC 9728 s5.1).

use portcullis_oauth::challenge::BearerChallenge;
use portcullis_oauth::resource::ResourceUri;
use portcullis_oauth::scope::ScopeSet;

/// A status code with the value of `WWW-Authenticate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// 400, 401 or 403.
    pub status: u16,
    /// The header's value; ASCII only.
    pub www_authenticate: String,
}

/// Builds the challenges of one server. Everything in them is configured; nothing comes from a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenges {
    resource_metadata: String,
    advertised: ScopeSet,
}

impl Challenges {
    /// For the server `resource`, whose callers should ask for `advertised` first.
    pub fn new(resource: &ResourceUri, advertised: ScopeSet) -> Self {
        Self { resource_metadata: resource.metadata_url(), advertised }
    }

    /// No credentials were presented: 401 with no `error` (RFC 6750 s3.1).
    pub fn missing(&self) -> Challenge {
        self.build(401, None, None, Some(&self.advertised))
    }

    /// The way the token was presented is wrong: 400.
    pub fn invalid_request(&self, sentence: &str) -> Challenge {
        self.build(400, Some("invalid_request"), Some(sentence), None)
    }

    /// The token does not count here and now: 401. Why is for our records, not for the caller.
    pub fn invalid_token(&self) -> Challenge {
        self.build(401, Some("invalid_token"), None, Some(&self.advertised))
    }

    /// The token counts, and does not suffice: 403, naming all scopes of the operation (PC-23).
    pub fn insufficient_scope(&self, needs: &ScopeSet, sentence: &str) -> Challenge {
        self.build(403, Some("insufficient_scope"), Some(sentence), Some(needs))
    }

    /// The token counts, and nothing here is open to it: 403, naming what to ask for first.
    pub fn insufficient_for_anything(&self, sentence: &str) -> Challenge {
        self.insufficient_scope(&self.advertised, sentence)
    }

    fn build(
        &self,
        status: u16,
        error: Option<&str>,
        sentence: Option<&str>,
        scope: Option<&ScopeSet>,
    ) -> Challenge {
        let challenge = BearerChallenge {
            error,
            error_description: sentence,
            resource_metadata: Some(&self.resource_metadata),
            scope,
        };
        Challenge { status, www_authenticate: challenge.to_header_value() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_prm_02_04_challenges_name_metadata_and_all_scopes() {
        let resource: ResourceUri = "https://mcp.test/mcp/a".parse().unwrap();
        let challenges = Challenges::new(&resource, "a:read".parse().unwrap());
        let metadata = r#"resource_metadata="https://mcp.test/.well-known/oauth-protected-resource/mcp/a""#;
        let missing = challenges.missing();
        assert_eq!(missing.status, 401);
        assert_eq!(
            missing.www_authenticate,
            format!(r#"Bearer scope="a:read", {metadata}"#),
            "DISC-02: no error"
        );
        let refused = challenges.insufficient_scope(&"a:read b".parse().unwrap(), "needs a:read b");
        assert_eq!(refused.status, 403);
        assert_eq!(
            refused.www_authenticate,
            format!(
                r#"Bearer error="insufficient_scope", error_description="needs a:read b", scope="a:read b", {metadata}"#
            )
        );
        assert_eq!(challenges.invalid_token().status, 401);
        assert_eq!(challenges.invalid_request("x").status, 400);
    }
}

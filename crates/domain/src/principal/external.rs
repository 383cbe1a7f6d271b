//! From what another issuer says of a token to a principal (PC-06). Nothing of it can be taken for one of our own: the subject
//! is of its own kind, and the client's name begins with the issuer.

use super::{Principal, Subject};
use crate::id::{SessionId, TokenId};
use crate::registry::{ScopeClaim, TrustedIssuer};
use aws_lc_rs::digest;
use portcullis_oauth::client::ClientId;
use portcullis_oauth::jwt::{ExternalClaims, TokenRefusal};
use portcullis_oauth::scope::{Scope, ScopeSet};
use serde_json::Value;

/// Longest name of a client that is taken.
const LONGEST_CLIENT: usize = 200;

impl Principal {
    /// Of a token whose claims were checked.
    ///
    /// Its session and token have no ids of ours. They get ones that follow from what they are, so that they can be named when
    /// something is revoked: the token's from its text, the session's from issuer, subject and client.
    pub fn external(
        trusted: &TrustedIssuer,
        claims: &ExternalClaims,
        token: &str,
    ) -> Result<Self, TokenRefusal> {
        let subject = Subject::External { issuer: trusted.issuer.clone(), subject: claims.sub.clone() };
        let client = client_of(trusted, claims).ok_or(TokenRefusal::Claims)?;
        let client_id: ClientId = client.parse().map_err(|_| TokenRefusal::Claims)?;
        let who = format!("{}\n{client}\n{}", trusted.issuer, claims.sub);
        Ok(Self {
            subject,
            session: SessionId::from_bytes(id_of("session", &who)),
            token: TokenId::from_bytes(id_of("token", token)),
            client_id,
            scopes: scopes_of(trusted, claims)?,
            roles: Vec::new(),
            issued_at: claims.iat,
            expires_at: claims.exp,
        })
    }
}

/// `ISSUER|CLIENT`. No client of ours has a name with that in it.
fn client_of(trusted: &TrustedIssuer, claims: &ExternalClaims) -> Option<String> {
    let stated = match &trusted.client_claim {
        Some(name) => claims.others.get(name),
        None => claims.others.get("client_id").or_else(|| claims.others.get("azp")),
    };
    let client = stated?.as_str().filter(|client| (1..=LONGEST_CLIENT).contains(&client.len()))?;
    Some(format!("{}|{client}", trusted.issuer))
}

fn scopes_of(trusted: &TrustedIssuer, claims: &ExternalClaims) -> Result<ScopeSet, TokenRefusal> {
    let words: Vec<&str> = match (claims.others.get(trusted.scope_claim.as_str()), trusted.scope_claim) {
        (None, _) => Vec::new(),
        (Some(Value::String(words)), ScopeClaim::Scope | ScopeClaim::Scp) => words.split(' ').collect(),
        (Some(Value::Array(words)), _) => {
            let words = words.iter().map(Value::as_str).collect::<Option<_>>();
            words.ok_or(TokenRefusal::Claims)?
        }
        (Some(_), _) => return Err(TokenRefusal::Claims),
    };
    let meaning = |word: &str| match &trusted.scope_map {
        Some(map) => map.get(word).cloned(),
        None => word.parse::<Scope>().ok(),
    };
    Ok(words.into_iter().filter_map(meaning).collect())
}

/// 16 bytes that follow from `text`.
fn id_of(kind: &str, text: &str) -> [u8; 16] {
    let hash = digest::digest(&digest::SHA256, format!("portcullis external {kind}\n{text}").as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&hash.as_ref()[..16]);
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Proof, TokenType};
    use serde_json::json;
    use std::collections::BTreeMap;

    fn trusted() -> TrustedIssuer {
        TrustedIssuer {
            issuer: "https://idp.test".parse().unwrap(),
            proof: Proof::Jwks {
                address: "https://idp.test/keys".into(),
                algorithms: vec![],
                token_type: TokenType::AccessToken,
            },
            audience: None,
            scope_claim: ScopeClaim::Scope,
            scope_map: None,
            client_claim: None,
            access: "notes:read".parse().unwrap(),
        }
    }

    fn principal(trusted: &TrustedIssuer, others: Value) -> Result<Principal, TokenRefusal> {
        let mut claims = json!({ "iss": "https://idp.test", "sub": "usr_1", "aud": "a", "exp": 9, "iat": 1 });
        claims.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
        let claims = ExternalClaims::read(claims.as_object().unwrap().clone()).unwrap();
        Principal::external(trusted, &claims, "token")
    }

    #[test]
    fn pc_06_a_stranger_is_never_one_of_ours_whatever_its_name() {
        let stranger =
            principal(&trusted(), json!({ "client_id": "cli_agent", "roles": ["engineers"] })).unwrap();
        assert_eq!(stranger.subject.to_string(), "https://idp.test|usr_1");
        assert_eq!(stranger.client_id.as_str(), "https://idp.test|cli_agent");
        assert!(stranger.roles.is_empty(), "its roles are none of ours");
        let other = principal(&trusted(), json!({ "azp": "cli_2" })).unwrap();
        assert_ne!(stranger.session, other.session);
        assert_eq!(stranger.token, other.token, "by its text");
        for nobody in
            [json!({}), json!({ "client_id": "" }), json!({ "client_id": 1 }), json!({ "client_id": "a b" })]
        {
            assert_eq!(principal(&trusted(), nobody), Err(TokenRefusal::Claims));
        }
    }

    #[test]
    fn pc_06_scopes_stand_where_they_are_said_to_and_mean_what_the_map_says() {
        let with = |claim, map: Option<&str>, others: Value| {
            let map = map.map(|to| BTreeMap::from([("idp.read".to_owned(), to.parse().unwrap())]));
            let trusted = TrustedIssuer { scope_claim: claim, scope_map: map, ..trusted() };
            let mut others = others;
            others["client_id"] = json!("c");
            principal(&trusted, others).map(|principal| principal.scopes.to_string())
        };
        let words = json!({ "scope": "idp.read notes:read", "scp": ["a"], "roles": ["b"] });
        assert_eq!(with(ScopeClaim::Scope, None, words.clone()), Ok("idp.read notes:read".into()));
        assert_eq!(
            with(ScopeClaim::Scope, Some("notes:read"), json!({ "scope": "idp.read notes:write" })),
            Ok("notes:read".into())
        );
        assert_eq!(with(ScopeClaim::Scp, None, words.clone()), Ok("a".into()));
        assert_eq!(with(ScopeClaim::Roles, None, words), Ok("b".into()));
        assert_eq!(with(ScopeClaim::Scp, None, json!({ "scp": "a b" })), Ok("a b".into()));
        assert_eq!(with(ScopeClaim::Scope, None, json!({})), Ok(String::new()));
        for bad in [json!({ "scope": 1 }), json!({ "scope": [1] }), json!({ "scope": {} })] {
            assert_eq!(with(ScopeClaim::Scope, None, bad), Err(TokenRefusal::Claims));
        }
        assert_eq!(with(ScopeClaim::Roles, None, json!({ "roles": "admin" })), Err(TokenRefusal::Claims));
    }
}

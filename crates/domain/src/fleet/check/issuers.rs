//! `issuers` of a server (PC-06): whose tokens count, and how far.

use super::Check;
use crate::fleet::raw::{RawIssuer, RawIssuerClient, RawTrustedIssuer};
use crate::registry::{Issuers, Placement, Proof, SecretPlace, TokenType, TrustedIssuer, is_never_dialled};
use portcullis_oauth::issuer::{ExternalIssuer, Issuer};
use portcullis_oauth::jwk::ExternalAlgorithm;
use portcullis_oauth::scope::{Scope, ScopeSet};
use portcullis_oauth::upstream::UpstreamUrl;
use std::collections::BTreeMap;
use toml::Spanned;

/// Most issuers of one server.
const MOST_ISSUERS: usize = 16;

/// By what a token is believed: one of the two ways, as written.
struct RawProof {
    jwks: Option<Spanned<String>>,
    keys: RawKeys,
    introspection: Option<Spanned<String>>,
    client: Option<RawIssuerClient>,
}

/// What is demanded of a token that published keys verify.
struct RawKeys {
    algorithms: Option<Vec<Spanned<String>>>,
    token_type: Option<TokenType>,
}

/// Where an entry stands: what is wrong in it is told with its line.
struct Place(std::ops::Range<usize>);

impl Place {
    fn of(&self, text: String) -> Spanned<String> {
        Spanned::new(self.0.clone(), text)
    }
}

impl Check<'_> {
    /// `None` when something of it is wrong, and was told.
    pub(super) fn issuers(
        &mut self,
        raw: Option<Spanned<Vec<Spanned<RawIssuer>>>>,
        declared: &ScopeSet,
        placement: Option<&Placement>,
    ) -> Option<Issuers> {
        let Some(raw) = raw else { return Some(Issuers::default()) };
        let at = raw.span().start;
        let told = self.problems.len();
        if raw.get_ref().is_empty() || raw.get_ref().len() > MOST_ISSUERS {
            let says = "issuers names 1 to 16; leave it out for this authority alone, which is [\"self\"]";
            self.problem(at, says);
        }
        let mut issuers = Issuers { own: false, external: Vec::new() };
        for entry in raw.into_inner() {
            let (at, span) = (entry.span().start, entry.span());
            match entry.into_inner() {
                RawIssuer::Word(word) if word == "self" && !issuers.own => issuers.own = true,
                RawIssuer::Word(word) if word == "self" => self.problem(at, "\"self\" stands here twice"),
                RawIssuer::Word(word) => {
                    let says = format!(
                        "{word:?} is no issuer: \"self\" is this authority; another is a table, {{ issuer = \"…\", jwks = \"…\", access = […] }}"
                    );
                    self.problem(at, says);
                }
                RawIssuer::Other(raw) => {
                    issuers.external.extend(self.trusted_issuer(&Place(span), *raw, declared));
                }
            }
        }
        self.distinct(at, &issuers);
        if placement == Some(&Placement::Direct) && issuers != Issuers::default() {
            let says = "a direct server checks tokens itself, so other issuers are for servers behind the gateway; leave issuers out";
            self.problem(at, says);
        }
        (self.problems.len() == told).then_some(issuers)
    }

    fn distinct(&mut self, at: usize, issuers: &Issuers) {
        let mut seen: Vec<&ExternalIssuer> = Vec::new();
        for trusted in &issuers.external {
            if seen.contains(&&trusted.issuer) {
                self.problem(at, format!("the issuer {:?} stands here twice", trusted.issuer.as_str()));
            }
            seen.push(&trusted.issuer);
        }
        let asked = |trusted: &&TrustedIssuer| matches!(trusted.proof, Proof::Introspection { .. });
        if issuers.external.iter().filter(asked).count() > 1 {
            let says = "only one issuer of a server can be asked by introspection: no token of one is ever shown to another";
            self.problem(at, says);
        }
    }

    fn trusted_issuer(
        &mut self,
        place: &Place,
        raw: RawTrustedIssuer,
        declared: &ScopeSet,
    ) -> Option<TrustedIssuer> {
        let at = place.0.start;
        let issuer =
            self.external_issuer(&place.of(raw.issuer), "this is our own issuer, which is written \"self\"");
        let algorithms = raw.algorithms.map(|all| all.into_iter().map(|text| place.of(text)).collect());
        let proof = RawProof {
            jwks: raw.jwks.map(|text| place.of(text)),
            keys: RawKeys { algorithms, token_type: raw.token_type },
            introspection: raw.introspection.map(|text| place.of(text)),
            client: raw.client,
        };
        let proof = self.proof(at, proof);
        if let Some(audience) = &raw.audience
            && (audience.is_empty() || audience.len() > 512)
        {
            self.problem(at, "audience is what aud says, exactly: 1 to 512 characters");
        }
        if let Some(claim) = &raw.client_claim
            && claim.is_empty()
        {
            self.problem(at, "client_claim is the name of the claim that names the client");
        }
        if raw.access.is_empty() {
            let says = "access is the most that tokens of this issuer may do here: at least one scope";
            self.problem(at, says);
        }
        let access = self.scope_set(raw.access.into_iter().map(|text| place.of(text)).collect(), declared);
        let scope_map = raw.scope_map.map(|map| {
            let map = map.into_iter().map(|(theirs, ours)| (theirs, place.of(ours))).collect();
            self.scope_map(map, declared)
        });
        Some(TrustedIssuer {
            issuer: issuer?,
            proof: proof?,
            audience: raw.audience,
            scope_claim: raw.scope_claim,
            scope_map,
            client_claim: raw.client_claim,
            access,
        })
    }

    /// `ours` is said where it is not another's.
    pub(super) fn external_issuer(&mut self, text: &Spanned<String>, ours: &str) -> Option<ExternalIssuer> {
        self.no_placeholder(text.span().start, "issuer", text.get_ref());
        let issuer: ExternalIssuer = self.read(text)?;
        let own: &Issuer = self.surroundings.issuer;
        let is_like = |own: &str| issuer.as_str().trim_end_matches('/').eq_ignore_ascii_case(own);
        if is_like(own.as_str()) || is_like(&own.join("/assertions")) {
            self.problem(text.span().start, ours);
            return None;
        }
        Some(issuer)
    }

    fn scope_map(
        &mut self,
        raw: BTreeMap<String, Spanned<String>>,
        declared: &ScopeSet,
    ) -> BTreeMap<String, Scope> {
        let mut map = BTreeMap::new();
        for (theirs, ours) in raw {
            let one = self.scope_set(vec![ours], declared);
            map.extend(one.iter().map(|ours| (theirs.clone(), ours.clone())));
        }
        map
    }

    fn proof(&mut self, at: usize, raw: RawProof) -> Option<Proof> {
        let RawProof { jwks, keys, introspection, client } = raw;
        match (jwks, introspection) {
            (Some(jwks), None) => {
                if client.is_some() {
                    let says = "client goes with introspection; published keys are fetched without one";
                    self.problem(at, says);
                }
                let algorithms = self.algorithms(at, keys.algorithms);
                let address = self.issuer_address("jwks", &jwks)?;
                Some(Proof::Jwks { address, algorithms, token_type: keys.token_type.unwrap_or_default() })
            }
            (None, Some(introspection)) => {
                if keys.algorithms.is_some() || keys.token_type.is_some() {
                    let says = "algorithms and token_type go with jwks; introspection looks into no token";
                    self.problem(at, says);
                }
                self.asked(at, &introspection, client)
            }
            (Some(_), Some(_)) | (None, None) => {
                let says = "an issuer has either jwks (the address of its keys) or introspection (where it is asked about tokens)";
                self.problem(at, says);
                None
            }
        }
    }

    fn asked(
        &mut self,
        at: usize,
        introspection: &Spanned<String>,
        client: Option<RawIssuerClient>,
    ) -> Option<Proof> {
        let address = self.issuer_address("introspection", introspection);
        let Some(client) = client else {
            let says = "introspection needs client = { id = \"…\", secret = \"env:NAME\" }";
            self.problem(introspection.span().start, says);
            return None;
        };
        let secret: Option<SecretPlace> = self.place(at, "client.secret", &client.secret);
        if client.id.is_empty() {
            self.problem(at, "client.id is empty");
        }
        Some(Proof::Introspection { address: address?, client_id: client.id, secret: secret? })
    }

    /// The text is not repeated: it may be the secret.
    pub(super) fn place(&mut self, at: usize, what: &str, text: &str) -> Option<SecretPlace> {
        self.no_placeholder(at, what, text);
        let place = text.parse();
        place.map_err(|error| self.problem(at, format!("{what}: {error}"))).ok()
    }

    fn algorithms(&mut self, at: usize, raw: Option<Vec<Spanned<String>>>) -> Vec<ExternalAlgorithm> {
        let Some(raw) = raw else { return ExternalAlgorithm::ALL.to_vec() };
        if raw.is_empty() {
            self.problem(at, "algorithms is empty; leave it out for all that are good");
        }
        let mut algorithms: Vec<ExternalAlgorithm> = raw.iter().filter_map(|text| self.read(text)).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        algorithms
    }

    /// https, or http on loopback: keys that anybody on the way can change are no keys, and tokens are shown to nobody.
    pub(super) fn issuer_address(&mut self, what: &str, text: &Spanned<String>) -> Option<String> {
        let at = text.span().start;
        self.no_placeholder(at, what, text.get_ref());
        let url = text.get_ref().parse::<UpstreamUrl>();
        let url = url.map_err(|error| self.problem(at, format!("{what} {error}"))).ok()?;
        if url.address().is_some_and(is_never_dialled) {
            self.problem(at, format!("{what} is an address where no issuer may stand"));
            return None;
        }
        if !url.is_confidential() {
            self.problem(at, format!("{what} must be https (plain http is for loopback only)"));
            return None;
        }
        Some(text.get_ref().clone())
    }
}

#[cfg(test)]
mod tests {
    use crate::fleet::{Fleet, Problem, Surroundings, new_places};
    use std::collections::BTreeSet;

    fn parse(issuers: &str) -> Result<Fleet, Vec<Problem>> {
        let text = format!(
            "[[server]]\nname = \"notes\"\nupstream = {{ url = \"http://127.0.0.1:9/mcp\" }}\nissuers = [{issuers}]\n[server.scopes]\n\"notes:read\" = \"Read\"\n"
        );
        let (issuer, commands) = ("https://mcp.example.com".parse().unwrap(), BTreeSet::new());
        Fleet::parse(&text, Surroundings { issuer: &issuer, commands: &commands })
    }

    const GOOD: &str =
        r#"{ issuer = "https://idp.example/", jwks = "https://idp.example/keys", access = ["notes:read"] }"#;
    const ASKED: &str = r#"{ issuer = "https://o.example", introspection = "https://o.example/i", client = { id = "us", secret = "env:S" }, access = ["notes:read"] }"#;

    #[test]
    fn pc_06_issuers_are_read_whole() {
        let fleet = parse(&format!("\"self\", {GOOD}, {ASKED}")).unwrap();
        let issuers = &fleet.servers[0].issuers;
        assert!(issuers.own);
        assert_eq!(issuers.external.len(), 2);
        assert!(
            issuers.find("https://idp.example/").is_some() && issuers.find("https://idp.example").is_none()
        );
        assert!(!parse(GOOD).unwrap().servers[0].issuers.own, "without \"self\" ours do not count");
        let places = |issuers: &str| new_places(&Fleet::default(), &parse(issuers).unwrap());
        assert_eq!(places(ASKED), ["server notes: issuers"], "a secret of this machine is shown to somebody");
        assert!(places(GOOD).is_empty());
    }

    #[test]
    fn pc_63_mistakes_in_issuers_are_told_with_their_line() {
        for (issuers, says) in [
            ("", "1 to 16"),
            ("\"slef\"", "is no issuer"),
            ("\"self\", \"self\"", "twice"),
            (&*format!("{GOOD}, {GOOD}"), "twice"),
            (&*format!("{ASKED}, {}", ASKED.replace("o.example", "p.example")), "only one issuer"),
            (&*GOOD.replace("https://idp.example/\"", "https://mcp.example.com\""), "our own issuer"),
            (&*GOOD.replace("https://idp.example/\"", "https://MCP.example.com/\""), "our own issuer"),
            (&*GOOD.replace("https://idp.example/\"", "idp.example\""), "an issuer is the https URL"),
            (&*GOOD.replace("https://idp.example/keys", "http://idp.example/keys"), "must be https"),
            (&*GOOD.replace("notes:read", "notes:raed"), "does not declare"),
            (&*GOOD.replace("[\"notes:read\"]", "[]"), "at least one scope"),
            (&*GOOD.replace("access", "algorithms = [\"HS256\"], access"), "asymmetric"),
            (&*GOOD.replace("access", "algorithms = [], access"), "algorithms is empty"),
            (&*GOOD.replace("access", "audiense = \"x\", access"), "did you mean \"audience\"?"),
            (&*GOOD.replace("access", "scope_claim = \"scopes\", access"), "did you mean \"scope\"?"),
            (&*GOOD.replace("access", "scope_map = { a = \"b\" }, access"), "does not declare"),
            (
                &*GOOD.replace("access", "client = { id = \"x\", secret = \"env:S\" }, access"),
                "goes with introspection",
            ),
            (&*ASKED.replace("env:S", "open-sesame"), "named by its place"),
            (&*ASKED.replace("client = { id = \"us\", secret = \"env:S\" }, ", ""), "needs client"),
            (&*GOOD.replace("jwks = \"https://idp.example/keys\", ", ""), "either jwks"),
        ] {
            let problems = parse(issuers).unwrap_err();
            assert!(
                problems.iter().any(|one| one.line == 4 && one.says.contains(says)),
                "{issuers}: {problems:?}"
            );
            assert!(!format!("{problems:?}").contains("sesame"));
        }
    }
}

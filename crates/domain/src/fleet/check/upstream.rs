//! Where a server runs, and what it gets instead of the caller's token (PC-05).

use super::Check;
use crate::fleet::raw::{
    RawCertificate, RawClientCredentials, RawMode, RawPerUser, RawUpstream, RawUpstreamCredential,
    RawUpstreamCredentials, RawUpstreamWord,
};
use crate::registry::{
    ClientCertificate, ClientCredentials, PerUser, PerUserClient, Placement, SecretPlace, TokenEndpoint,
    Upstream, UpstreamCredential, UpstreamTls, is_never_dialled,
};
use portcullis_oauth::scope::{Scope, ScopeSet};
use portcullis_oauth::upstream::{UpstreamUrl, without_query};
use toml::Spanned;

/// What a program cannot be shown.
const OVER_HTTP_ONLY: &str = "a program gets its secrets by env_from in portcullis.toml; such a credential is for an upstream with a url";

/// An upstream that was read, with what its credential is held against.
struct Read {
    upstream: Upstream,
    /// Of one with an address.
    url: Option<UpstreamUrl>,
    ca: Option<SecretPlace>,
}

impl Check<'_> {
    /// `None` when something of it is wrong, and was told.
    pub(super) fn placement(
        &mut self,
        at: usize,
        mode: RawMode,
        upstream: Option<Spanned<RawUpstream>>,
        credential: Option<Spanned<RawUpstreamCredential>>,
    ) -> Option<Placement> {
        match (mode, upstream) {
            (RawMode::Direct, None) => {
                if let Some(credential) = credential {
                    let says = "a direct server gets nothing from the gateway; leave credential out";
                    self.problem(credential.span().start, says);
                    return None;
                }
                Some(Placement::Direct)
            }
            (RawMode::Direct, Some(upstream)) => {
                self.problem(
                    upstream.span().start,
                    "a direct server has no upstream: callers reach it without the gateway",
                );
                None
            }
            (RawMode::Gateway, None) => {
                self.problem(
                    at,
                    "a server behind the gateway needs upstream = { url = \"…\" } or { command = \"…\" }",
                );
                None
            }
            (RawMode::Gateway, Some(upstream)) => {
                let at = upstream.span().start;
                let told = self.problems.len();
                let read = self.upstream(at, upstream.into_inner())?;
                let (credential, certificate) = match credential {
                    None => (UpstreamCredential::default(), None),
                    Some(credential) => {
                        self.credential(credential.span().start, credential.into_inner(), read.url.as_ref())?
                    }
                };
                let tls = UpstreamTls { ca: read.ca, certificate };
                (self.problems.len() == told).then_some(Placement::Gateway {
                    upstream: read.upstream,
                    credential,
                    tls,
                })
            }
        }
    }

    fn upstream(&mut self, at: usize, raw: RawUpstream) -> Option<Read> {
        if let Some(url) = &raw.url {
            self.no_placeholder(at, "upstream.url", url);
        }
        let ca = raw.ca.as_ref().and_then(|place| self.place(at, "upstream.ca", place));
        match (raw.url, raw.command) {
            (Some(text), None) => {
                let url = self.upstream_url(at, &text)?;
                if raw.ca.is_some() && !url.is_https() {
                    self.problem(at, "upstream.ca vouches for a certificate: the url must be https");
                }
                Some(Read { upstream: Upstream::Url(text), url: Some(url), ca })
            }
            (None, Some(command)) if self.surroundings.commands.contains(&command) => {
                if raw.ca.is_some() {
                    self.problem(at, "upstream.ca goes with url; a program has no certificate");
                }
                Some(Read { upstream: Upstream::Command(command), url: None, ca: None })
            }
            (None, Some(command)) => {
                self.problem(
                    at,
                    format!(
                        "no program {command:?} on this machine: add [command.{command}] to portcullis.toml"
                    ),
                );
                None
            }
            (Some(_), Some(_)) | (None, None) => {
                self.problem(at, "upstream needs either url or command");
                None
            }
        }
    }

    fn upstream_url(&mut self, at: usize, text: &str) -> Option<UpstreamUrl> {
        let url = text.parse::<UpstreamUrl>();
        let url = url.map_err(|error| self.problem(at, format!("upstream.url {error}"))).ok()?;
        if url.address().is_some_and(is_never_dialled) {
            let says = "upstream.url is a link-local, cloud metadata, multicast or unspecified address, where no MCP server may stand";
            self.problem(at, says);
        }
        Some(url)
    }

    /// `url`: the upstream's address, if it has one.
    fn credential(
        &mut self,
        at: usize,
        raw: RawUpstreamCredential,
        url: Option<&UpstreamUrl>,
    ) -> Option<(UpstreamCredential, Option<ClientCertificate>)> {
        let raw = match raw {
            RawUpstreamCredential::Word(RawUpstreamWord::Assertion) => {
                return Some((UpstreamCredential::Assertion, None));
            }
            RawUpstreamCredential::Word(RawUpstreamWord::None) => {
                return Some((UpstreamCredential::None, None));
            }
            RawUpstreamCredential::Several(raw) => *raw,
        };
        let Some(url) = url else {
            self.problem(at, OVER_HTTP_ONLY);
            return None;
        };
        let RawUpstreamCredentials { assertion, bearer, client_credentials, per_user, mtls } = raw;
        let certificate = match mtls {
            None => None,
            Some(mtls) => Some(self.certificate(at, &mtls, url)?),
        };
        if assertion == Some(false) {
            self.problem(at, "credential.assertion is true or left out");
        }
        let header = match (assertion.is_some(), bearer, client_credentials, per_user) {
            (true, None, None, None) => UpstreamCredential::Assertion,
            (false, Some(bearer), None, None) => {
                self.confidential(at, url);
                UpstreamCredential::Bearer(self.place(at, "credential.bearer", &bearer)?)
            }
            (false, None, Some(client), None) => {
                self.confidential(at, url);
                UpstreamCredential::ClientCredentials(Box::new(self.client_credentials(at, client, url)?))
            }
            (false, None, None, Some(asks)) => {
                self.confidential(at, url);
                UpstreamCredential::PerUser(Box::new(self.per_user(at, asks)?))
            }
            (false, None, None, None) if certificate.is_some() => UpstreamCredential::None,
            (false, None, None, None) => {
                let says = "credential is empty: write \"assertion\", \"none\", or one of bearer, client_credentials, per_user and mtls";
                self.problem(at, says);
                return None;
            }
            (true | false, _, _, _) => {
                let says = "only one of assertion, bearer, client_credentials and per_user can stand in the Authorization header; mtls goes with any";
                self.problem(at, says);
                return None;
            }
        };
        Some((header, certificate))
    }

    /// RFC 6750 s5.3: what opens the upstream for whoever has it goes where nobody listens.
    fn confidential(&mut self, at: usize, url: &UpstreamUrl) {
        if !url.is_confidential() {
            let says = "a secret, or a token that opens the upstream for whoever has it, goes over https (or to loopback) only: change upstream.url, or use \"assertion\"";
            self.problem(at, says);
        }
    }

    fn certificate(
        &mut self,
        at: usize,
        raw: &RawCertificate,
        url: &UpstreamUrl,
    ) -> Option<ClientCertificate> {
        if !url.is_https() {
            self.problem(at, "credential.mtls needs an upstream.url that is https");
        }
        let cert = self.place(at, "credential.mtls.cert", &raw.cert);
        let key = self.place(at, "credential.mtls.key", &raw.key);
        Some(ClientCertificate { cert: cert?, key: key? })
    }

    fn per_user(&mut self, at: usize, raw: RawPerUser) -> Option<PerUser> {
        let RawPerUser { scopes, issuer, client_id, client_secret } = raw;
        let place = |text| Spanned::new(at..at, text);
        let scopes = scopes
            .map(|scopes| scopes.into_iter().filter_map(|scope| self.read::<Scope>(&place(scope))).collect());
        let told = self.problems.len();
        let issuer = issuer.and_then(|issuer| {
            let ours = "this is our own issuer; people sign in here anyway";
            self.external_issuer(&place(issuer), ours)
        });
        // MCP "Authorization Server Binding": otherwise the server would choose who is shown the secret.
        if client_id.is_some() && issuer.is_none() && self.problems.len() == told {
            self.problem(at, "per_user.client_id is for one issuer: write it as per_user.issuer");
        }
        let secret = client_secret.map(|secret| self.place(at, "credential.per_user.client_secret", &secret));
        let client = match (client_id, secret) {
            (None, None) => None,
            (None, Some(_)) => {
                self.problem(at, "per_user.client_secret goes with per_user.client_id");
                return None;
            }
            (Some(id), secret) => {
                if id.is_empty() {
                    self.problem(at, "per_user.client_id is empty; leave it out, and we register ourselves");
                }
                Some(PerUserClient { id, secret: secret.flatten() })
            }
        };
        Some(PerUser { scopes, issuer, client })
    }

    fn client_credentials(
        &mut self,
        at: usize,
        raw: RawClientCredentials,
        url: &UpstreamUrl,
    ) -> Option<ClientCredentials> {
        let secret = self.place(at, "credential.client_credentials.secret", &raw.secret);
        if raw.client_id.is_empty() {
            self.problem(at, "credential.client_credentials.client_id is empty");
        }
        let place = |text| Spanned::new(at..at, text);
        let scopes: ScopeSet =
            raw.scopes.into_iter().filter_map(|scope| self.read::<Scope>(&place(scope))).collect();
        let at_issuer = match (raw.issuer, raw.token_endpoint) {
            (Some(issuer), None) => {
                let ours =
                    "this is our own issuer, whose tokens are for callers; an upstream gets our assertion";
                self.external_issuer(&place(issuer), ours).map(TokenEndpoint::Issuer)
            }
            (None, Some(endpoint)) => {
                self.issuer_address("token_endpoint", &place(endpoint)).map(TokenEndpoint::Url)
            }
            (Some(_), Some(_)) | (None, None) => {
                let says = "client_credentials needs either issuer (its metadata says where tokens are got) or token_endpoint";
                self.problem(at, says);
                None
            }
        };
        let resource = match raw.resource.as_deref() {
            None => Some(without_query(url.as_str()).to_owned()),
            Some("none") => None,
            Some(resource) => {
                // RFC 8707 s2: absolute, without fragment.
                if let Err(error) = resource.parse::<UpstreamUrl>() {
                    let says = format!("credential.client_credentials.resource {error}; or it is \"none\"");
                    self.problem(at, says);
                }
                Some(resource.to_owned())
            }
        };
        Some(ClientCredentials {
            at: at_issuer?,
            client_id: raw.client_id,
            secret: secret?,
            scopes,
            resource,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::fleet::{Fleet, Problem, Surroundings, new_places};
    use crate::registry::{PerUser, Placement, TokenEndpoint, UpstreamCredential, UpstreamTls};
    use std::collections::BTreeSet;

    fn parse(rest: &str) -> Result<Fleet, Vec<Problem>> {
        let text =
            format!("[[server]]\nname = \"notes\"\n{rest}\n[server.scopes]\n\"notes:read\" = \"Read\"\n");
        let issuer = "https://mcp.example.com".parse().unwrap();
        let commands = BTreeSet::from(["prog".to_owned()]);
        Fleet::parse(&text, Surroundings { issuer: &issuer, commands: &commands })
    }

    fn with(credential: &str) -> String {
        format!("upstream = {{ url = \"https://n.example/mcp?k=1\" }}\ncredential = {credential}")
    }

    fn read(credential: &str) -> (UpstreamCredential, UpstreamTls) {
        match parse(&with(credential)).unwrap().servers.remove(0).placement {
            Placement::Gateway { credential, tls, .. } => (credential, tls),
            Placement::Direct => panic!("it is behind the gateway"),
        }
    }

    const CLIENT: &str = r#"client_credentials = { token_endpoint = "https://idp.example/token", client_id = "us", secret = "env:S", scopes = ["a"] }"#;
    const MTLS: &str = r#"mtls = { cert = "file:/run/c.pem", key = "file:/run/k.pem" }"#;

    #[test]
    fn pc_05_what_an_upstream_gets_is_read_whole() {
        assert_eq!(read("\"none\""), (UpstreamCredential::None, UpstreamTls::default()));
        assert_eq!(read("\"assertion\"").0, UpstreamCredential::Assertion);
        assert_eq!(read("{ bearer = \"env:T\" }").0, UpstreamCredential::Bearer("env:T".parse().unwrap()));
        let client = |written: &str| {
            let UpstreamCredential::ClientCredentials(client) = read(written).0 else { panic!("{written}") };
            *client
        };
        let read_client = client(&format!("{{ {CLIENT} }}"));
        assert_eq!(read_client.at, TokenEndpoint::Url("https://idp.example/token".into()));
        assert_eq!(
            read_client.resource.as_deref(),
            Some("https://n.example/mcp"),
            "the address without its query"
        );
        let per_user = |written: &str| {
            let UpstreamCredential::PerUser(asks) = read(written).0 else { panic!("{written}") };
            *asks
        };
        assert_eq!(per_user("{ per_user = {} }"), PerUser::default());
        let asks = per_user(
            r#"{ per_user = { scopes = ["a:b"], issuer = "https://as.example/", client_id = "us", client_secret = "env:S" } }"#,
        );
        assert_eq!(asks.issuer.unwrap().as_str(), "https://as.example/");
        assert_eq!(asks.client.unwrap().secret, Some("env:S".parse().unwrap()));
        let client_for = |resource: &str| {
            client(&format!("{{ {} }}", CLIENT.replace("scopes", &format!("resource = {resource}, scopes"))))
                .resource
        };
        assert_eq!(client_for("\"none\""), None);
        assert_eq!(client_for("\"https://other.example\"").as_deref(), Some("https://other.example"));
    }

    #[test]
    fn pc_05_a_certificate_goes_with_any_header() {
        let shown = |written: &str| {
            let (credential, tls) = read(written);
            (credential, tls.certificate.map(|shown| shown.key.to_string()))
        };
        let key = || Some("file:/run/k.pem".to_owned());
        assert_eq!(shown(&format!("{{ {MTLS} }}")), (UpstreamCredential::None, key()));
        assert_eq!(shown(&format!("{{ assertion = true, {MTLS} }}")), (UpstreamCredential::Assertion, key()));
        let bearer = UpstreamCredential::Bearer("env:T".parse().unwrap());
        assert_eq!(shown(&format!("{{ bearer = \"env:T\", {MTLS} }}")), (bearer, key()));
    }

    #[test]
    fn pc_63_mistakes_about_upstreams_are_told_with_their_line_and_without_secrets() {
        let plain = |text: &str| text.replace("https://n.example", "http://n.example");
        let program =
            |credential: &str| format!("upstream = {{ command = \"prog\" }}\ncredential = {credential}");
        for (rest, line, says) in [
            (with("\"asertion\""), 4, "did you mean \"assertion\"?"),
            (with("{ bearer = \"open-sesame\" }"), 4, "named by its place"),
            (with("{ bearer = \"file:<path>\" }"), 4, "placeholder"),
            (with("{ baerer = \"env:T\" }"), 4, "did you mean \"bearer\"?"),
            (with("{}"), 4, "is empty"),
            (with("{ assertion = false }"), 4, "true or left out"),
            (with(&format!("{{ bearer = \"env:T\", {CLIENT} }}")), 4, "only one of"),
            (with("{ assertion = true, bearer = \"env:T\" }"), 4, "only one of"),
            (with(&format!("{{ {} }}", CLIENT.replace("env:S", "open-sesame"))), 4, "named by its place"),
            (with(&format!("{{ {} }}", CLIENT.replace("https://idp", "http://idp"))), 4, "must be https"),
            (with(&format!("{{ {} }}", CLIENT.replace("\"us\"", "\"\""))), 4, "client_id is empty"),
            (
                with(&format!("{{ {} }}", CLIENT.replace("client_id = \"us\", ", ""))),
                4,
                "client_id is missing",
            ),
            (
                with(&format!(
                    "{{ {} }}",
                    CLIENT.replace(
                        "token_endpoint = \"https://idp.example/token\"",
                        "issuer = \"https://mcp.example.com\""
                    )
                )),
                4,
                "our own issuer",
            ),
            (
                with(&format!(
                    "{{ {} }}",
                    CLIENT.replace("token_endpoint", "issuer = \"https://a.example\", token_endpoint")
                )),
                4,
                "either issuer",
            ),
            (
                with(&format!("{{ {} }}", CLIENT.replace("scopes", "resource = \"/x\", scopes"))),
                4,
                "or it is \"none\"",
            ),
            (plain(&with("{ bearer = \"env:T\" }")), 4, "over https (or to loopback) only"),
            (plain(&with(&format!("{{ {CLIENT} }}"))), 4, "over https (or to loopback) only"),
            (plain(&with(&format!("{{ {MTLS} }}"))), 4, "needs an upstream.url that is https"),
            (
                with(&format!("{{ {} }}", MTLS.replace("file:/run/k.pem", "run/k.pem"))),
                4,
                "named by its place",
            ),
            (program("{ bearer = \"env:T\" }"), 4, "env_from"),
            (with("{ per_user = { client_id = \"us\" } }"), 4, "write it as per_user.issuer"),
            (with("{ per_user = { client_secret = \"env:S\" } }"), 4, "goes with per_user.client_id"),
            (with("{ per_user = { issuer = \"https://mcp.example.com\" } }"), 4, "our own issuer"),
            (with("{ per_user = { scope = [] } }"), 4, "did you mean \"scopes\"?"),
            (with("{ per_user = {}, bearer = \"env:T\" }"), 4, "only one of"),
            (plain(&with("{ per_user = {} }")), 4, "over https (or to loopback) only"),
            (program("{ per_user = {} }"), 4, "env_from"),
            ("mode = \"direct\"\ncredential = \"none\"".to_owned(), 4, "leave credential out"),
            ("upstream = { url = \"http://n/mcp\", ca = \"file:/run/ca\" }".to_owned(), 3, "must be https"),
            ("upstream = { command = \"prog\", ca = \"file:/run/ca\" }".to_owned(), 3, "goes with url"),
            ("upstream = { url = \"http://169.254.169.254/latest\" }".to_owned(), 3, "link-local"),
            ("upstream = { url = \"http://2852039166/latest\" }".to_owned(), 3, "link-local"),
        ] {
            let problems = parse(&rest).unwrap_err();
            assert!(
                problems.iter().any(|one| one.line == line && one.says.contains(says)),
                "{rest}: {problems:?}"
            );
            assert!(!format!("{problems:?}").contains("sesame"), "{rest}");
        }
    }

    #[test]
    fn adm_03_the_same_secret_for_another_address_is_named_anew() {
        let here = with("{ bearer = \"env:T\" }");
        let elsewhere = here.replace("n.example", "evil.example");
        let between = |before: &str, after: &str| new_places(&parse(before).unwrap(), &parse(after).unwrap());
        let told = ["server notes: upstream and credential"];
        assert_eq!(between(&here, &here), Vec::<String>::new());
        assert_eq!(between(&here, &elsewhere), told);
        assert_eq!(between(&with("\"none\""), &here), told);
        assert_eq!(between(&here, &with("\"none\"")), Vec::<String>::new(), "showing nothing is no gain");
        assert_eq!(between(&with("\"none\""), &with(&format!("{{ {MTLS} }}"))), told);
    }
}

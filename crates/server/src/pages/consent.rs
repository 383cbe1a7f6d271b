//! The page on which a person decides what a client may do for them (UI-09, AS-CONS-01).

use askama::Template;
use portcullis_domain::registry::{Risk, Server};
use portcullis_oauth::scope::{Scope, ScopeSet};

/// Who asks, for what, on which server, and where the answer goes.
#[derive(Template)]
#[template(path = "consent.html")]
pub(crate) struct ConsentPage<'a> {
    /// Path of the issuer.
    pub(crate) base: &'a str,
    /// Sealed: exactly what is asked on this page.
    pub(crate) flow: &'a str,
    /// Who is asked.
    pub(crate) username: &'a str,
    /// The name the client gave itself, or its identifier.
    pub(crate) client: &'a str,
    /// Whether the operator registered it; else nobody did but itself.
    pub(crate) is_registered: bool,
    /// Host of the redirect URI.
    pub(crate) callback_host: &'a str,
    /// The redirect stays on the user's machine, where any program may be listening (AS-CONS-02).
    pub(crate) is_on_this_computer: bool,
    /// For people.
    pub(crate) server_title: &'a str,
    /// The audience of the token.
    pub(crate) server_uri: &'a str,
    /// What is asked for.
    pub(crate) scopes: Vec<ScopeLine<'a>>,
}

/// One scope in words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ScopeLine<'a> {
    /// As it stands in tokens.
    pub(crate) name: &'a str,
    /// What it means.
    pub(crate) says: &'a str,
    /// What else comes with it.
    pub(crate) includes: Vec<&'a str>,
    /// Some rule that needs it is marked as risky.
    pub(crate) is_risky: bool,
    /// Not agreed to before, although other things were (UI-08).
    pub(crate) is_new: bool,
}

/// The lines for `asked`; `agreed` is what this person already lets this client do on this server, if anything.
pub(crate) fn scope_lines<'a>(
    server: &'a Server,
    asked: &'a ScopeSet,
    agreed: Option<&ScopeSet>,
) -> Vec<ScopeLine<'a>> {
    let says = |scope: &'a Scope| {
        let meaning = server.scopes.get(scope);
        meaning.map_or(scope.as_str(), |meaning| meaning.says.as_str())
    };
    let line = |scope: &'a Scope| ScopeLine {
        name: scope.as_str(),
        says: says(scope),
        includes: implied_by(server, scope).into_iter().map(says).collect(),
        is_risky: is_risky(server, scope),
        is_new: agreed.is_some_and(|agreed| !agreed.contains(scope)),
    };
    asked.iter().map(line).collect()
}

fn is_risky(server: &Server, scope: &Scope) -> bool {
    let implied = implied_by(server, scope);
    server.rules.iter().any(|rule| {
        let concerns = |scope: &Scope| rule.scopes.contains(scope);
        rule.risk == Risk::High && (concerns(scope) || implied.iter().any(|scope| concerns(scope)))
    })
}

/// Everything that comes with a scope, however many steps away.
fn implied_by<'a>(server: &'a Server, scope: &Scope) -> Vec<&'a Scope> {
    let mut found: Vec<&Scope> = Vec::new();
    let mut open = vec![scope];
    while let Some(next) = open.pop() {
        let implied = server.scopes.get(next).map(|meaning| &meaning.implies);
        for further in implied.into_iter().flat_map(ScopeSet::iter) {
            if further != scope && !found.contains(&further) {
                found.push(further);
                open.push(further);
            }
        }
    }
    found
}

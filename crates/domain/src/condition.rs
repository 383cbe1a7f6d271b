//! What a decision may depend on besides who calls and what they want: the moment, the place, the arguments (PC-24).
//!
//! A condition that cannot be evaluated holds, and so forbids. `Option<bool>` below is "yes", "no" and "nobody can tell".

use crate::registry::Name;
use portcullis_oauth::scope::ScopeSet;
use portcullis_oauth::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

mod network;
mod pattern;
mod window;

pub use network::{InvalidNetwork, Network};
pub(crate) use pattern::stars_match;
pub use pattern::{InvalidPattern, Pattern};
pub use window::{InvalidWindow, Window};

/// The arguments of a call, looked at only when a condition asks.
pub trait Arguments: Sync {
    /// The text of the argument `name`; `None` when it is not there, or no text, or when some reader may take another one for
    /// it ([`is_other_spelling`]).
    fn text(&self, name: &str) -> Option<Cow<'_, str>>;
}

/// Whether some reader takes the argument `other` for `name`: by another case or the separators that naming styles differ in,
/// as libraries do that fill in structures (CVE-2026-27896), or by folding letters of other scripts into ours.
pub fn is_other_spelling(other: &str, name: &str) -> bool {
    let folded = |text: &str| -> String {
        let letters = text.chars().filter(|letter| !matches!(letter, '_' | '-' | ' ' | '.'));
        letters.map(|letter| letter.to_ascii_lowercase()).collect()
    };
    // What is not printable ASCII may fold into anything; `__proto__` changes how the others are looked up.
    let is_plain = other.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    other != name && (!is_plain || other == "__proto__" || folded(other) == folded(name))
}

/// What is known of the circumstances of a request. A condition on what is not known refuses.
#[derive(Clone, Copy)]
pub struct Circumstances<'a> {
    /// The present moment.
    pub now: Timestamp,
    /// Where the request comes from.
    pub address: Option<IpAddr>,
    /// Of the call that is decided about.
    pub arguments: Option<&'a dyn Arguments>,
}

impl Circumstances<'_> {
    /// Only the moment is known.
    pub const fn at(now: Timestamp) -> Self {
        Self { now, address: None, arguments: None }
    }
}

/// A `[[forbid]]`: what all its keys select is refused while all its conditions hold. A key that is left out selects
/// everything; of several values of one key, one is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forbid {
    /// Unique; refusals name it.
    pub name: String,
    /// On these servers.
    pub servers: Vec<Name>,
    /// On servers with one of these labels.
    pub labels: Vec<String>,
    /// What needs one of these scopes, or one that implies one of them.
    pub scopes: ScopeSet,
    /// Calls of these tools; patterns as in rules.
    pub tools: Vec<String>,
    /// By these agents.
    pub agents: Vec<Name>,
    /// By agents with one of these labels.
    pub agent_labels: Vec<String>,
    /// By people with one of these roles.
    pub roles: Vec<Name>,
    /// Always, if nothing is said.
    pub when: When,
}

/// Conditions, of which all must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// The moment is inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<Window>,
    /// The moment is outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside: Option<Window>,
    /// The request comes from one of these networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub address_in: Vec<Network>,
    /// The request comes from none of these networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub address_not_in: Vec<Network>,
    /// Each of these arguments is inside.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub argument_in: BTreeMap<String, Pattern>,
    /// One of these arguments is outside.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub argument_outside: BTreeMap<String, Pattern>,
}

impl When {
    /// Whether a condition looks at arguments.
    pub fn asks_for_arguments(&self) -> bool {
        !self.argument_in.is_empty() || !self.argument_outside.is_empty()
    }

    /// Whether a condition looks at the caller's address.
    pub fn asks_for_address(&self) -> bool {
        !self.address_in.is_empty() || !self.address_not_in.is_empty()
    }

    /// Whether it forbids now: no condition is known not to hold.
    pub(crate) fn holds(&self, circumstances: &Circumstances<'_>) -> bool {
        let inside = |window: &Window| window.contains(circumstances.now);
        let among = |networks: &[Network]| {
            circumstances.address.map(|from| networks.iter().any(|network| network.contains(from)))
        };
        let is_known_not_to = |holds: Option<bool>| holds == Some(false);
        let fails = self.inside.as_ref().is_some_and(|window| is_known_not_to(inside(window)))
            || self
                .outside
                .as_ref()
                .is_some_and(|window| is_known_not_to(inside(window).map(|inside| !inside)))
            || (!self.address_in.is_empty() && is_known_not_to(among(&self.address_in)))
            || (!self.address_not_in.is_empty()
                && is_known_not_to(among(&self.address_not_in).map(|among| !among)))
            || self.argument_in.iter().any(|(name, pattern)| {
                is_known_not_to(argument(circumstances, name, |text| pattern.contains(text, true)))
            })
            || (!self.argument_outside.is_empty() && self.every_argument_is_inside(circumstances));
        !fails
    }

    fn every_argument_is_inside(&self, circumstances: &Circumstances<'_>) -> bool {
        self.argument_outside.iter().all(|(name, pattern)| {
            argument(circumstances, name, |text| pattern.contains(text, false)) == Some(true)
        })
    }
}

fn argument(
    circumstances: &Circumstances<'_>,
    name: &str,
    judge: impl Fn(&str) -> Option<bool>,
) -> Option<bool> {
    judge(&circumstances.arguments?.text(name)?)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    impl Arguments for BTreeMap<String, String> {
        fn text(&self, name: &str) -> Option<Cow<'_, str>> {
            self.get(name).map(|text| Cow::Borrowed(text.as_str()))
        }
    }

    /// Noon in Amsterdam.
    pub(crate) const NOON: Timestamp = Timestamp::from_seconds(1_768_474_800);
    pub(crate) const NIGHT: Timestamp = Timestamp::from_seconds(1_768_434_000);

    fn when(text: &str) -> When {
        toml::from_str(text).unwrap()
    }

    fn holds(text: &str, now: Timestamp, address: Option<&str>, arguments: &[(&str, &str)]) -> bool {
        let arguments: BTreeMap<String, String> =
            arguments.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let address = address.map(|address| address.parse().unwrap());
        when(text).holds(&Circumstances { now, address, arguments: Some(&arguments) })
    }

    #[test]
    fn pc_24_nothing_said_is_always() {
        assert!(When::default().holds(&Circumstances::at(NOON)));
    }

    #[test]
    fn pc_24_all_conditions_must_hold() {
        let both =
            "outside = \"07:00-19:00 Europe/Amsterdam\"\naddress_not_in = [\"10.0.0.0/8\", \"fd00::/8\"]";
        assert!(holds(both, NIGHT, Some("192.0.2.1"), &[]));
        assert!(!holds(both, NIGHT, Some("10.1.1.1"), &[]), "from the office, at night");
        assert!(!holds(both, NOON, Some("192.0.2.1"), &[]), "from elsewhere, at noon");
        assert!(!holds(both, NIGHT, Some("fd00::1"), &[]));
    }

    #[test]
    fn pc_24_what_cannot_be_evaluated_forbids() {
        assert!(holds("address_in = [\"10.0.0.0/8\"]", NOON, None, &[]), "no address known");
        assert!(holds("address_not_in = [\"0.0.0.0/0\"]", NOON, None, &[]));
        assert!(holds("argument_in.path = \"/etc/**\"", NOON, None, &[]), "no such argument");
        assert!(holds("argument_outside.path = \"/srv/**\"", NOON, None, &[]));
        assert!(holds("argument_outside.path = \"/srv/**\"", NOON, None, &[("path", "/srv/../etc")]));
        assert!(!when("argument_in.path = \"/etc/**\"").asks_for_address());
        let unknown = Circumstances { now: NOON, address: None, arguments: None };
        assert!(when("argument_outside.path = \"/srv/**\"").holds(&unknown), "no arguments known");
        let other = "argument_in.path = \"/etc/**\"\ninside = \"07:00-19:00 Europe/Amsterdam\"";
        assert!(!holds(other, NIGHT, None, &[]), "whatever the argument is, it is not the time");
    }

    #[test]
    fn pc_24_rpc_08_other_spellings_of_an_argument_are_known() {
        for other in [
            "Path",
            "PATH",
            "pa_th",
            "path ",
            "p\u{430}th",
            "\u{ff50}ath",
            "path\u{200b}",
            "path\0",
            "__proto__",
        ] {
            assert!(is_other_spelling(other, "path"), "{other:?}");
        }
        assert!(is_other_spelling("filePath", "file_path") && is_other_spelling("tas\u{212a}", "task"));
        for other in ["path", "paths", "content", "old path", ""] {
            assert!(!is_other_spelling(other, "path"), "{other:?}");
        }
    }

    #[test]
    fn pc_24_arguments_outside_and_inside() {
        let outside = "argument_outside = { path = \"/srv/notes/**\", kind = \"note*\" }";
        assert!(!holds(outside, NOON, None, &[("path", "/srv/notes/a"), ("kind", "notes")]));
        assert!(
            holds(outside, NOON, None, &[("path", "/srv/notes/a"), ("kind", "x")]),
            "one outside is enough"
        );
        assert!(holds(outside, NOON, None, &[("path", "/srv/notes/a")]));
        let inside = "argument_in = { branch = \"main\", force = \"yes\" }";
        assert!(holds(inside, NOON, None, &[("branch", "MAIN"), ("force", "yes")]));
        assert!(!holds(inside, NOON, None, &[("branch", "main"), ("force", "no")]), "each must be inside");
    }

    #[test]
    fn pc_24_a_condition_that_we_do_not_know_is_not_passed_over() {
        assert!(toml::from_str::<When>("moon = \"full\"").is_err());
        let forbid = Forbid { name: "x".into(), ..Forbid::default() };
        let text = serde_json::to_string(&forbid).unwrap();
        assert_eq!(serde_json::from_str::<Forbid>(&text).unwrap(), forbid);
        assert!(serde_json::from_str::<Forbid>(&text.replacen('{', "{\"users\":[],", 1)).is_err());
    }
}

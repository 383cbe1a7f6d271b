//! A person with a browser, as far as sign-in and consent need one: keeps cookies, follows redirects, sends forms.

use super::http::{self, Answer, form, send};
use serde_json::Value;
use std::collections::BTreeMap;

const CALLBACK: &str = "http://127.0.0.1:1/callback";

// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

pub(crate) struct Person {
    username: String,
    password: String,
    cookies: BTreeMap<String, String>,
}

impl Person {
    pub(crate) fn new(username: &str, password: &str) -> Self {
        Self { username: username.to_owned(), password: password.to_owned(), cookies: BTreeMap::new() }
    }

    /// The first tokens of a client at a server, after signing in, if need be, and consent.
    pub(crate) fn tokens(&mut self, client: &str, resource: &str, scope: &str) -> Value {
        let issuer = origin_of(resource).to_owned();
        let query = form(&[
            ("response_type", "code"),
            ("client_id", client),
            ("redirect_uri", CALLBACK),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("resource", resource),
            ("scope", scope),
            ("state", "s"),
        ]);
        let told = self.authorize(&format!("{issuer}/oauth/authorize?{query}"), CALLBACK);
        let fields = [
            ("grant_type", "authorization_code"),
            ("client_id", client),
            ("code", &told["code"]),
            ("code_verifier", VERIFIER),
            ("redirect_uri", CALLBACK),
            ("resource", resource),
        ];
        let (status, answer) = token(&issuer, &fields).expect("the server is there");
        assert_eq!(status, 200);
        answer
    }

    /// Goes from an authorization address to the client's redirect address; what the latter is told.
    pub(crate) fn authorize(&mut self, url: &str, callback: &str) -> BTreeMap<String, String> {
        let origin = origin_of(url).to_owned();
        let mut answer = self.visit("GET", url, &origin, "");
        for _ in 0..12 {
            match answer.status {
                302 | 303 => {
                    let target = header(&answer, "location").expect("a redirect says where to");
                    if let Some(told) = target.strip_prefix(callback) {
                        let query = told.trim_start_matches('?').as_bytes();
                        return url::form_urlencoded::parse(query).into_owned().collect();
                    }
                    let next = if target.starts_with('/') { format!("{origin}{target}") } else { target };
                    answer = self.visit("GET", &next, &origin, "");
                }
                200 => {
                    let (action, mut fields) = only_form(&answer.body);
                    if fields.iter().any(|(name, _)| name == "password") {
                        fields.retain(|(name, _)| name != "username" && name != "password");
                        fields.push(("username".to_owned(), self.username.clone()));
                        fields.push(("password".to_owned(), self.password.clone()));
                    } else {
                        fields.push(("decision".to_owned(), "approve".to_owned()));
                    }
                    let pairs: Vec<(&str, &str)> =
                        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                    answer = self.visit("POST", &format!("{origin}{action}"), &origin, &form(&pairs));
                }
                status => panic!("the browser got {status}"),
            }
        }
        panic!("sign-in and consent did not come to an end");
    }

    fn visit(&mut self, method: &str, url: &str, origin: &str, body: &str) -> Answer {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let headers = [
            ("Cookie", cookies.join("; ")),
            ("Origin", origin.to_owned()),
            ("Content-Type", "application/x-www-form-urlencoded".to_owned()),
        ];
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = send(method, url, &headers, body).expect("the server is there");
        for line in answer.head.lines() {
            let Some((name, value)) = line.split_once(": ") else { continue };
            if name.eq_ignore_ascii_case("set-cookie") {
                let pair = value.split(';').next().unwrap();
                let (name, value) = pair.split_once('=').unwrap();
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }
}

pub(crate) fn header(answer: &Answer, name: &str) -> Option<String> {
    answer.head.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then(|| value.to_owned())
    })
}

/// Where the first form leads, and its fields.
fn only_form(page: &str) -> (String, Vec<(String, String)>) {
    let form = &page[page.find("<form").expect("the page has a form")..];
    let form = &form[..form.find("</form>").unwrap()];
    let fields = form.split("<input").skip(1).filter_map(|input| {
        let input = input.split('>').next().unwrap();
        Some((attribute(input, "name")?, attribute(input, "value").unwrap_or_default()))
    });
    (attribute(form, "action").unwrap(), fields.collect())
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let at = tag.find(&format!(" {name}=\""))? + name.len() + 3;
    let value = tag[at..].split('"').next()?;
    Some(value.replace("&#38;", "&").replace("&amp;", "&"))
}

/// An answer of the token endpoint; `None` when the server is gone.
pub(crate) fn token(issuer: &str, fields: &[(&str, &str)]) -> Option<(u16, Value)> {
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let answer = send("POST", &format!("{issuer}/oauth/token"), &headers, &form(fields))?;
    Some((answer.status, serde_json::from_str(&answer.body).ok()?))
}

/// A public client, registered by itself.
pub(crate) fn register(issuer: &str) -> String {
    let body = serde_json::json!({
        "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
    });
    let answer = http::post(&format!("{issuer}/oauth/register"), "application/json", &body.to_string());
    assert_eq!(answer.status, 201);
    answer.json()["client_id"].as_str().unwrap().to_owned()
}

fn origin_of(url: &str) -> &str {
    url.match_indices('/').nth(2).map_or(url, |(at, _)| &url[..at])
}

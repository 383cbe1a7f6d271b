use super::*;
use proptest::prelude::*;
use proptest::sample::select;
use url::Url;

fn opens(pattern: &str, uri: &str) -> bool {
    let patterns = [pattern.to_owned()];
    Patterns::new(&patterns).unwrap().open(&Readings::of(uri).unwrap_or_else(|why| panic!("{uri}: {why}")))
}

fn concerns(pattern: &str, uri: &str) -> bool {
    let patterns = [pattern.to_owned()];
    Patterns::new(&patterns).unwrap().concern(&Readings::of(uri).unwrap())
}

/// What programs do to a URI before they look at it.
fn rewritten(uri: &str) -> Option<String> {
    Url::parse(uri).ok().map(|url| url.to_string())
}

#[test]
fn scope_13_a_uri_that_some_reader_rewrites_into_another_is_not_judged() {
    use Unclear::{Character, Escape, Host, Scheme, Segment};
    for (uri, why) in [
        ("file:///srv/public/../private/x", Segment),
        ("file:///srv/public/./x", Segment),
        ("file:///srv/public/..", Segment),
        ("file:///srv//private/x", Segment),
        ("file:////srv/private/x", Segment),
        ("note:a/../b", Segment),
        ("note:..", Segment),
        ("note:/a/../b", Segment),
        ("note://inbox/../../x", Segment),
        ("note://inbox?path=a/../b", Segment),
        ("note://inbox?path=../b", Segment),
        ("note://inbox/..;/b", Segment),
        ("note://inbox/..?x", Segment),
        ("note://inbox/..#x", Segment),
        ("note://a/https://b/c", Segment),
        ("file:///srv/public/%2e%2e/private/x", Escape),
        ("file:///srv/public/.%2E/private/x", Escape),
        ("file:///srv/public%2f..%2fprivate/x", Escape),
        ("file:///srv/public/%2e%2e%5cprivate", Escape),
        ("file:///srv/%70rivate/x", Escape),
        ("file:///srv/public/%252e%252e/private", Escape),
        ("file:///srv/%2570rivate", Escape),
        ("file:///srv/a%00", Escape),
        ("file:///srv/a%0a", Escape),
        ("file:///srv/a%", Escape),
        ("file:///srv/a%zz", Escape),
        ("file:///srv/%C0%AE%C0%AE/private", Escape),
        ("file:///srv/%ff", Escape),
        ("note://a?x=%5c", Escape),
        ("FILE:///srv/private/x", Scheme),
        ("File:///srv/private/x", Scheme),
        ("/srv/private/x", Scheme),
        ("srv/private", Scheme),
        ("", Scheme),
        ("://x", Scheme),
        ("1a:x", Scheme),
        ("{+uri}", Scheme),
        ("file://localhost/srv/private/x", Host),
        ("file://LOCALHOST/srv/private/x", Host),
        ("file://127.0.0.1/srv/private/x", Host),
        ("file://server/share", Host),
        ("file:/srv/private/x", Host),
        ("file:srv/private/x", Host),
        ("file://", Host),
        ("https:/x.example/a", Host),
        ("https:x.example/a", Host),
        ("https:///x.example/a", Host),
        ("https://x.example", Host),
        ("https://x.example?a", Host),
        ("https://X.example/a", Host),
        ("https://x.example./a", Host),
        ("https://x.example:443/a", Host),
        ("http://x.example:80/a", Host),
        ("https://x.example:0444/a", Host),
        ("https://x.example:/a", Host),
        ("https://u@x.example/a", Host),
        ("https://x.example@y.example/a", Host),
        ("https://x.ex%61mple/a", Host),
        ("https://bücher.example/a", Host),
        ("https://ｘ.example/a", Host),
        ("https://127.1/a", Host),
        ("https://0x7f000001/a", Host),
        ("https://2130706433/a", Host),
        ("https://127.0.0.01/a", Host),
        ("https://[0:0:0:0:0:0:0:1]/a", Host),
        ("https://[::ffff:1.2.3.4]/a", Host),
        ("https://[::FFFF]/a", Host),
        ("note://büro/a", Host),
        ("note://a=../b", Host),
        ("note://..&a@b/c", Host),
        ("note://a b/c", Host),
        ("note://@a/b", Host),
        ("note://a:b/c", Host),
        ("note://a@b@c/d", Host),
        ("file:///srv\\private\\x", Character),
        ("file:\\\\\\srv\\private", Character),
        ("file:///C|/x", Character),
        (" file:///srv/private/x", Character),
        ("file:///srv/private/x ", Character),
        ("file:///srv/private/x\u{a0}", Character),
        ("file:///srv/pri\tvate/x", Character),
        ("file:///srv/pri\nvate/x", Character),
        ("\tfile:///srv/private/x", Character),
        ("file:///srv/x\0", Character),
        ("file:///srv/\u{ff0e}\u{ff0e}/private", Character),
        ("file:///srv/%EF%BC%8E%EF%BC%8E/private", Character),
        ("file:///srv/\u{2025}/private", Character),
        ("file:///srv/..\u{2215}private", Character),
        ("file:///srv/a%C2%85", Character),
        ("file:///srv/\u{2100}", Character),
        ("file:///srv/\u{2101}", Character),
        ("docs://srv/\u{2105}", Character),
        ("docs://srv/%E2%84%86", Character),
    ] {
        assert_eq!(check(uri), Err(why), "{uri:?}");
    }
}

#[test]
fn scope_13_what_an_escape_hides_in_a_scheme_of_ones_own_is_not_judged() {
    use Unclear::{Escape, Host, Segment};
    for (uri, why) in [
        ("greeting://..%2Fprivate", Host),
        ("greeting://a%2Fb", Host),
        ("greeting://a%3Fb", Host),
        ("greeting://a%23b", Host),
        ("greeting://me%40private", Host),
        ("greeting://private%3A1/x", Host),
        ("greeting://%5B::1%5D/x", Host),
        ("greeting://a%5Cb", Host),
        ("greeting://%4Dary", Host),
        ("greeting://%2E%2E/a", Host),
        ("greeting://%252e/a", Host),
        ("greeting://a%00", Host),
        ("greeting://a%0A", Host),
        ("greeting://%FF", Host),
        ("greeting://a%", Host),
        ("greeting://%E2%84%80", Host),
        ("https://Mary%20Ann/a", Host),
        ("file://Mary%20Ann/a", Host),
        ("ssh://h:{}/a", Host),
        ("ssh://h:{a:1}/a", Host),
        ("ssh://h:1{port}/a", Host),
        ("docs://pages/..%2Fprivate", Segment),
        ("docs://pages/a%2F..%2f..%2Fprivate", Segment),
        ("docs://pages/a%2F.", Segment),
        ("docs://pages/%2Fprivate", Segment),
        ("docs://pages/a%2F%2Fb", Segment),
        ("docs:%2F%2Fprivate/x", Segment),
        ("docs://pages?path=..%2Fprivate", Segment),
        ("docs://pages/a%5Cb", Escape),
        ("docs://pages/a%252Fb", Escape),
        ("file:///srv/a%2Fb", Escape),
        ("https://x.example/a%2Fb", Escape),
        ("note://../a", Host),
    ] {
        assert_eq!(check(uri), Err(why), "{uri:?}");
    }
}

#[test]
fn scope_13_plain_uris_and_templates_are_judged_as_they_stand() {
    for uri in [
        "note://public/1",
        "note://Inbox/1",
        "jira://PROJ-123",
        "note:x",
        "note:",
        "urn:isbn:0451450523",
        "mailto:a@b.example",
        "memo://insights",
        "file:///",
        "file:///C:/Users/me/a.txt",
        "file:///srv/public/a%20(1).txt",
        "file:///srv/public/",
        "file:///srv/public/.hidden/..a/b...c",
        "file:///srv/caf%C3%A9",
        "https://x.example/",
        "https://x.example:8443/a?b=c&d=%26#e",
        "https://192.0.2.1/a",
        "https://[2001:db8::1]/a",
        "https://xn--bcher-kva.example/a",
        "postgres://me@localhost:5432/db/users/schema",
        "note:///a/b",
        "note://a?b",
        "note://a#b",
        "git+ssh://h/a",
        "greeting://Mary%20Ann",
        "greeting://Jos%C3%A9",
        "greeting://b%c3%bcro/a",
        "search://caf%C3%A9%20%26%20bar%2C%20100%25",
        "docs://pages/guide%2Fintro",
        "docs://pages/a%2F",
        "db://q?path=a%2Fb&x=100%25",
    ] {
        assert_eq!(check(uri), Ok(()), "{uri}");
        assert_eq!(rewritten(uri).as_deref(), Some(uri), "as programs read it");
        assert!(opens(uri, uri) && is_possible(uri).is_ok(), "{uri}");
    }
    for template in [
        "note://public/{id}",
        "note://{box}/{id}",
        "file:///{+path}",
        "note://search{?q,limit}",
        "note://list{/path*}",
        "https://{host}/a{#part}",
        "db://t/x?y={y}{&z}",
        "greeting://{name}",
        "docs://pages/{page}",
        "ssh://{host}:{port}/{+path}",
        "ssh://{user}@{host}:{port}/",
        "https://x.example:{port}/",
    ] {
        assert_eq!(check(template), Ok(()), "{template}");
        assert!(opens(template, template) && is_possible(template).is_ok(), "{template}");
    }
    assert!(opens("note://public/*", "note://public/{id}"));
    assert!(!opens("note://public/*", "note://{box}/{id}"));
}

#[test]
fn scope_13_one_uri_has_one_spelling() {
    for (one, other) in [
        ("file:///srv/a (1).txt", "file:///srv/a%20%281%29.txt"),
        ("file:///srv/café", "file:///srv/caf%C3%A9"),
        ("file:///srv/caf%c3%a9", "file:///srv/caf%C3%A9"),
        ("file:///app/[id].tsx", "file:///app/%5Bid%5D.tsx"),
        ("note://a/b@c:d", "note://a/b%40c%3Ad"),
        ("note://a/x*y", "note://a/x%2Ay"),
        ("note://a?u=urn:b@c", "note://a?u=urn%3Ab%40c"),
        ("greeting://jos%c3%a9", "greeting://jos%C3%A9"),
        ("greeting://a,b", "greeting://a%2Cb"),
        ("note://a?n='x'", "note://a?n=%27x%27"),
    ] {
        assert!(opens(other, one), "{one} {other}");
        // A star in a pattern is one in no other spelling.
        if !one.contains('*') {
            assert!(opens(one, other), "{one} {other}");
        }
    }
    assert!(!opens("note://a/x%2Ay", "note://a/xzy"), "an escaped star is a star");
    assert!(!opens("note://a?x=public&*", "note://a?x=public%26y"), "and an escaped & divides nothing");
    assert!(!opens("note://a/b?c", "note://a/b%3Fc"));
    for (escaped, plain) in [("docs://a/b%2Fc", "docs://a/b/c"), ("docs://a?u=b%2Fc", "docs://a?u=b/c")] {
        assert!(!opens(escaped, plain) && !opens(plain, escaped), "nor is an escaped slash one");
    }
    assert!(opens("*path=%2Fsrv*", "db://a?path=%2fsrv/x") && opens("docs://*%2fb", "docs://x/a%2Fb"));
    assert!(!opens("note://a/b", "note://a/B"), "nothing is opened but what is written");
}

#[test]
fn scope_13_a_rule_counts_for_what_some_readers_take_for_the_same() {
    for (pattern, uri) in [
        ("file:///srv/private/*", "file:///srv/PRIVATE/x"),
        ("file:///SRV/private/*", "file:///srv/private/x"),
        ("note://private/*", "note://PRIVATE/x"),
        ("note://private/*", "note://me@private/x"),
        ("note://me@private/*", "note://private/x"),
        ("file:///srv/secret", "file:///srv/secret?"),
        ("file:///srv/secret", "file:///srv/secret?x=1#y"),
        ("file:///srv/secret", "file:///srv/secret#"),
        ("file:///srv/secret", "file:///srv/secret/"),
        ("*.key", "note://a/B.KEY?raw"),
        ("note://private/*", "note://private:1/x"),
        ("note://private/*", "note://me@PRIVATE:1/x?y"),
        ("note://private", "note://private:1/"),
        ("note://private:1/*", "note://private/x"),
        ("note://private:1/*", "note://private:2/x"),
        ("note://private:1", "note://private"),
        ("note://private:*", "note://private/x"),
        ("note://private:1*x", "note://private/a/x"),
        ("note://*:1/x", "note://private/x"),
        ("note://*:*/x", "note://private/x"),
        ("*private/*", "note://x.private:1/a"),
        ("https://x.example/*", "https://x.example:8443/a"),
        ("note://[::1]/*", "note://[::1]:8/a"),
        ("ssh://h/*", "ssh://h:{port}/a"),
        ("ssh://h:{port}/*", "ssh://h/a"),
        ("db://x/admin/", "db://x/admin"),
        ("db://x/admin/", "db://x/admin?y"),
        ("db://x/ADMIN/?y=/", "db://x/admin/?y=/"),
        ("db://x/*/", "db://x/admin"),
        ("greeting://mary%20ann", "greeting://Mary%20Ann"),
        ("greeting://Jos%C3%A9/*", "greeting://jos%c3%a9/a"),
        ("docs://pages/private/*", "docs://pages/private%2Fa"),
        ("docs://pages/private%2F*", "docs://pages/private/a"),
        ("docs://pages/private", "docs://pages/private%2F"),
        ("note://a?u=http://b/*", "note://a?u=http%3A%2F%2Fb%2Fc"),
    ] {
        assert!(concerns(pattern, uri) && !opens(pattern, uri), "{pattern} {uri}");
    }
    for (pattern, uri) in [
        ("db://q?role=admin*", "db://q?role=user"),
        ("db://q?role=admin*", "db://q"),
        ("note://private/*", "note://public/private/x"),
        ("note://private/*", "note://private"),
        ("note://private/*", "note://privateer:1/x"),
        ("note://private:1/*", "note://public:1/x"),
        ("note://[::2]/*", "note://[::1]:2/x"),
        ("note://a/b:1/*", "note://a/b/x"),
        ("db://x/admin/", "db://x/administration"),
        ("docs://pages/private/*", "docs://pages/public%2Fprivate"),
    ] {
        assert!(!concerns(pattern, uri), "{pattern} {uri}");
    }
}

#[test]
fn a_pattern_that_no_uri_can_match_is_found() {
    for (pattern, why) in [
        ("FILE:///srv/*", Unclear::Scheme),
        ("/srv/*", Unclear::Scheme),
        ("file://localhost/*", Unclear::Host),
        ("file://LOCALHOST/srv", Unclear::Host),
        ("https://X.example/*", Unclear::Host),
        ("https://x.example", Unclear::Host),
        ("https://x.example:443/*", Unclear::Host),
        ("note://büro/*", Unclear::Host),
        ("file:///srv/../*", Unclear::Segment),
        ("file:///srv//*", Unclear::Segment),
        ("file:///srv/%70*", Unclear::Escape),
        ("file:///a%2f*", Unclear::Escape),
        ("https://x.example/a%2F*", Unclear::Escape),
        ("docs://pages/a%5C*", Unclear::Escape),
        ("docs://pages/..%2F*", Unclear::Segment),
        ("docs://*/..%2fa*", Unclear::Segment),
        ("docs://*%2F..", Unclear::Segment),
        ("greeting://a%2F*", Unclear::Host),
        ("greeting://%41*", Unclear::Host),
        ("*%70*", Unclear::Escape),
        ("*%zz", Unclear::Escape),
        ("*/../*", Unclear::Segment),
        ("*/..", Unclear::Segment),
        ("note*://a/* ", Unclear::Character),
        ("File*", Unclear::Scheme),
        ("https:/x*", Unclear::Host),
        ("file:a*", Unclear::Host),
        ("file://s*", Unclear::Host),
        ("note://a\\*", Unclear::Character),
    ] {
        assert_eq!(is_possible(pattern), Err(why), "{pattern}");
    }
    for pattern in [
        "*",
        "**",
        "*:*",
        "*://*",
        "note*",
        "note:*",
        "note:/*",
        "note://*",
        "*.md",
        "*/private/*",
        "https*",
        "https:*",
        "https:/*",
        "https://*",
        "https://x*",
        "https://*.example/*",
        "https://*.example*",
        "https://x.example:*/",
        "file*",
        "file:*",
        "file:/*",
        "file://*",
        "file:///*",
        "*file:///a",
        "note://inbox?*",
        "*&role=x",
        "*path=%2Fsrv*",
        "note://x*%2F*",
        "note://x/café*é",
        "a*b*c",
        "*s://x.example/*",
        "note://{box}/*",
        "*[id]*",
        "note://a/*..",
        "note://a/..*",
        "note://a/%C3*",
        "greeting://Mary%20*",
        "greeting://Jos%C3*",
        "greeting://Jos%C*",
        "docs://pages/guide%2F*",
        "docs://pages/..%2*",
        "ssh://{host}:{port}/*",
        "ssh://{host}:*",
    ] {
        assert_eq!(is_possible(pattern), Ok(()), "{pattern}");
    }
}

/// Beginnings of what is judged.
const GOOD: &str = "note://inbox/¦note:¦note:///¦note:/¦note://u:p@h:1/¦file:///¦https://x.example/¦https://[::1]:8/¦\
    https://192.0.2.1/?¦note://Inbox#¦note:x?";
/// And hosts, of which most are not.
const HOSTS: &str = "¦localhost¦x.example¦X.example¦a@x¦u:p@x¦x:80¦x:8080¦x:443¦127.1¦192.0.2.1¦[::1]¦[0::1]¦0x7f.1¦x.¦a b¦é¦\
    %61¦{box}¦..¦x'y¦1.2¦a_b¦a:¦@a¦:@a¦Mary%20Ann¦J%C3%A9:1¦a%2Fb¦a%40b¦a%3A1¦a%2C%25¦{h}:{p}";
/// Parts of paths and queries, good and bad.
const PARTS: &str = "a¦B¦..¦.¦¦%2e¦%2E%2e¦%2f¦%20¦ ¦é¦%C3%A9¦%c3%a9¦{id}¦%28¦(¦'¦%27¦*¦|¦C|¦C:¦^¦\"¦<¦`¦[¦%5B¦;¦..;¦a?b¦\
    a%2Fb¦..%2F¦%2F.¦?q=a b¦?q='é'¦#f`\"¦%¦%25¦%2541¦\\¦\t¦~¦@¦:¦=..¦%2A¦?¦#¦?a=[%5d]&b=%26^|{}";

fn part() -> impl Strategy<Value = &'static str> {
    select(PARTS.split('¦').collect::<Vec<_>>())
}

fn uris() -> impl Strategy<Value = String> {
    let scheme = select(vec!["file:", "https:", "http:", "ws:", "note:", "urn:", "FILE:", "n+1:", ""]);
    let slashes = select(vec!["", "/", "//", "///", "////", "\\\\"]);
    let host = select(HOSTS.split('¦').collect::<Vec<_>>());
    let parts = prop::collection::vec(part(), 0..4);
    let hostile =
        (scheme, slashes, host, any::<bool>(), parts).prop_map(|(scheme, slashes, host, root, parts)| {
            let root = if root { "/" } else { "" };
            format!("{scheme}{slashes}{host}{root}{}", parts.join("/"))
        });
    let good = select(GOOD.split('¦').collect::<Vec<_>>());
    let nearly = (good, prop::collection::vec(part(), 0..4));
    prop_oneof![hostile, nearly.prop_map(|(start, parts)| format!("{start}{}", parts.join("/")))]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8_000, ..ProptestConfig::default() })]

    /// Whatever `new URL`, `AnyUrl` and their like make of a URI that is judged is judged as the same.
    #[test]
    fn scope_13_what_is_judged_is_what_programs_read(uri in prop_oneof![uris(), any::<String>(), "[a-z]{1,3}:[ -~]{0,12}"]) {
        let Ok(readings) = Readings::of(&uri) else { return Ok(()) };
        let Some(read) = rewritten(&uri) else {
            prop_assert!(uri.contains(['{', '}']), "only a template is none: {}", uri);
            return Ok(());
        };
        let again = Readings::of(&read);
        prop_assert!(again.is_ok(), "{} is read as {}", uri, read);
        prop_assert_eq!(&again.unwrap().exact, &readings.exact, "{} is read as {}", &uri, &read);
        // What holds nothing that a URI cannot hold is not changed at all.
        let is_strict = uri.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>^`{}|'".contains(&byte));
        prop_assert!(!is_strict || read == uri, "{} is read as {}", uri, read);
        // A reader of files: the path unescaped has no segments that its folder has not.
        let path = readings.exact.split(['?', '#']).next().unwrap().replace("%2F", "/");
        prop_assert!(path.split('/').all(|segment| segment != ".." && segment != "."));
    }

    /// What is left of a URI where some readers look at less of it: a rule for that counts.
    #[test]
    fn scope_13_a_rule_for_what_some_reader_takes_out_counts(uri in uris()) {
        let (Ok(_), Ok(url)) = (Readings::of(&uri), Url::parse(&uri)) else { return Ok(()) };
        let path = url.path();
        let rest = [path.to_owned(), path.replace("%2F", "/").replace("%2f", "/"), format!("{path}/")];
        let authority = format!("//{}", url.host_str().unwrap_or_default());
        let authority = if url.has_authority() { &*authority } else { "" };
        for rest in rest.iter().chain([&path.to_uppercase()]) {
            let taken = format!("{}:{authority}{rest}", url.scheme());
            // Without a host, two slashes would begin one.
            if url.has_authority() || !taken.contains("//") {
                let pattern = taken.replace('*', "%2A");
                prop_assert!(concerns(&pattern, &uri), "{} of {}", pattern, uri);
            }
        }
    }

    /// Spelling is a matter of one's own: it opens as much to the one spelling as to the other.
    #[test]
    fn spelling_twice_is_spelling_once(uri in prop_oneof![uris(), any::<String>()]) {
        let once = spelled(&uri, Star::Literal);
        prop_assert_eq!(spelled(&once, Star::Literal), once);
    }

    #[test]
    fn a_pattern_that_something_matches_is_possible(uri in uris(), from in 0..30_usize, to in 0..30_usize) {
        if check(&uri).is_err() || uri.contains('*') {
            return Ok(());
        }
        let chars: Vec<char> = uri.chars().collect();
        let (from, to) = (from.min(to).min(chars.len()), from.max(to).min(chars.len()));
        let part = |range: &[char]| range.iter().collect::<String>();
        let pattern = format!("{}*{}", part(&chars[..from]), part(&chars[to..]));
        prop_assert!(is_possible(&pattern).is_ok(), "{} for {}", pattern, uri);
    }
}

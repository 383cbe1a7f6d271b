//! What may stand in a draft of a program's arguments and of an address: whatever looks like a secret may not (PC-43).

use url::Url;

/// Stands where a secret stood.
pub(super) const REPLACED: &str = "REPLACE-ME";

/// Words in the name of an option whose value is a secret.
const TELLING: [&str; 9] =
    ["auth", "bearer", "cookie", "credential", "header", "key", "passw", "secret", "token"];

/// How tokens of well-known services begin.
const BEGINNINGS: [&str; 15] = [
    "sk-",
    "sk_",
    "pk_",
    "rk_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xox",
    "eyJ",
    "AKIA",
    "AIza",
    "Bearer ",
];

/// The shortest run that can be a secret by its looks alone.
const SECRET_LENGTH: usize = 20;

/// The arguments, with what looks like a secret replaced; and whether something was.
pub(super) fn without_secrets<'a>(arguments: impl IntoIterator<Item = &'a str>) -> (Vec<String>, bool) {
    let mut kept = Vec::new();
    let mut follows_telling = false;
    let mut replaced = false;
    for argument in arguments {
        let shown = argument_without_secret(argument, follows_telling);
        replaced |= shown != argument;
        follows_telling = argument.starts_with('-') && !argument.contains('=') && is_telling(argument)
            // docker run -e NAME=VALUE
            || argument == "-e"
            || argument == "--env"
            || argument == "-H";
        kept.push(shown);
    }
    (kept, replaced)
}

fn argument_without_secret(argument: &str, follows_telling: bool) -> String {
    if let Some((name, value)) = argument.split_once('=')
        && !name.contains("://")
    {
        let secret = follows_telling || is_telling(name) || looks_secret(value);
        return if secret { format!("{name}={REPLACED}") } else { argument.to_owned() };
    }
    // `-e NAME` only names a variable.
    let is_name =
        argument.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    if (follows_telling && !is_name && !argument.starts_with('-')) || looks_secret(argument) {
        return REPLACED.to_owned();
    }
    if argument.contains("://") {
        return address_without_secrets(argument).map_or_else(|| REPLACED.to_owned(), |(url, _)| url);
    }
    argument.to_owned()
}

/// An address without user, password, query and fragment, and without path segments that look like secrets; and what was
/// left out, in words.
pub(super) fn address_without_secrets(text: &str) -> Option<(String, Vec<&'static str>)> {
    let mut url = Url::parse(text).ok()?;
    let mut left_out = Vec::new();
    if !url.username().is_empty() || url.password().is_some() {
        left_out.push("user and password");
        url.set_username("").ok()?;
        url.set_password(None).ok()?;
    }
    if url.query().is_some() {
        left_out.push("the query");
        url.set_query(None);
    }
    if url.fragment().is_some() {
        left_out.push("the fragment");
        url.set_fragment(None);
    }
    let is_secret = |segment: &str| looks_secret(segment);
    if url.path_segments().is_some_and(|mut segments| segments.any(is_secret)) {
        left_out.push("a part of the path that looks like a secret");
        let path: Vec<&str> = url
            .path()
            .split('/')
            .map(|segment| if is_secret(segment) { REPLACED } else { segment })
            .collect();
        let path = path.join("/");
        url.set_path(&path);
    }
    if left_out.is_empty() { Some((text.to_owned(), left_out)) } else { Some((url.into(), left_out)) }
}

fn is_telling(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    TELLING.iter().any(|word| name.contains(word))
}

/// A known beginning, a credential within an address, or a long run of letters and digits without the shape of words.
fn looks_secret(text: &str) -> bool {
    if BEGINNINGS.iter().any(|beginning| text.starts_with(beginning)) && text.len() >= 12 {
        return true;
    }
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|run| {
        let digits = run.bytes().filter(u8::is_ascii_digit).count();
        let letters = run.bytes().filter(u8::is_ascii_alphabetic).count();
        run.len() >= SECRET_LENGTH && digits >= 3 && letters >= 3
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pc_43_what_looks_like_a_secret_is_not_copied_from_arguments() {
        let (kept, replaced) = without_secrets([
            "-y",
            "@scope/server-github@1.2.3",
            "--api-key",
            "abc",
            "--token=xyz",
            "-e",
            "PASS=hunter2",
            "-e",
            "NAME",
            "--header",
            "Authorization: Bearer abc",
            "sk-1234567890ab",
            "postgresql://me:pw@db/notes",
            "/home/me/project",
            "0123456789abcdef0123456789abcdef",
        ]);
        assert!(replaced);
        assert_eq!(
            kept,
            [
                "-y",
                "@scope/server-github@1.2.3",
                "--api-key",
                REPLACED,
                "--token=REPLACE-ME",
                "-e",
                "PASS=REPLACE-ME",
                "-e",
                "NAME",
                "--header",
                REPLACED,
                REPLACED,
                "postgresql://db/notes",
                "/home/me/project",
                REPLACED,
            ]
        );
        assert!(!without_secrets(["run", "--directory", "/srv/x", "server.py"]).1);
    }

    #[test]
    fn pc_43_what_looks_like_a_secret_is_not_copied_from_addresses() {
        let of = |url: &str| address_without_secrets(url).unwrap();
        assert_eq!(of("https://mcp.test/mcp"), ("https://mcp.test/mcp".to_owned(), vec![]));
        assert_eq!(of("https://u:p@mcp.test/mcp?api_key=1#x").0, "https://mcp.test/mcp");
        assert_eq!(
            of("https://mcp.test/s/a1b2c3d4e5f6a7b8c9d0e1f2/mcp").0,
            "https://mcp.test/s/REPLACE-ME/mcp"
        );
        assert_eq!(address_without_secrets("${input:url}"), None);
    }
}

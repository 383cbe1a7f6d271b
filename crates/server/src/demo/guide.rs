//! What the demo prints: where to look, and what to try.

use super::{AGENT_FILE, Facts};
use std::io::{self, Write};
use std::path::Path;

/// Prints the guide. Commands hold no secret: they name the file that does.
pub(crate) fn write_guide(out: &mut dyn Write, facts: &Facts, data: &Path, program: &Path) -> io::Result<()> {
    let [notes, ops] = ["notes", "ops"].map(|name| {
        let server = facts.servers.iter().find(|server| server.name == name);
        server.map(|server| server.url.as_str()).unwrap_or_default()
    });
    let program = quoted(program);
    let agent = quoted(&data.join(AGENT_FILE));
    writeln!(out, "Portcullis demo at {}", facts.issuer)?;
    writeln!(out)?;
    writeln!(out, "  Console   {}", facts.console)?;
    writeln!(out, "            administrator: {}, password: {}", facts.admin.username, facts.admin.password)?;
    writeln!(out, "  Servers   notes  {notes}")?;
    writeln!(out, "            ops    {ops}")?;
    writeln!(out, "  Facts     {} (for scripts)", Facts::path(data).display())?;
    writeln!(out)?;
    writeln!(out, "Add a server to an MCP client; it will send you to the sign-in page.")?;
    writeln!(out, "  name: {}, password: {}", facts.user.username, facts.user.password)?;
    writeln!(out, "  claude mcp add --transport http notes {notes}")?;
    writeln!(
        out,
        "  or, in a file of the client:  {{\"mcpServers\": {{\"notes\": {{\"type\": \"http\", \"url\": \"{notes}\"}}}}}}"
    )?;
    writeln!(out)?;
    writeln!(out, "Or be the demo's agent, in another terminal:")?;
    writeln!(out)?;
    writeln!(out, "  # a call that works")?;
    writeln!(out, "  {program} call {notes} list_notes --credentials {agent}")?;
    writeln!(out)?;
    writeln!(out, "  # the same token at the other server: 401 invalid_token")?;
    writeln!(
        out,
        "  curl -i {ops} -H \"Authorization: Bearer $({program} token {notes} --credentials {agent})\" \\\n    \
         -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \\\n    \
         -d '{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}}'"
    )?;
    writeln!(out)?;
    writeln!(out, "  # a tool beyond the agent's scope: 403 insufficient_scope")?;
    writeln!(out, "  {program} call {notes} create_note '{{\"title\":\"Hello\"}}' --credentials {agent}")?;
    writeln!(out)?;
    writeln!(out, "Ctrl-C ends it; what it knows stays in {}.", data.display())?;
    out.flush()
}

/// For a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_being_pasted() {
        assert_eq!(quoted(Path::new("/home/a/portcullis")), "/home/a/portcullis");
        assert_eq!(quoted(Path::new("/home/a b/it's")), r"'/home/a b/it'\''s'");
    }
}

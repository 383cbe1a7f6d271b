//! `portcullis completions`: so that a shell knows our commands.

use crate::exit::Failure;
use clap_complete::Shell;

const HELP: &str =
    "For bash: portcullis completions bash > ~/.local/share/bash-completion/completions/portcullis
For zsh:  portcullis completions zsh > a folder of $fpath, as _portcullis
For fish: portcullis completions fish > ~/.config/fish/completions/portcullis.fish

Exit codes:
  0  printed
  2  the command line is wrong";

/// Print a completion script for a shell
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// Whose
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(arguments: Arguments, mut program: clap::Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut program, "portcullis", &mut script);
    Ok(std::io::Write::write_all(&mut std::io::stdout(), &script)?)
}

//! `mcpd`: the daemon. Hidden first words make it the guard of a server's process, git's hook, and what talks to a remote.

use std::process::ExitCode;

use mcpctl::{api, repo, runtime};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    match arguments.by_ref().nth(1) {
        Some(word) if word == runtime::GUARD_WORD => runtime::guard_main(arguments),
        Some(word) if word == "hook" => repo::hook_main(arguments),
        Some(word) if word == "remote" => repo::remote_main(),
        _ => api::main(std::env::args_os()),
    }
}

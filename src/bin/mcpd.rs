//! `mcpd`, the daemon: reads its settings, composes the rooms, runs.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|word| word == mcpctl::runtime::GUARD_WORD) {
        return mcpctl::runtime::guard_main(arguments);
    }
    ExitCode::SUCCESS
}

//! `mcpctl`: hands the words to `cli`, and to `cli` what it may not name. A hidden first word makes it a guard.

use std::process::ExitCode;

use mcpctl::api::{self, DevPlace};
use mcpctl::cli::{Doors, run};
use mcpctl::runtime;
use mcpctl::settings::Surroundings;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    if arguments
        .by_ref()
        .nth(1)
        .is_some_and(|word| word == runtime::GUARD_WORD)
    {
        return runtime::guard_main(arguments);
    }
    let doors = Doors {
        dev: |options| {
            Box::pin(api::dev(DevPlace {
                folder: options.folder,
                listen: options.listen,
            }))
        },
    };
    run(std::env::args_os(), Surroundings::of_process(), doors)
}

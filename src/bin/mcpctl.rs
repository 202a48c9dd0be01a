//! `mcpctl`: hands the words to `cli`, and to `cli` what it may not name.

use std::process::ExitCode;

use mcpctl::cli::{DevOptions, Doors, run};
use mcpctl::settings::Surroundings;
use mcpctl::wire::ErrorBody;

fn main() -> ExitCode {
    let doors = Doors {
        dev: |options| Box::pin(std::future::ready(dev(&options))),
    };
    run(std::env::args_os(), Surroundings::of_process(), doors)
}

fn dev(options: &DevOptions) -> Result<(), ErrorBody> {
    Err(ErrorBody {
        error: "unavailable".to_owned(),
        detail: format!("this build has no daemon to watch {}", options.folder.display()),
        ..ErrorBody::default()
    })
}

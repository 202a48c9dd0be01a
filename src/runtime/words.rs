//! The command line of a server: the same in a process and in a container.

use crate::record::Workload;
use crate::resource::{PackageRuntime, Source};

/// The program and its arguments; empty where an image's own are meant.
pub(super) fn command_line(server: &Workload) -> Vec<String> {
    let mut words = match (server.source(), server.runtime) {
        (Source::Package(package), PackageRuntime::Node) => vec!["npx".to_owned(), "-y".to_owned(), package.to_owned()],
        (Source::Package(package), PackageRuntime::Python) => vec!["uvx".to_owned(), pinned(package)],
        (Source::Image(_) | Source::Command, _) => return server.command.clone(),
    };
    words.extend(server.args.iter().cloned());
    words
}

/// `name==1.2.3` as `name@1.2.3`, which every uvx understands; anything else as it is.
fn pinned(package: &str) -> String {
    match package.split_once("==") {
        Some((name, version)) if !version.contains([',', ';', '=', '*', '@']) => format!("{name}@{version}"),
        _ => package.to_owned(),
    }
}

//! The acceptance scripts of tests/acceptance, a test each: they use the built programs as people do, from outside.
//!
//! A script runs in a fresh folder that is its HOME, with a cleared environment. Exit status 77 says that something it
//! needs is missing: that is a failure under CI and a skipped test elsewhere.
#![cfg(unix)]
#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test that passes its environment on and says why it skips"
)]

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

/// Longer than any script takes on a busy machine; the long variants are given ten times as much.
const SECONDS: u32 = 600;
/// The exit status that says "something is missing here".
const MISSING: i32 = 77;

macro_rules! scripts {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                run(stringify!($name));
            }
        )*
    };
}

scripts!(
    api_change_is_one_commit,
    bad_pushes,
    secrets,
    cli_contract,
    completion,
    conformance_client,
    conformance_server,
    correlation,
    crash_and_retry,
    dev_saves,
    docker_deaths,
    docker_engine_away,
    docker_images,
    docker_kill_nine,
    docker_servers,
    docker_two_daemons,
    docker_wiped_host,
    folder_storm,
    guards,
    http_upstreams,
    init_and_import,
    kill_nine,
    look,
    merge_and_conflicts,
    push_and_call,
    push_load,
    real_servers,
    remote_https,
    remote_path,
    remote_ssh,
    remote_wiped_host,
    resources_and_prompts,
    restore,
    scrub,
    sdk_clients,
    templates,
    tool_lock,
    tool_rules,
    undo,
    webhooks,
    validate,
);

fn run(name: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let programs = Path::new(env!("CARGO_BIN_EXE_mcpctl")).parent().expect("a folder");
    let place = tempfile::Builder::new()
        .prefix("mcpctl-")
        .tempdir()
        .expect("a temporary folder");
    let home = place.path().join("home");
    std::fs::create_dir(&home).expect("a home");
    let long = std::env::var_os("MCPCTL_LONG").is_some();
    let mut command = Command::new("timeout");
    command
        .arg("--kill-after=20")
        .arg((if long { SECONDS * 10 } else { SECONDS }).to_string())
        .arg("bash")
        .arg(root.join(format!("tests/acceptance/{name}.sh")))
        .current_dir(place.path())
        .env_clear()
        .env("BIN", programs)
        .env("ROOT", root)
        .env("HOME", &home)
        .env("TMPDIR", place.path())
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::null());
    for kept in ["PATH", "CI", "DOCKER_HOST", "MCPCTL_LONG"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    let output = command.output().expect("timeout(1) and bash");
    let said = format!(
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    match output.status.code() {
        Some(0) => {}
        Some(MISSING) if std::env::var_os("CI").as_deref().is_none_or(OsStr::is_empty) => {
            eprintln!("skipped: {}", said.trim());
        }
        _ => panic!("tests/acceptance/{name}.sh: {}\n{said}", output.status),
    }
}

//! Whole daemons over folders that people move.

use std::path::Path;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::settings::{McpdSettings, Surroundings};
use crate::store::StoreError;

use super::daemon::{Daemon, DaemonError};

/// What the daemon of `mcpctl dev FOLDER` finds there: `a=one`, and how many conflicts. It has stopped afterwards.
async fn look(folder: &Path) -> (Vec<String>, usize) {
    let around = Surroundings {
        user: rustix::process::geteuid().as_raw(),
        environment: vec![("PATH".into(), std::env::var_os("PATH").unwrap())],
        folder: folder.to_owned(),
        is_root: false,
    };
    let data = folder.join(".mcpctl").join("local");
    let [watch, data] = [folder, &data].map(|path| path.as_os_str().to_owned());
    let arguments = ["mcpd".into(), "--watch".into(), watch, "--data-dir".into(), data];
    let settings = McpdSettings::resolve(
        arguments.into_iter().chain(["--listen".into(), "127.0.0.1:0".into()]),
        &around,
    )
    .unwrap();
    let stop = CancellationToken::new();
    let mut tries = 0;
    let daemon = loop {
        match Daemon::open(&settings, &around, stop.clone()).await {
            Ok(daemon) => break daemon,
            // The daemon before still lets go of it.
            Err(DaemonError::Store(StoreError::InUse { .. })) if tries < 6000 => tries += 1,
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let report = daemon.engine().sync(false).await.unwrap();
    let view = daemon.engine().store().view();
    let declared = view.rows.iter().filter_map(|(id, row)| {
        let description = row.document.as_ref()?.spec["description"].as_str()?;
        Some(format!("{}={description}", id.name))
    });
    let declared = declared.collect();
    stop.cancel();
    daemon.serve().await.unwrap();
    (declared, report.status.conflicts)
}

/// Pitfall "a daemon restart that forgets what it knew": the folder of `mcpctl dev` is moved with its data in it. That
/// is no other folder: an edit made since is an edit, and a deletion made since stays one.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "a person edits the folder")]
async fn a_moved_dev_folder_keeps_its_ledger() {
    let place = tempfile::tempdir().unwrap();
    let [before, after] = ["before", "after"].map(|name| place.path().canonicalize().unwrap().join(name));
    std::fs::create_dir(&before).unwrap();
    let write = |folder: &Path, name: &str, text: &str| {
        let text = format!("kind: server\nname: {name}\ncommand: [x]\nreplicas: 0\ndescription: {text}\n");
        std::fs::write(folder.join(format!("{name}.yaml")), text).unwrap();
    };
    for name in ["a", "b", "c"] {
        write(&before, name, "one");
    }
    assert_eq!(
        look(&before).await,
        (vec!["a=one".into(), "b=one".into(), "c=one".into()], 0)
    );

    std::fs::rename(&before, &after).unwrap();
    write(&after, "a", "two");
    std::fs::remove_file(after.join("b.yaml")).unwrap();
    assert_eq!(look(&after).await, (vec!["a=two".into(), "c=one".into()], 0));
    assert!(!after.join("b.yaml").exists() && !after.join("servers").exists());
    let text = std::fs::read_to_string(after.join("a.yaml")).unwrap();
    assert!(text.ends_with("description: two\n"), "{text}");
}

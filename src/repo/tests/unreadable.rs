//! Row "a file that does not parse taken for deletions": what can't be read is told, in git and in a folder alike.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::{World, declared, git, text};
use crate::repo::{Folder, Snapshot, Source};

/// Everything that may stand in a repository, and what must not be read.
fn furnish(root: &Path) {
    let write = |path: &str, text: &str| {
        let file = root.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    };
    write("good.yaml", &text("good", "read"));
    write("deep/er/good.yml", &text("deep", "read"));
    write(
        "good.json",
        r#"{"kind": "server", "name": "json", "command": ["true"], "description": "read"}"#,
    );
    write("README.md", "kind: server\n");
    write("upper.YAML.txt", "kind: [");
    write(".hidden.yaml", &text("hidden", "no"));
    write(".mcpctl/settings.yaml", &text("hidden", "no"));
    write("a/.hidden/x.yaml", &text("hidden", "no"));
    write(
        "large.yaml",
        &format!("{}#{}", text("large", "no"), "x".repeat(1 << 20)),
    );
    write("syntax.yaml", "kind: [\n");
    std::fs::write(root.join("bytes.yaml"), b"kind: server\nname: \xff\n").unwrap();
    symlink("good.yaml", root.join("link.yaml")).unwrap();
    symlink("deep", root.join("folder-link")).unwrap();
    symlink("/etc", root.join("outside")).unwrap();
    symlink("../README.md", root.join("deep/NOTES")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    std::fs::write(
        root.join(std::ffi::OsStr::from_bytes(b"na\xffme.yaml")),
        "kind: server\n",
    )
    .unwrap();
    write("new\nline.yaml", "kind: server\n");
    write("b..\\back.yaml", &text("back", "no"));
    write(&format!("{}x.yaml", "d/".repeat(70)), &text("abyss", "no"));
}

fn check(snapshot: &Snapshot) {
    assert_eq!(
        declared(snapshot),
        ["server/deep=read", "server/good=read", "server/json=read"]
    );
    let mut faults: Vec<_> = snapshot
        .tree
        .diagnostics
        .iter()
        .map(|fault| (&*fault.file, &*fault.message))
        .collect();
    faults.retain(|(file, _)| !file.starts_with("syntax") && !file.starts_with("bytes"));
    let abyss = "d/".repeat(65);
    let abyss = abyss.trim_end_matches('/');
    let mut want = vec![
        (abyss, "folders are nested over 64 deep"),
        ("b..\\back.yaml", "the name holds a backslash"),
        ("dangling", "symbolic links are not followed"),
        ("folder-link", "symbolic links are not followed"),
        ("large.yaml", "the file is over 1 MiB"),
        ("link.yaml", "symbolic links are not followed"),
        ("na\u{fffd}me.yaml", "the name is not clean UTF-8"),
        ("new\\nline.yaml", "the name is not clean UTF-8"),
        ("outside", "symbolic links are not followed"),
    ];
    faults.sort_unstable();
    want.sort_unstable();
    assert_eq!(faults, want);
    let unreadable = |path: &str| snapshot.tree.unreadable.iter().any(|fault| fault.path == path);
    for path in want.iter().map(|(path, _)| *path).chain(["syntax.yaml", "bytes.yaml"]) {
        assert!(unreadable(path), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_git() {
    let world = World::new().await;
    furnish(&world.clone());
    git(&world.clone(), &["add", "-A", "-f"]).await;
    git(&world.clone(), &["commit", "-qm", "all"]).await;
    assert!(world.push(&["origin", "main"]).await.0);
    check(&Source::Hosted(world.hosted.clone()).snapshot().await.unwrap());

    let submodule = format!("160000,{},sub", git(&world.clone(), &["rev-parse", "HEAD"]).await);
    git(&world.clone(), &["update-index", "--add", "--cacheinfo", &submodule]).await;
    git(&world.clone(), &["commit", "-qm", "submodule"]).await;
    let (accepted, shown) = world.push(&["origin", "main"]).await;
    assert!(accepted, "{shown}");
    let snapshot = Source::Hosted(world.hosted.clone()).snapshot().await.unwrap();
    let fault = snapshot
        .tree
        .diagnostics
        .iter()
        .find(|fault| fault.file == "sub")
        .unwrap();
    assert_eq!(fault.message, "submodules are not read");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_folder() {
    let folder = tempfile::TempDir::new().unwrap();
    furnish(folder.path());
    let source = Source::Folder(Folder::open(folder.path()).await.unwrap());
    check(&source.snapshot().await.unwrap());
    // A pipe must not be waited for, nor a device that never ends.
    let path = |name: &str| folder.path().join(name);
    let made = |program: &str, name: &str, more: &[&str]| {
        let mut command = std::process::Command::new(program);
        command.arg(path(name)).args(more);
        command.stderr(std::process::Stdio::null()).status().unwrap().success()
    };
    assert!(made("mkfifo", "pipe.yaml", &[]));
    let _socket = std::os::unix::net::UnixListener::bind(path("socket.yaml")).unwrap();
    symlink("loop.yaml", path("loop.yaml")).unwrap();
    symlink("..", path("deep/up")).unwrap();
    std::fs::write(path("closed.yaml"), text("closed", "no")).unwrap();
    std::fs::set_permissions(path("closed.yaml"), std::fs::Permissions::from_mode(0o0)).unwrap();
    std::fs::create_dir(path("shut")).unwrap();
    std::fs::set_permissions(path("shut"), std::fs::Permissions::from_mode(0o0)).unwrap();
    let mut want = vec![
        ("pipe.yaml", "this is no plain file"),
        ("socket.yaml", "this is no plain file"),
        ("loop.yaml", "symbolic links are not followed"),
        ("deep/up", "symbolic links are not followed"),
    ];
    // Only root may make one; and nothing is closed to root.
    if made("mknod", "device.yaml", &["c", "1", "5"]) {
        want.push(("device.yaml", "this is no plain file"));
    }
    if std::fs::read(path("closed.yaml")).is_err() {
        want.push(("closed.yaml", "it can't be read: Permission denied (os error 13)"));
        want.push(("shut", "it can't be read: Permission denied (os error 13)"));
    }
    let snapshot = source.snapshot().await.unwrap();
    for (file, message) in want {
        let fault = snapshot.tree.diagnostics.iter().find(|fault| fault.file == file);
        assert_eq!(fault.map(|fault| &*fault.message), Some(message), "{file}");
    }
    std::fs::set_permissions(path("shut"), std::fs::Permissions::from_mode(0o700)).unwrap();
}

//! A watched folder: looks, hints and writing back.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::Arc;

use tempfile::TempDir;

use super::{declared, export, id, ids, server, text};
use crate::repo::{Folder, Landing, RepoError, Source};

async fn open(files: &[(&str, &str)]) -> (TempDir, Source) {
    let folder = TempDir::new().unwrap();
    for (path, text) in files {
        let file = folder.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    let source = Source::Folder(Folder::open(folder.path()).await.unwrap());
    (folder, source)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_parses_what_changed_and_misses_nothing() {
    let (folder, source) = open(&[("a.yaml", &text("a", "one")), ("b.yaml", &text("b", "one"))]).await;
    let first = source.snapshot().await.unwrap();
    assert_eq!(declared(&first), ["server/a=one", "server/b=one"]);
    let same = source.snapshot().await.unwrap();
    assert_eq!(first.head, same.head);
    assert!(Arc::ptr_eq(&first.tree, &same.tree));

    // The same size, and (set by hand) the same time: still it is seen.
    let file = folder.path().join("b.yaml");
    let modified = std::fs::metadata(&file).unwrap().modified().unwrap();
    std::fs::write(&file, text("b", "two")).unwrap();
    std::fs::File::options()
        .append(true)
        .open(&file)
        .unwrap()
        .set_modified(modified)
        .unwrap();
    let second = source.snapshot().await.unwrap();
    assert_ne!(first.head, second.head);
    assert_eq!(declared(&second), ["server/a=one", "server/b=two"]);
    assert!(Arc::ptr_eq(
        &first.tree.documents[&id("server/a")].document,
        &second.tree.documents[&id("server/a")].document
    ));
}

/// Row "an emptied repository that deletes the world": a folder that is gone says nothing of its files.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_gone_is_an_error_until_it_is_back() {
    let (folder, source) = open(&[("a.yaml", &text("a", "one"))]).await;
    let before = source.snapshot().await.unwrap();
    let away = folder.path().with_extension("away");
    std::fs::rename(folder.path(), &away).unwrap();
    assert!(matches!(source.snapshot().await, Err(RepoError::NoFolder(_))));
    let export = export(1, &[("server/a", Some(server("a", "two")))]);
    if let Ok(prepared) = source.prepare(&before, &export, &ids(&export)).await {
        assert_eq!(source.land(&prepared).await.unwrap(), Landing::Moved);
    }
    assert!(!folder.path().exists());
    std::fs::rename(&away, folder.path()).unwrap();
    assert_eq!(source.snapshot().await.unwrap().head, before.head);
    assert!(matches!(
        Folder::open(&folder.path().join("nowhere")).await,
        Err(RepoError::NoFolder(_))
    ));
}

/// Row "a merge marker or half-saved file in a watched folder": a file that an editor is just saving is no deletion.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_gets_a_second_look() {
    let (folder, source) = open(&[("a.yaml", &text("a", "one")), ("b.yaml", &text("b", "one"))]).await;
    let before = source.snapshot().await.unwrap();
    let file = folder.path().join("b.yaml");
    let half = "kind: server\n<<<<<<< mine\nname: b\n";
    std::fs::write(&file, half).unwrap();
    let held = source.snapshot().await.unwrap();
    assert_eq!(declared(&held), ["server/a=one"]);
    assert!(held.tree.unreadable.iter().any(|fault| fault.path == "b.yaml"));

    std::fs::write(&file, text("b", "one")).unwrap();
    assert_eq!(source.snapshot().await.unwrap().head, before.head);
    // Emptied for a moment: the look sees it, does not believe it, and the next one finds the file whole.
    std::fs::write(&file, "").unwrap();
    let Source::Folder(inner) = &source else { unreachable!() };
    assert!(!inner.believes_one_look());
    std::fs::write(&file, text("b", "one")).unwrap();
    assert!(inner.believes_one_look());
    assert_eq!(source.snapshot().await.unwrap().head, before.head);
    // Emptied for good.
    std::fs::remove_file(&file).unwrap();
    let after = source.snapshot().await.unwrap();
    assert_eq!(declared(&after), ["server/a=one"]);
    assert!(after.tree.unreadable.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn saves_are_hinted_at_also_in_new_folders() {
    let (folder, source) = open(&[("a.yaml", &text("a", "one"))]).await;
    let mut changed = source.changed();
    source.snapshot().await.unwrap();
    for (path, count) in [
        ("a.yaml", 1),
        ("new/b.yaml", 2),
        ("new/c.yaml", 3),
        ("again/b.yaml", 4),
        ("again/c.yaml", 5),
    ] {
        let file = folder.path().join(path);
        changed.borrow_and_update();
        if path == "again/b.yaml" {
            // A folder that goes and comes back by its name is another one.
            std::fs::rename(folder.path().join("new"), folder.path().join("again")).unwrap();
        }
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let saved = text("x", &count.to_string());
        std::fs::write(&file, &saved).unwrap();
        // What hints are worth: nothing but them asks for a look, and a look finds the file.
        loop {
            let hint = tokio::time::timeout(std::time::Duration::from_mins(1), changed.changed()).await;
            hint.unwrap().unwrap();
            let snapshot = source.snapshot().await.unwrap();
            if snapshot.files.get(path) == Some(&crate::kit::Digest::of(&saved)) {
                break;
            }
        }
    }
}

/// Very many files that come or change at once are looked at until they rest; a few are taken at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_is_taken_once_it_is_over() {
    let (folder, source) = open(&[("a.yaml", &text("a", "one"))]).await;
    let Source::Folder(inner) = &source else { unreachable!() };
    source.snapshot().await.unwrap();
    let write = |from: usize, to: usize| {
        for n in from..to {
            let name = format!("x-{n}");
            std::fs::write(folder.path().join(format!("{name}.yaml")), text(&name, "one")).unwrap();
        }
    };
    write(0, 5);
    assert!(inner.believes_one_look());
    write(5, 50);
    assert!(!inner.believes_one_look());
    let writing = async {
        for n in 50..60 {
            write(n * 10, n * 10 + 10);
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let (snapshot, ()) = tokio::join!(source.snapshot(), writing);
    assert_eq!(declared(&snapshot.unwrap()).len(), 1 + 50 + 100);
}

/// A folder that goes is waited for: nothing but hints asks for looks here. Whatever takes its place is watched as the first
/// one was, also where it came so soon that nobody noticed the going.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_replaced_is_watched_anew() {
    let place = TempDir::new().unwrap();
    let path = |name: &str| place.path().join(name);
    let make = |name: &str, server: &str| {
        std::fs::create_dir_all(path(name).join("sub")).unwrap();
        std::fs::write(path(name).join("sub/x.yaml"), text(server, "one")).unwrap();
    };
    make("deep/root", "first");
    let root = path("deep/root");
    let source = Source::Folder(Folder::open(&root).await.unwrap());
    let mut changed = source.changed();
    let until = async |changed: &mut tokio::sync::watch::Receiver<u64>, want: Option<&str>| loop {
        changed.borrow_and_update();
        match (source.snapshot().await, want) {
            (Err(RepoError::NoFolder(_)), None) => break,
            (Ok(snapshot), Some(want)) if declared(&snapshot) == [format!("server/{want}=one")] => break,
            _ => {}
        }
        let hint = tokio::time::timeout(std::time::Duration::from_mins(1), changed.changed()).await;
        hint.unwrap_or_else(|_| panic!("never: {want:?}")).unwrap();
    };
    until(&mut changed, Some("first")).await;
    for (n, gap) in [(0, true), (1, false), (2, true)] {
        let (next, later) = (format!("second-{n}"), format!("later-{n}"));
        make("other", &next);
        if n == 2 {
            // With what it lies in.
            std::fs::rename(path("deep"), path(&format!("old-{n}"))).unwrap();
            until(&mut changed, None).await;
            std::fs::create_dir(path("deep")).unwrap();
        } else {
            std::fs::rename(&root, path(&format!("old-{n}"))).unwrap();
        }
        if gap {
            until(&mut changed, None).await;
            // What the going itself says is over: the next hint is of the coming.
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            until(&mut changed, None).await;
        }
        std::fs::rename(path("other"), &root).unwrap();
        if gap {
            let hint = tokio::time::timeout(std::time::Duration::from_mins(1), changed.changed()).await;
            hint.expect("its coming is hinted at").unwrap();
        }
        until(&mut changed, Some(&next)).await;
        std::fs::write(root.join("sub/x.yaml"), text(&later, "one")).unwrap();
        until(&mut changed, Some(&later)).await;
    }
}

/// What editors leave beside a file while it is open or being saved: locks, backups, swap files, the name that vim tries.
#[tokio::test(flavor = "multi_thread")]
async fn the_litter_of_editors_is_not_read() {
    let (folder, source) = open(&[("a.yaml", &text("a", "one"))]).await;
    let before = source.snapshot().await.unwrap();
    for name in [
        "a.yaml~",
        ".a.yaml.swp",
        "4913",
        "#a.yaml#",
        "a.yaml.bak",
        "a.yaml.tmp.1234",
        ".goutputstream-XYZ",
        "a.yaml.orig",
        "sedAbCdEf",
    ] {
        std::fs::write(folder.path().join(name), text("a", "litter")).unwrap();
    }
    // emacs locks by a link that leads nowhere.
    symlink("ann@host.1:2", folder.path().join(".#a.yaml")).unwrap();
    let after = source.snapshot().await.unwrap();
    assert_eq!((after.head, &after.tree.diagnostics), (before.head, &vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_are_written_back() {
    let two = format!("{}---\n{}", text("a", "one"), text("b", "two"));
    let (folder, source) = open(&[("odd.yml", &two), ("c.yaml", &text("c", "three"))]).await;
    let path = |name: &str| folder.path().join(name);
    std::fs::set_permissions(path("odd.yml"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let seen = source.snapshot().await.unwrap();
    let export = export(
        3,
        &[
            ("server/a", Some(server("a", "changed"))),
            ("server/c", None),
            ("server/d", Some(server("d", "four"))),
        ],
    );
    let prepared = source.prepare(&seen, &export, &ids(&export)).await.unwrap();
    assert!(prepared.changes);
    assert_eq!(source.snapshot().await.unwrap().head, seen.head);
    assert!(source.landed(&prepared.attempt).await.unwrap() == Some(false));
    assert_eq!(source.land(&prepared).await.unwrap(), Landing::Landed);
    assert!(source.landed(&prepared.attempt).await.unwrap() == Some(true));
    assert_eq!(source.land(&prepared).await.unwrap(), Landing::Landed);

    let odd = std::fs::read_to_string(path("odd.yml")).unwrap();
    assert_eq!(odd, two.replace("description: one", "description: changed"));
    assert_eq!(
        std::fs::metadata(path("odd.yml")).unwrap().permissions().mode() & 0o777,
        0o640
    );
    assert!(!path("c.yaml").exists());
    let mut left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["odd.yml", "servers"]);
    // What mcpd itself removed is believed at once.
    let Source::Folder(inner) = &source else { unreachable!() };
    assert!(inner.believes_one_look());
    let after = source.snapshot().await.unwrap();
    assert_eq!(declared(&after), ["server/a=changed", "server/b=two", "server/d=four"]);
    assert_eq!(after.head, Some(prepared.commit.clone()));

    let again = super::export(4, &[("server/d", Some(server("d", "four")))]);
    let nothing = source.prepare(&after, &again, &ids(&again)).await.unwrap();
    assert!(!nothing.changes);
    assert_eq!(Some(&nothing.commit), after.head.as_ref());
    assert_eq!(source.land(&nothing).await.unwrap(), Landing::Landed);
    for nonsense in ["", "nonsense", "../../etc/passwd=00"] {
        assert!(source.landed(nonsense).await.unwrap() == Some(false), "{nonsense}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_somebody_changed_is_never_written_over() {
    let (folder, source) = open(&[("a.yaml", &text("a", "one")), ("b.yaml", &text("b", "one"))]).await;
    let (a, b) = (folder.path().join("a.yaml"), folder.path().join("b.yaml"));
    let seen = source.snapshot().await.unwrap();
    let change = export(
        1,
        &[
            ("server/a", Some(server("a", "x"))),
            ("server/b", Some(server("b", "x"))),
        ],
    );
    let prepared = source.prepare(&seen, &change, &ids(&change)).await.unwrap();
    std::fs::write(&b, text("b", "by hand")).unwrap();
    assert_eq!(source.land(&prepared).await.unwrap(), Landing::Moved);
    // None of the files is written where one of them moved; and nothing is prepared from a text that no plan saw.
    let stale = source.prepare(&seen, &change, &ids(&change)).await.unwrap();
    assert_eq!(source.land(&stale).await.unwrap(), Landing::Moved);
    assert_eq!(std::fs::read_to_string(&a).unwrap(), text("a", "one"));
    assert_eq!(std::fs::read_to_string(&b).unwrap(), text("b", "by hand"));

    let create = export(2, &[("server/n", Some(server("n", "x")))]);
    let prepared = source.prepare(&seen, &create, &ids(&create)).await.unwrap();
    std::fs::create_dir(folder.path().join("servers")).unwrap();
    std::fs::write(folder.path().join("servers/n.yaml"), "# mine\n").unwrap();
    assert_eq!(source.land(&prepared).await.unwrap(), Landing::Moved);

    std::fs::remove_dir_all(folder.path().join("servers")).unwrap();
    let outside = TempDir::new().unwrap();
    symlink(outside.path(), folder.path().join("servers")).unwrap();
    let error = source.prepare(&seen, &create, &ids(&create)).await.unwrap_err();
    assert_eq!(error.resource(), Some(&id("server/n")), "{error}");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

//! A watched folder that people edit at the worst moments.

use super::*;

/// A folder with a file for each name, and room for an engine's data.
pub(super) struct Place(tempfile::TempDir);

impl Place {
    pub(super) fn with(names: &[&str]) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(place.folder()).unwrap();
        for name in names {
            place.write(name, "one");
        }
        place
    }

    pub(super) fn folder(&self) -> std::path::PathBuf {
        self.0.path().join("folder")
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder().join(format!("{name}.yaml"))
    }

    pub(super) fn write(&self, name: &str, description: &str) {
        std::fs::write(self.file(name), text(name, description)).unwrap();
    }

    pub(super) fn remove(&self, name: &str) {
        std::fs::remove_file(self.file(name)).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap()
    }

    pub(super) async fn bench(&self, runs: bool) -> Bench {
        Bench::folder(&self.folder(), &self.0.path().join("data"), runs).await
    }
}

/// Pitfalls "an export that lands between pre-receive and the ref's move" and "flapping between the UI's edits and git",
/// in a folder: what a person saves after the plan was made is not what the plan may write over.
#[tokio::test(flavor = "multi_thread")]
async fn a_save_between_plan_and_export_is_a_conflict() {
    let place = Place::with(&["a"]);
    let bench = place.bench(false).await;
    bench.rest().await;
    bench.edit(&[("a", Some("store"))]).await;
    let (snapshot, view) = (bench.snapshot().await, bench.store().view());
    let plan = bench.0.plan_agree(&snapshot, &view, &BTreeMap::new(), false);
    assert_eq!(plan.exports.len(), 1);

    place.write("a", "person");
    let pass = bench
        .0
        .perform_agree(&plan, &snapshot, &view, &mut BTreeMap::new())
        .await;
    assert_eq!(pass.unwrap(), Pass::Again, "the head moved: look again");
    assert_eq!(place.read("a"), text("a", "person"));

    bench.rest().await;
    let conflicts = bench.store().conflicts().await.unwrap();
    let lost: Vec<_> = conflicts
        .iter()
        .map(|conflict| conflict.repository.as_ref().unwrap().spec["description"].clone())
        .collect();
    assert_eq!(lost, ["person"]);
    assert_eq!(
        (place.read("a"), bench.declared()),
        (text("a", "store"), "a=store".to_owned())
    );
}

/// Pitfalls "one bad file stops the catalogue" and "204 and nothing happened": what can't be written waits alone, and
/// waiting is no work.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_exported_waits_alone_and_quietly() {
    let place = Place::with(&["z"]);
    let bench = place.bench(false).await;
    bench.rest().await;
    let squatter = place.folder().join(id("a").canonical_path());
    std::fs::create_dir_all(&squatter).unwrap();

    bench.edit(&[("a", Some("one")), ("b", Some("one"))]).await;
    let agreed = bench.rest().await;
    let written = place.folder().join(id("b").canonical_path());
    assert!(written.is_file(), "the rest of its mutation lands");
    assert_eq!(waiting(&bench.store().view()), [["a"]]);
    assert!(agreed.stuck[&id("a")].contains("a.yaml"), "{:?}", agreed.stuck);

    // A second edit of what waits has to wait behind the first one, without a busy loop.
    bench.edit(&[("a", Some("two")), ("c", Some("one"))]).await;
    bench.rest().await;
    assert_eq!(waiting(&bench.store().view()), [["a"], ["a"]]);
    assert!(place.folder().join(id("c").canonical_path()).is_file());
    assert_eq!(bench.pass().await.pass, Pass::Rest);

    std::fs::remove_dir(&squatter).unwrap();
    let agreed = bench.rest().await;
    assert!(agreed.stuck.is_empty() && bench.store().view().outbox.is_empty());
    let tree = bench.snapshot().await.tree;
    assert_eq!(tree.documents[&id("a")].document, document("a", "two"));
}

/// Pitfall "an emptied repository that deletes the world": a person's word is for the head that waits, is used up by
/// it, and is no word at all where nothing waits.
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_used_up_by_what_it_was_given_for() {
    use crate::wire::SourceState::{Synced, WaitingForApproval};
    let names = ["a", "b", "c", "d", "e"];
    let place = Place::with(&["f"]);
    let empty = || names.iter().for_each(|name| place.remove(name));
    let fill = || names.iter().for_each(|name| place.write(name, "one"));
    let bench = place.bench(true).await;
    let sync = async |allow: bool| {
        let words = Words {
            allow_mass_delete: allow,
            ..Words::default()
        };
        let report = bench.sync(words).await.unwrap();
        (report.status.resources, report.status.source.state)
    };
    assert_eq!(sync(false).await, (1, Synced));
    assert_eq!(sync(true).await, (1, Synced), "nothing waits, so nothing is approved");
    // A folder's head is a digest of its files: the same files are the same head, and not the same word.
    fill();
    assert_eq!(sync(false).await, (6, Synced));
    empty();
    assert_eq!(sync(false).await, (6, WaitingForApproval), "a quiet system was asked");
    assert_eq!(sync(true).await, (1, Synced));
    fill();
    assert_eq!(sync(false).await, (6, Synced));
    empty();
    assert_eq!(sync(false).await, (6, WaitingForApproval), "it is used up");
}

/// The same row: what was approved is one head; what has been deleted since is not.
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_for_one_head() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let place = Place::with(&names);
    let bench = place.bench(false).await;
    bench.rest().await;
    for name in &names[..4] {
        place.remove(name);
    }
    let agreed = bench.rest().await;
    assert_eq!(agreed.plan.guard.unwrap().deletions, 4);
    bench.0.allow(agreed.snapshot.head.as_deref()).await.unwrap();
    place.remove("e");
    let agreed = bench.rest().await;
    assert_eq!(agreed.plan.guard.unwrap().deletions, 5);
    assert_eq!(bench.declared(), "a=one b=one c=one d=one e=one f=one");
    bench.0.allow(agreed.snapshot.head.as_deref()).await.unwrap();
    bench.rest().await;
    assert_eq!(bench.declared(), "f=one");
}

/// Pitfall "a file that does not parse taken for deletions": also by the recovery after a crash, which asks whether a
/// deletion of its export is in the folder already.
#[tokio::test(flavor = "multi_thread")]
async fn recovery_never_takes_an_unreadable_file_for_a_deletion() {
    let place = Place::with(&["v", "w", "x", "y"]);
    let bench = place.bench(false).await;
    bench.rest().await;
    std::fs::write(place.file("x"), "kind: server\nname: x\ncommand: [\n").unwrap();
    bench.edit(&[("x", None), ("y", Some("two"))]).await;
    // What an export does until the crash: it records its mark and lands, and nobody writes down that it has.
    let (snapshot, view) = (bench.snapshot().await, bench.store().view());
    let (source, row) = (&bench.0.parts.source, &view.outbox[0]);
    let prepared = source.prepare(&snapshot, row, &[id("y")]).await.unwrap();
    let mark = Some(prepared.attempt.clone());
    bench.store().record_attempt(row.revision, mark).await.unwrap();
    source.land(&prepared).await.unwrap();
    drop(view);
    drop(bench);

    let bench = place.bench(false).await;
    let agreed = bench.rest().await;
    assert_eq!(place.read("y"), text("y", "two"));
    assert_eq!(waiting(&bench.store().view()), [["x"]], "the deletion has not landed");
    assert!(agreed.plan.held.contains_key(&id("x")));
    // Once the file can be read, the deletion goes on; it does not come back as news.
    place.write("x", "one");
    bench.rest().await;
    assert_eq!(bench.declared(), "v=one w=one y=two");
    assert!(!place.file("x").exists() && bench.store().view().outbox.is_empty());
}

/// Pitfall "an emptied repository that deletes the world": what waits for a person's word goes on waiting, also when so much
/// else is declared meanwhile that the same deletions would pass.
#[tokio::test(flavor = "multi_thread")]
async fn other_changes_do_not_approve_a_mass_deletion() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let place = Place::with(&names);
    let bench = place.bench(false).await;
    bench.rest().await;
    for name in &names[..4] {
        place.remove(name);
    }
    assert_eq!(bench.rest().await.plan.guard.unwrap().deletions, 4);
    bench
        .edit(&[("x", Some("new")), ("y", Some("new")), ("z", Some("new"))])
        .await;
    bench.edit(&[("a", Some("two"))]).await;
    let agreed = bench.rest().await;
    assert_eq!(
        agreed.plan.guard.unwrap().deletions,
        3,
        "one is in conflict now, and the rest waits"
    );
    assert_eq!(
        bench.declared(),
        "a=two b=one c=one d=one e=one f=one x=new y=new z=new"
    );
    // Files that come back end the wait, and nothing is left of it.
    names[..4].iter().for_each(|name| place.write(name, "one"));
    let agreed = bench.rest().await;
    assert!(agreed.plan.guard.is_none());
    place.remove("b");
    bench.rest().await;
    assert_eq!(bench.declared(), "a=two c=one d=one e=one f=one x=new y=new z=new");
}

/// Pitfall "a merge marker or half-saved file in a watched folder": a file that is empty (an editor empties it before it
/// writes, a disk is full) deletes nothing, however long it stays so, and also for an mcpd that never saw it full.
#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_file_deletes_nothing() {
    let place = Place::with(&["a", "b"]);
    std::fs::write(
        place.folder().join("two.yaml"),
        format!("{}---\n{}", text("c", "one"), text("d", "one")),
    )
    .unwrap();
    let bench = place.bench(false).await;
    bench.rest().await;
    let all = "a=one b=one c=one d=one";
    assert_eq!(bench.declared(), all);
    for empty in ["", "\n \n", "\u{feff}"] {
        std::fs::write(place.file("a"), empty).unwrap();
        std::fs::write(place.folder().join("two.yaml"), empty).unwrap();
        let agreed = bench.rest().await;
        assert_eq!(bench.declared(), all);
        let why = |name: &str| agreed.plan.held.get(&id(name)).cloned().unwrap_or_default();
        assert!(
            why("a").ends_with("a.yaml is empty: write it, or remove the file"),
            "{}",
            why("a")
        );
        assert!(why("c").contains("two.yaml is empty"), "{}", why("c"));
    }
    drop(bench);
    let bench = place.bench(false).await;
    bench.rest().await;
    assert_eq!(bench.declared(), all);
    // A file that was always empty holds nothing up; one that is written again, or is found elsewhere, is taken.
    std::fs::write(place.file("new"), "").unwrap();
    place.remove("b");
    place.write("a", "two");
    std::fs::write(place.folder().join("moved.yaml"), text("c", "two")).unwrap();
    bench.rest().await;
    assert_eq!(bench.declared(), "a=two c=two d=one");
    // Removed, it is a deletion.
    std::fs::remove_file(place.folder().join("two.yaml")).unwrap();
    let agreed = bench.rest().await;
    assert_eq!((bench.declared().as_str(), agreed.plan.held.len()), ("a=two c=two", 0));
}

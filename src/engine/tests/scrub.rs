//! Taking what leaked out of the history, over a real repository and a real store.

use super::push::{World, git};
use super::undo::PLAIN;
use super::*;
use crate::engine::{EngineError, Scrubbed};
use crate::repo::Scrub;

const LEAKED: &str = "leaked-value-4711";

impl World {
    async fn scrub(&self, paths: &[&str], values: &[&str], dry: bool) -> Result<Scrubbed, EngineError> {
        let paths = paths.iter().map(ToString::to_string).collect();
        let values = values.iter().map(|value| Redacted::new((*value).to_owned())).collect();
        self.bench.engine.scrub(paths, values, dry, &actor("ann", "api")).await
    }

    /// Every object that there is, reachable or not.
    fn objects(&self) -> String {
        git(
            &self.bare(),
            &["cat-file", "--batch-all-objects", "--batch", "--unordered"],
        )
    }

    /// Every commit that the store speaks of is there.
    async fn commits_are_there(&self) {
        let view = self.bench.store().view();
        let ledger = view.ledger.values().map(|row| row.commit.clone());
        let mutations = self.bench.store().mutations(100).await.unwrap();
        for commit in ledger.chain(mutations.into_iter().filter_map(|it| it.commit)) {
            git(&self.bare(), &["merge-base", "--is-ancestor", &commit, "main"]);
        }
    }

    /// A history in which a value was pushed, kept by a branch, a tag and a timeline, and taken out again.
    async fn that_leaked() -> Self {
        let world = Self::with(&["a", "b"]).await;
        world.write("servers/leak.yaml", &text("leak", LEAKED));
        world.write("notes.md", &format!("# {LEAKED}\n"));
        let message = format!("A slip, with {LEAKED} in its words");
        git(&world.clone(), &["add", "-A"]);
        git(&world.clone(), &["commit", "-qm", &message]);
        let (accepted, said) = world.push(&[]).await;
        assert!(accepted, "{said:?}");
        world.bench.rest().await;
        let leaked = world.head();
        git(&world.bare(), &["update-ref", "refs/heads/theirs", &leaked]);
        git(
            &world.bare(),
            &[
                "-c",
                "user.name=Ann",
                "-c",
                "user.email=a@b",
                "tag",
                "-am",
                LEAKED,
                "v1",
                &leaked,
            ],
        );
        git(&world.bare(), &["update-ref", "-d", "refs/heads/sent"]);
        world
            .bench
            .edit(&[("leak", Some("harmless")), ("a", Some("two"))])
            .await;
        world.bench.rest().await;
        git(
            &world.clone(),
            &["pull", "-q", "--rebase", &world.bare().display().to_string(), "main"],
        );
        world.write("notes.md", "# nothing\n");
        world.commit();
        let (accepted, said) = world.push(&[]).await;
        assert!(accepted, "{said:?}");
        git(&world.bare(), &["update-ref", "-d", "refs/heads/sent"]);
        world.bench.rest().await;
        world.restore_to("HEAD~1").await;
        world
    }

    async fn restore_to(&self, commit: &str) {
        self.bench.edit(&[("b", Some("three"))]).await;
        self.bench.rest().await;
        self.bench
            .engine
            .restore(commit, PLAIN, &actor("ann", "api"))
            .await
            .unwrap();
        self.bench.rest().await;
    }
}

/// Demand: the history is rewritten without it, everything else is as it was, and the objects are gone.
#[tokio::test]
async fn what_leaked_is_gone_from_every_object() {
    let world = World::that_leaked().await;
    let (head, tree) = (world.head(), git(&world.bare(), &["rev-parse", "main^{tree}"]));
    let (before, revision) = (world.bench.declared(), world.revision());
    let first = git(&world.bare(), &["rev-list", "--max-parents=0", "main"]);
    let objects = world.objects();
    assert!(objects.contains(LEAKED));
    let planned = world.scrub(&[], &[LEAKED], true).await.unwrap();
    assert_eq!(
        (world.head(), world.objects().len()),
        (head.clone(), objects.len()),
        "only planned"
    );
    let done = world.scrub(&[], &[LEAKED], false).await.unwrap();
    assert_eq!(
        (done.commits, done.changed, &done.places),
        (planned.commits, planned.changed, &planned.places)
    );
    assert!(
        done.places.iter().any(|it| it.starts_with("servers/leak.yaml in ")),
        "{:?}",
        done.places
    );
    assert!(
        done.places.iter().any(|it| it.starts_with("its message in ")),
        "{:?}",
        done.places
    );
    let timeline = done.moved.iter().find(|it| it.starts_with("timeline/"));
    assert!(
        timeline.is_some() && done.moved.len() == 4,
        "main, theirs, v1, a timeline: {:?}",
        done.moved
    );
    // Gone, and nothing else is.
    assert!(!world.objects().contains(LEAKED), "an object holds it still");
    git(&world.bare(), &["fsck", "--strict", "--no-dangling"]);
    assert_ne!(world.head(), head);
    assert_eq!(git(&world.bare(), &["rev-parse", "main^{tree}"]), tree);
    assert_eq!(
        git(&world.bare(), &["rev-list", "--max-parents=0", "main"]),
        first,
        "what held nothing keeps its id"
    );
    assert!(git(&world.bare(), &["show", "v1:servers/leak.yaml"]).contains("description: REMOVED-BY-SCRUB"));
    // What was is kept, for the owner alone.
    let bundle = done.bundle.unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&bundle).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(git(&world.bare(), &["bundle", "list-heads", &bundle]).contains(&format!("{head} refs/heads/main")));
    // Both sides agree as they did; the store's words about commits followed.
    let agreed = world.bench.rest().await;
    assert_eq!(
        (agreed.replaced, world.bench.declared(), world.revision()),
        (None, before, revision)
    );
    world.commits_are_there().await;
    assert!(!done.records.is_empty(), "mcpd's own record of the push is told");
    let old = world.bench.engine.restore(&head, PLAIN, &actor("ann", "api")).await;
    assert!(old.is_err(), "the old commits are no points in time any more");
    // Work goes on: exports, a restore, and once more there is nothing to do.
    world.bench.edit(&[("a", Some("after"))]).await;
    world.bench.rest().await;
    world.restore_to("HEAD~1").await;
    let again = world.scrub(&[], &[LEAKED], false).await.unwrap();
    assert_eq!((again.changed, again.bundle), (0, None));
    let told = world.bench.store().recent_audit(50).await.unwrap();
    assert!(
        told.iter()
            .any(|it| it.actor == "ann" && it.action.starts_with("scrub the repository"))
    );
    assert!(!format!("{told:?}").contains(LEAKED));
}

/// A clone of before brings nothing back, to whatever branch, and is told how it goes on.
#[tokio::test]
async fn an_old_clone_brings_nothing_back() {
    let world = World::that_leaked().await;
    git(
        &world.clone(),
        &["pull", "-q", "--rebase", &world.bare().display().to_string(), "main"],
    );
    let old = world.head();
    world.write("servers/mine.yaml", &text("mine", "own"));
    git(&world.clone(), &["add", "-A"]);
    git(&world.clone(), &["commit", "-qm", "My own"]);
    world.scrub(&[], &[LEAKED], false).await.unwrap();
    let mine = git(&world.clone(), &["rev-parse", "HEAD"]);
    // As a push has them: there, and reached by no branch.
    git(
        &world.bare(),
        &["fetch", "-q", &world.clone().display().to_string(), "main"],
    );
    for options in [&[][..], &["new-epoch"]] {
        let (accepted, said) = world.judge(&world.head(), &mine, options).await;
        world.end(None);
        assert!(!accepted);
        assert!(
            said[0].starts_with("error: this history was scrubbed: commit "),
            "{said:?}"
        );
        assert!(
            said[1].contains(&format!("git rebase --onto origin/main {}", &old[..7])),
            "{said:?}"
        );
    }
    let bare = world.bare().display().to_string();
    git(&world.clone(), &["fetch", "-q", &bare, "main"]);
    git(&world.clone(), &["rebase", "-q", "--onto", "FETCH_HEAD", &old]);
    let (accepted, said) = world.push(&[]).await;
    assert!(accepted, "{said:?}");
    world.bench.rest().await;
    assert!(world.bench.declared().contains("mine=own"));
}

/// A file goes by its name; what is in force, or can't be meant, is refused and nothing is changed.
#[tokio::test]
async fn what_can_not_be_scrubbed_says_why() {
    let world = World::that_leaked().await;
    let head = world.head();
    for (paths, values, want) in [
        (&[][..], &[][..], "nothing is named"),
        (&[], &["short"], "at least 6 characters"),
        (&["/etc/passwd"], &[], "from the repository's root"),
        (&["servers/a.yaml"], &[], "still stands in the newest state of main"),
        (&[], &["description"], "still stands in the newest state of main"),
        (&[], &["notes.md"], "in the name of a file"),
    ] {
        let error = world.scrub(paths, values, false).await.unwrap_err();
        let told = match &error {
            EngineError::Repository(cause) => cause.to_string(),
            other => other.to_string(),
        };
        assert!(told.contains(want), "{paths:?} {values:?}: {told}");
    }
    assert_eq!(world.head(), head);
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::folder(folder.path(), &folder.path().join(".data"), false).await;
    let refused = bench
        .engine
        .scrub(vec!["a".to_owned()], vec![], false, &actor("ann", "api"))
        .await;
    assert!(matches!(refused, Err(EngineError::NoHistory { .. })));
    // By name: once it is gone from the newest state.
    git(
        &world.clone(),
        &["pull", "-q", "--rebase", &world.bare().display().to_string(), "main"],
    );
    std::fs::remove_file(world.clone().join("notes.md")).unwrap();
    world.commit();
    assert!(world.push(&[]).await.0);
    git(&world.bare(), &["update-ref", "-d", "refs/heads/sent"]);
    world.bench.rest().await;
    world.scrub(&["notes.md"], &[], false).await.unwrap();
    let names = git(&world.bare(), &["log", "--all", "--format=", "--name-only"]);
    assert!(
        !names.contains("notes.md") && names.contains("servers/leak.yaml"),
        "{names}"
    );
}

/// A crash between the branches and the store: what the store knows follows at the next start, and the rest is removed; one
/// before the branches moved has done nothing.
#[tokio::test]
async fn a_crash_in_between_is_brought_to_its_end() {
    let world = World::that_leaked().await;
    let (old, before) = (world.head(), world.bench.declared());
    let scrub = Scrub {
        paths: vec![],
        values: vec![Redacted::new(LEAKED.to_owned())],
    };
    let new = world.hosted().rewrite(&scrub, false).await.unwrap();
    let to = new
        .moves
        .iter()
        .find(|(name, ..)| name == "refs/heads/main")
        .unwrap()
        .2
        .clone();
    let facts = || {
        let facts = [
            ("scrub-moving", format!("{old} {to}")),
            ("scrub-remains", "1".to_owned()),
        ];
        let source = (format!("scrubbed:{}", new.sources[0]), Some(old.clone()));
        facts
            .into_iter()
            .map(|(fact, value)| (fact.to_owned(), Some(value)))
            .chain([source])
            .collect()
    };
    world.bench.store().set_metas(facts()).await.unwrap();
    let world = world.restart().await;
    let agreed = world.bench.rest().await;
    assert_eq!((agreed.replaced, world.head()), (None, old.clone()));
    assert!(
        world.bench.store().metas("scrub").is_empty(),
        "it has to be asked for again"
    );

    world.bench.store().set_metas(facts()).await.unwrap();
    assert!(world.hosted().move_all(&new.moves).await.unwrap());
    let world = world.restart().await;
    let agreed = world.bench.rest().await;
    assert_eq!(
        (agreed.replaced, world.head(), world.bench.declared()),
        (None, to, before)
    );
    world.commits_are_there().await;
    assert!(!world.objects().contains(LEAKED));
    assert_eq!(world.bench.store().metas("scrub").len(), 1, "what must not come back");
    world.bench.edit(&[("a", Some("after"))]).await;
    world.bench.rest().await;
}

/// Where main stays it can't tell whether the other branches have moved: nothing is taken for done, and a person is told.
#[tokio::test]
async fn a_scrub_of_other_branches_that_was_cut_off_is_told() {
    let world = World::that_leaked().await;
    let head = world.head();
    let facts = [
        ("scrub-moving", format!("{head} {head}")),
        ("scrub-remains", "1".to_owned()),
    ];
    let facts = facts.into_iter().map(|(fact, value)| (fact.to_owned(), Some(value)));
    let gone = (format!("scrubbed:{head}"), Some(head.clone()));
    world
        .bench
        .store()
        .set_metas(facts.chain([gone]).collect())
        .await
        .unwrap();
    let world = world.restart().await;
    world.bench.rest().await;
    assert!(
        world.bench.store().metas("scrub").is_empty(),
        "it has to be asked for again"
    );
    let events = world.bench.store().events(0, 100).await.unwrap();
    assert!(events.iter().any(|event| event.reason == "ScrubCutOff"), "{events:?}");
    assert!(world.objects().contains(LEAKED));
}

/// The journal still knows what was scrubbed; an undo does not bring it back.
#[tokio::test]
async fn no_undo_brings_back_what_was_scrubbed() {
    let world = World::that_leaked().await;
    let done = world.scrub(&[], &[LEAKED], false).await.unwrap();
    assert!(done.records.len() >= 2, "{:?}", done.records);
    for revision in done.records {
        let undone = world.bench.engine.undo(revision, PLAIN, &actor("ann", "api")).await;
        let refused = undone.unwrap_err();
        let EngineError::NotUndone { because, .. } = refused else {
            panic!("{refused}");
        };
        assert!(because[0].message.contains("what was scrubbed"), "{because:?}");
    }
    let other = world.revision();
    world.bench.edit(&[("a", Some("after"))]).await;
    world.bench.rest().await;
    assert!(
        world
            .bench
            .engine
            .undo(other + 1, PLAIN, &actor("ann", "api"))
            .await
            .is_ok()
    );
    assert!(!world.objects().contains(LEAKED));
}

/// git's own words, ids and times are no words of people's, however much a value looks like them.
#[tokio::test]
async fn what_only_looks_like_the_value_stays() {
    let world = World::that_leaked().await;
    let head = world.head();
    let first = |format: &str| git(&world.bare(), &["log", "-1", &format!("--format={format}"), "main"]);
    let (time, tree, parent) = (first("%ct"), first("%T"), first("%P"));
    for value in ["author", "committer", "parent ", &time[..7], &tree[..8], &parent[..8]] {
        let _ = world.scrub(&[], &[value], false).await;
        assert_eq!(world.head(), head, "{value}");
    }
    git(&world.bare(), &["fsck", "--strict", "--no-dangling"]);
    // A person's name goes, and the line that named them stays one.
    let name = first("%an");
    assert!(name.len() >= 3, "{name}");
    let address = first("%ae");
    let done = world.scrub(&[], &[&address], false).await;
    git(&world.bare(), &["fsck", "--no-dangling"]);
    assert!(done.is_err() || !world.objects().contains(&address), "{address}");
    world.commits_are_there().await;
}

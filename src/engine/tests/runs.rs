//! Runs: what was asked for is never lost, never goes on for ever, and tells what it did.

use super::folder::Place;
use super::*;
use crate::engine::runs::Looked;
use crate::record::{Cause, Run, RunState};
use crate::store::tests::disk::Disk;

/// How often something is looked for until it has come; ten milliseconds apart.
const LOOKS: usize = 6_000;

impl Bench {
    async fn all_runs(&self) -> Vec<Run> {
        self.runs(1_000).await.unwrap()
    }

    /// The newest run once there is one that answers to this.
    async fn run_that(&self, wanted: impl Fn(&Run) -> bool) -> Run {
        for _ in 0..LOOKS {
            if let Some(run) = self.all_runs().await.into_iter().find(|run| wanted(run)) {
                return run;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no such run: {:#?}", self.all_runs().await);
    }

    /// A round that the test makes itself, over what is there.
    async fn round(&self) {
        let began = crate::kit::time::now();
        let before = self.snapshot().await.head;
        self.0.begin_run();
        let agreed = self.rest().await;
        self.0.end_run(over(began, before, agreed.snapshot.head)).await;
    }
}

fn over(began: crate::kit::time::Timestamp, before: Option<String>, after: Option<String>) -> Looked {
    Looked {
        first: false,
        began,
        before,
        after,
        state: RunState::Done,
        reason: String::new(),
    }
}

fn hook() -> Cause {
    Cause::new("webhook github", "ada")
}

fn sync() -> Cause {
    Cause::new("sync", "admin")
}

/// What a look that was asked for did is told with its answer, and what waits for a person is told as that.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_is_told_what_was_done() {
    let names = ["a", "b", "c", "d", "e"];
    let place = Place::with(&names);
    let bench = place.bench(true).await;
    bench.sync(Words::default()).await.unwrap();
    let first = bench.run_that(Run::is_over).await;
    let told = (first.causes[0].trigger.as_str(), first.did.to_string());
    assert_eq!((told, first.asks), (("start", "imported 5".to_owned()), 0));

    let asked = async |words: Words| bench.sync_as(words, sync()).await.unwrap();
    let synced = asked(Words::default()).await;
    assert_eq!(synced.run.outcome(), "nothing to do");
    assert_eq!(
        (synced.run.state, synced.run.asks, &synced.run.causes[..]),
        (RunState::Done, 1, &[sync()][..])
    );
    assert!(synced.run.id > first.id && synced.run.began >= Some(synced.run.asked));
    assert_eq!(synced.run.before, synced.run.after);

    for name in names {
        place.remove(name);
    }
    let synced = asked(Words::default()).await;
    // The folder's own hint may have come first: then nothing moved, and it waits all the same.
    assert_eq!(synced.run.state, RunState::Waiting);
    assert!(synced.run.outcome().contains("--allow-mass-delete"), "{:?}", synced.run);
    let all = Words {
        allow_mass_delete: true,
        new_epoch: true,
        take_over: true,
    };
    let synced = asked(all).await;
    assert_eq!(synced.passed_over, ["newEpoch", "takeOver"]);
    // The folder's hint may also come between the word and the look.
    let deleted = bench.run_that(|run| run.id > first.id && !run.did.is_nothing()).await;
    assert_eq!(deleted.outcome(), "imported 5");
    assert_eq!(deleted.did.revisions, [bench.store().view().revision]);
    let synced = asked(all).await;
    assert_eq!(synced.passed_over, ["newEpoch", "allowMassDelete", "takeOver"]);
    assert_eq!(bench.run(synced.run.id).await.unwrap(), Some(synced.run));
    assert_eq!(bench.run(9_999).await.unwrap(), None);
}

/// What moves by itself is a run too, with who moved it; a round that moves nothing is none.
#[tokio::test(flavor = "multi_thread")]
async fn what_moves_is_a_run_and_what_does_not_is_none() {
    let place = Place::with(&["a"]);
    let bench = place.bench(false).await;
    bench.round().await;
    let trigger = |run: &Run| {
        (
            run.causes[0].trigger.clone(),
            run.causes[0].by.clone(),
            run.did.to_string(),
        )
    };
    let newest = async || trigger(&bench.all_runs().await[0]);
    let of = |trigger: &str, by: &str, did: &str| (trigger.to_owned(), by.to_owned(), did.to_owned());
    assert_eq!(newest().await, of("repository", "", "imported 1"));
    bench.edit(&[("a", Some("two")), ("b", Some("one"))]).await;
    bench.round().await;
    assert_eq!(newest().await, of("edit", "bob", "exported 1"));
    for _ in 0..3 {
        bench.round().await;
    }
    let ids: Vec<u64> = bench.all_runs().await.iter().map(|run| run.id).collect();
    assert_eq!(ids, [2, 1], "rounds that are no runs take no ids");
    // Both change the same field: the store's is kept.
    bench.edit(&[("a", Some("three"))]).await;
    place.write("a", "four");
    bench.round().await;
    assert_eq!(newest().await, of("repository", "", "exported 1, 1 conflict"));
    let run = &bench.all_runs().await[0];
    assert_eq!(run.causes[1], Cause::new("edit", "bob"));
    // The head moves, and what it declares stays.
    let before = bench.snapshot().await.head;
    std::fs::write(place.folder().join("c.yaml"), "# nothing yet\n").unwrap();
    let (began, after) = (crate::kit::time::now(), bench.snapshot().await.head);
    assert_ne!(before, after);
    bench.0.begin_run();
    // Who asks while it looks gets a later id.
    let asked = bench.look(hook()).await.unwrap();
    bench.0.end_run(over(began, before, after)).await;
    let runs = bench.all_runs().await;
    assert_eq!(runs[0].id, asked);
    assert_eq!(trigger(&runs[1]), of("repository", "", "nothing to do"));
}

/// Many ask while a run is queued: one look, one id. Who asks once it has begun gets another look: what the second push
/// brought may have come after the first look read the repository.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_while_it_is_queued_joins_and_who_comes_later_does_not() {
    let place = Place::with(&[]);
    let bench = place.bench(false).await;
    let asked = (0..20).map(|_| {
        let engine = bench.engine.clone();
        tokio::spawn(async move { engine.look(hook()).await.unwrap() })
    });
    let mut ids = vec![];
    for asked in asked.collect::<Vec<_>>() {
        ids.push(asked.await.unwrap());
    }
    assert_eq!(bench.look(sync()).await.unwrap(), ids[0]);
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let queued = bench.run(ids[0]).await.unwrap().unwrap();
    assert_eq!((queued.state, queued.asks), (RunState::Queued, 21));
    assert_eq!(queued.causes, [hook(), sync()]);

    let served = bench.0.begin_run();
    assert_eq!(bench.run(ids[0]).await.unwrap().unwrap().state, RunState::Running);
    let second = bench.look(hook()).await.unwrap();
    assert_ne!(second, ids[0]);
    assert!(
        bench.0.asked.load(std::sync::atomic::Ordering::SeqCst) > served,
        "nobody looks again"
    );
    bench.0.end_run(over(queued.asked, None, None)).await;
    let states = bench.all_runs().await;
    let states: Vec<(u64, RunState)> = states.iter().map(|run| (run.id, run.state)).collect();
    assert_eq!(states, [(second, RunState::Queued), (ids[0], RunState::Done)]);
    bench.round().await;
    assert_eq!(bench.run(second).await.unwrap().unwrap().state, RunState::Done);
}

/// The same with the loop: each push is followed by a webhook, and what was pushed is in force once that one's run is over.
#[tokio::test(flavor = "multi_thread")]
async fn no_push_is_lost_between_two_webhooks() {
    let place = Place::with(&[]);
    let bench = place.bench(true).await;
    for round in 0..40 {
        let said = format!("round-{round}");
        place.write("a", &said);
        let id = bench.look(hook()).await.unwrap();
        let run = bench.run_that(|run| run.id == id && run.is_over()).await;
        assert_eq!(run.state, RunState::Done, "{run:?}");
        assert_eq!(bench.declared(), format!("a={said}"), "round {round}");
        if round % 3 == 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// An id that was handed out is known after a crash, and its run is told as cut off: never queued or running for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_mcpd_did_not_live_to_end_has_failed() {
    let place = Place::with(&["a"]);
    let bench = place.bench(false).await;
    let queued = bench.look(hook()).await.unwrap();
    drop(bench);

    let bench = place.bench(false).await;
    let cut_off = bench.run(queued).await.unwrap().unwrap();
    assert_eq!(cut_off.state, RunState::Failed);
    assert!(
        cut_off.outcome().starts_with("mcpd ended before it was done"),
        "{cut_off:?}"
    );
    let running = bench.look(hook()).await.unwrap();
    assert!(running > queued, "an id is given once");
    bench.0.begin_run();
    bench.pass().await;
    drop(bench);

    let bench = place.bench(true).await;
    assert_eq!(bench.run(running).await.unwrap().unwrap().state, RunState::Failed);
    bench.sync(Words::default()).await.unwrap();
    assert!(bench.all_runs().await.iter().all(Run::is_over));
    assert_eq!(bench.declared(), "a=one");
}

/// What can't be written down while the disk fails is shown all the same, and written once the disk answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_outlives_a_disk_that_fails_for_a_while() {
    let place = Place::with(&["a"]);
    let disk = Disk::new(vec![], 0..0);
    let store = disk.store().unwrap();
    let source = Source::Folder(Folder::open(&place.folder()).await.unwrap());
    let data = place.folder().with_file_name("data");
    std::fs::create_dir_all(&data).unwrap();
    let bench = Bench::start_on(store, source, "folder", &data, false, &[]).await;
    bench.round().await;
    let id = bench.look(hook()).await.unwrap();
    let began = crate::kit::time::now();
    bench.0.begin_run();
    disk.fail(usize::MAX);
    bench.0.end_run(over(began, None, None)).await;
    assert!(bench.look(sync()).await.is_err(), "no id without a record of it");
    disk.answer();
    assert_eq!(bench.run(id).await.unwrap().unwrap().state, RunState::Done);
    bench.round().await;
    let stored = bench.store().runs(10).await.unwrap();
    assert!(stored.iter().all(Run::is_over), "{stored:#?}");
    assert_eq!(stored.iter().find(|run| run.id == id).unwrap().state, RunState::Done);
}

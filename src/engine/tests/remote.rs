//! An engine whose repository lives elsewhere: exports that travel by themselves, answers that are lost, outages.

use tokio_util::sync::DropGuard;

use super::*;
use crate::repo::RemotePlace;
use crate::wire::SourceState;

/// An engine over a remote, and the remote's task.
struct World {
    there: RemotePlace,
    bench: Bench,
    task: Option<DropGuard>,
}

impl World {
    /// A remote that declares these, and an engine whose loop runs or not; its task does not run yet.
    async fn with(names: &[&str], runs: bool) -> Self {
        let there = RemotePlace::new().await;
        for name in names {
            there.pushed(&format!("{name}.yaml"), &text(name, "one")).await;
        }
        Self::over(there, runs).await
    }

    async fn over(there: RemotePlace, runs: bool) -> Self {
        let remote = there.open().await;
        let data = there.path("data");
        let bench = Bench::start(Source::Remote(remote), "remote", &data, runs).await;
        Self {
            there,
            bench,
            task: None,
        }
    }

    fn remote(&self) -> crate::repo::Remote {
        self.bench.0.parts.source.remote().unwrap().clone()
    }

    fn tend(&mut self) {
        let stop = CancellationToken::new();
        tokio::spawn(self.remote().tend(stop.clone()));
        self.task = Some(stop.drop_guard());
    }

    /// mcpd is killed and comes back.
    async fn restart(self, runs: bool) -> Self {
        let Self { there, bench, task } = self;
        drop((bench, task));
        Self::over(there, runs).await
    }

    async fn looked(&self) {
        self.remote().look(Duration::from_mins(1)).await;
    }

    /// Passes until nothing is asked for or left to do.
    async fn rest(&self) -> Agreed {
        for _ in 0..2000 {
            let agreed = self.bench.pass().await;
            match agreed.pass {
                Pass::Rest if agreed.plan.exports.is_empty() || agreed.replaced.is_some() => return agreed,
                Pass::Again => {}
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        panic!("it does not come to rest");
    }

    async fn events(&self, reason: &str) -> usize {
        let events = self.bench.store().events(0, 1000).await.unwrap();
        events.iter().filter(|event| event.reason == reason).count()
    }

    async fn until(&self, what: &str, check: impl Fn(&crate::engine::Report) -> bool) {
        let mut report = self.bench.report();
        let waited = tokio::time::timeout(Duration::from_secs(100), report.wait_for(|report| check(report))).await;
        assert!(waited.is_ok_and(|seen| seen.is_ok()), "never: {what}");
    }
}

/// Several changes are a commit each and one push; the loop does not wait for it, and imports go on afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn changes_travel_together_and_nobody_waits_for_them() {
    let mut world = World::with(&["a"], false).await;
    world.tend();
    world.looked().await;
    world.rest().await;
    assert_eq!(world.bench.declared(), "a=one");
    let mutation = world.bench.store().mutations(1).await.unwrap().remove(0);
    assert_eq!(
        (mutation.actor.name.as_str(), mutation.actor.door.as_str()),
        ("remote", "remote")
    );
    assert!(
        mutation.message.contains("(by Ann, as the commit says)"),
        "{}",
        mutation.message
    );
    for (name, after) in [("b", Some("one")), ("c", Some("one")), ("b", Some("two")), ("a", None)] {
        world.bench.edit(&[(name, after)]).await;
    }
    world.rest().await;
    assert_eq!(world.there.subjects().await.len(), 1 + 4);
    assert_eq!(world.bench.declared(), "b=two c=one");
    assert!(world.bench.store().view().outbox.is_empty());
    assert_eq!(world.remote().standing().trouble, None);
}

/// Pitfall of the crash after landing: the push arrived, its answer was lost and mcpd killed, and then a person deletes
/// what was written. A guess that it had not arrived would bring it back.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_does_after_a_lost_answer_stays() {
    let mut world = World::with(&["a"], false).await;
    world.tend();
    world.looked().await;
    world.rest().await;
    world.there.set("lose", true);
    world.bench.edit(&[("b", Some("one"))]).await;
    world.bench.pass().await;
    world.there.until_head_is_by("mcpd").await;
    let mut world = world.restart(false).await;
    // Nobody has asked the remote yet: what became of the push is unknown, and nothing is done.
    assert_eq!(world.bench.pass().await.pass, Pass::Asks);
    assert_eq!(waiting(&world.bench.store().view()), [["b"]]);
    world.there.deleted("servers/b.yaml").await;
    world.there.set("lose", false);
    world.tend();
    world.looked().await;
    world.rest().await;
    assert_eq!(world.bench.declared(), "a=one", "the person's deletion was undone");
    assert!(world.bench.store().conflicts().await.unwrap().is_empty());
    assert_eq!(world.there.subjects().await.len(), 3);
}

/// An outage is one message and its end another, however its reasons change; changes are taken and wait.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_told_once() {
    let mut world = World::with(&["a"], true).await;
    world.tend();
    world
        .until("agreed", |report| report.status.source.state == SourceState::Synced)
        .await;
    world.there.set("lie", true);
    world.looked().await;
    world.bench.edit(&[("b", Some("one"))]).await;
    let failing = |report: &crate::engine::Report, word: &str| {
        let source = &report.status.source;
        let why = source.last_error.as_deref().unwrap_or_default();
        source.state == SourceState::Failing && why.contains(word)
    };
    world.until("failing", |report| failing(report, "understood")).await;
    world.there.set("lie", false);
    world.there.move_away(true);
    world.looked().await;
    world
        .until("another reason", |report| failing(report, "remote.git"))
        .await;
    world
        .until("waiting", |report| report.status.source.pending_count == 1)
        .await;
    assert_eq!(world.bench.declared(), "a=one b=one");
    world.there.move_away(false);
    world.looked().await;
    world
        .until("written", |report| report.status.source.pending_count == 0)
        .await;
    world
        .until("well", |report| report.status.source.state == SourceState::Synced)
        .await;
    assert_eq!((world.events("Failing").await, world.events("Recovered").await), (1, 1));
}

/// A branch that is gone is no empty tree: it waits for a person, whose word is for that alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_is_gone_deletes_nothing() {
    let mut world = World::with(&["a", "b"], false).await;
    world.tend();
    world.looked().await;
    world.rest().await;
    world.there.without_branch().await;
    world.looked().await;
    let agreed = world.rest().await;
    assert!(agreed.replaced.is_some_and(|why| why.contains("the branch is gone")));
    assert_eq!(world.bench.declared(), "a=one b=one");
    world.bench.0.permit_epoch(None).await.unwrap();
    world.rest().await;
    assert_eq!(world.bench.declared(), "a=one b=one");
    assert_eq!(
        world.bench.snapshot().await.tree.documents.len(),
        2,
        "both were written anew"
    );
    assert_eq!(world.events("NewEpoch").await, 1);
}

/// Pitfall of a webhook that is answered before the fetch: the run that it gets tells what the look at the remote brought,
/// and not what was known before.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_tells_what_its_look_brought() {
    let mut world = World::with(&["a"], true).await;
    world.tend();
    let synced = |report: &crate::engine::Report| report.status.source.state == SourceState::Synced;
    world.until("agreed", synced).await;
    world.there.pushed("b.yaml", &text("b", "one")).await;
    let cause = crate::record::Cause::new("webhook github", "ada");
    let id = world.bench.look(cause.clone()).await.unwrap();
    let mut reports = world.bench.report();
    let run = loop {
        let run = world.bench.run(id).await.unwrap().unwrap();
        if run.is_over() {
            break run;
        }
        reports.changed().await.unwrap();
    };
    assert_eq!(
        (run.state, run.did.imported),
        (crate::record::RunState::Done, 1),
        "{run:?}"
    );
    assert_eq!(run.causes, [cause]);
    assert_eq!(world.bench.declared(), "a=one b=one");
    // So does a sync.
    world.there.pushed("c.yaml", &text("c", "one")).await;
    let cause = crate::record::Cause::new("sync", "bob");
    let synced = world.bench.sync_as(Words::default(), cause).await.unwrap();
    assert_eq!(
        (synced.run.state, synced.run.did.imported),
        (crate::record::RunState::Done, 1)
    );
    assert_eq!(world.bench.declared(), "a=one b=one c=one");
}

/// What was before a restore is kept, and what comes back is a commit at the remote.
#[tokio::test(flavor = "multi_thread")]
async fn a_remote_can_be_gone_back_in() {
    let mut world = World::with(&["a", "b"], true).await;
    world.tend();
    let synced = |report: &crate::engine::Report| report.status.source.state == SourceState::Synced;
    world.until("agreed", synced).await;
    world.there.pushed("a.yaml", &text("a", "two")).await;
    world.bench.sync(Words::default()).await.unwrap();
    assert_eq!(world.bench.declared(), "a=two b=one");
    let terms = crate::engine::Terms::default();
    let restored = world
        .bench
        .restore("HEAD~1", terms, &actor("bob", "api"))
        .await
        .unwrap();
    assert!(restored.timeline.is_some());
    assert_eq!(world.bench.declared(), "a=one b=one");
    world
        .until("written", |report| report.status.source.pending_count == 0)
        .await;
    world.there.until_head_is_by("mcpd").await;
    assert!(world.there.subjects().await[0].starts_with("restore "));
}

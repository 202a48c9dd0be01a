//! What is seen at one instant, and what typed servers and routes follow from the rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::kit::Name;
use crate::reconcile::converge::{self, Desired, Memory, Outcome, desired};
use crate::record::{ById, Fleet, InstanceStatus, Life, Live, Routes, Row, State, StoreView, Upstreams};
use crate::resource::{Document, Project, Server, ToolsLock};

use super::{Inner, lock};

/// What a runtime said: what lives, or why it did not answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) live: Vec<Live>,
    pub(super) away: Option<String>,
}

impl Inner {
    pub(super) async fn observe_runtime(&self) -> Seen {
        match self.parts.runtime.observe().await {
            Ok(live) => {
                lock(&self.last_live).clone_from(&live);
                Seen { live, away: None }
            }
            // What it said last goes on to be shown and served.
            Err(error) => Seen {
                live: lock(&self.last_live).clone(),
                away: Some(error.to_string()),
            },
        }
    }

    pub(super) fn claimed(&self) -> bool {
        self.parts.store.meta("agreed").is_some()
    }

    /// The plan of what runs for a set of declarations, now. Pure but for reading the gateway's state.
    pub(super) fn plan_running(
        &self,
        desired: &[Desired],
        seen: &Seen,
        memory: &Memory,
        outcomes: &[Outcome],
        claimed: bool,
    ) -> converge::Plan {
        let upstreams: Arc<Upstreams> = Arc::clone(&self.parts.upstreams.borrow());
        let in_flight: BTreeMap<Life, usize> = seen
            .live
            .iter()
            .map(|live| (live.life.clone(), (self.parts.in_flight)(&live.life)))
            .collect();
        converge::plan(&converge::Seen {
            desired,
            live: &seen.live,
            upstreams: &upstreams,
            in_flight: &in_flight,
            claimed,
            engine_away: seen.away.as_deref(),
            memory,
            outcomes,
            now: crate::kit::time::now(),
        })
    }

    /// The instances that these rows ask for.
    pub(super) fn wanted(&self, rows: &ById<Row>) -> Vec<Desired> {
        let demand = Arc::clone(&self.parts.demand.borrow());
        desired(self.resolved(rows), self.parts.runtime.images(), &demand)
    }

    /// What would happen to what runs if these were the rows.
    pub(super) async fn preview(&self, rows: &ById<Row>) -> converge::Plan {
        let seen = self.observe_runtime().await;
        let memory = lock(&self.memory).clone();
        self.plan_running(&self.wanted(rows), &seen, &memory, &[], self.claimed())
    }
}

/// Every declaration in force.
pub(super) fn declared(view: &StoreView) -> impl Iterator<Item = &Arc<Document>> {
    view.rows.values().filter_map(|row| row.document.as_ref())
}

/// The declarations of one kind, in order.
pub(super) fn of_kind<'a>(rows: &'a ById<Row>, kind: &'a str) -> impl Iterator<Item = &'a Arc<Document>> {
    rows.of_kind(kind).filter_map(|(_, row)| row.document.as_ref())
}

/// What the gateway shows.
pub(super) fn routes(view: &StoreView, statuses: &[InstanceStatus], fleet: &Fleet, lock: &Arc<ToolsLock>) -> Routes {
    let of_kind = |kind: &str| -> BTreeMap<Name, Arc<Document>> {
        of_kind(&view.rows, kind)
            .map(|document| (document.id.name.clone(), Arc::clone(document)))
            .collect()
    };
    let serves = |name: &Name| {
        fleet
            .members
            .values()
            .any(|member| member.serving && member.instance.server == *name)
    };
    let mut unavailable = BTreeMap::new();
    // A failing update is an ERROR too, and the life before it goes on serving.
    let failed = statuses
        .iter()
        .filter(|status| status.state == State::Error && !serves(&status.instance.server));
    for status in failed {
        unavailable
            .entry(status.instance.server.clone())
            .or_insert_with(|| status.reason.clone());
    }
    Routes {
        projects: of_kind(<Project as crate::resource::Declared>::NAME),
        servers: of_kind(<Server as crate::resource::Declared>::NAME),
        unavailable,
        lock: Arc::clone(lock),
    }
}

//! `?watch=true`: lists as a stream of server-sent events, `added`, `changed` and `removed`.
//!
//! What is streamed is the difference between two looks, so a slow reader gets fewer events and never a wrong one.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream;
use serde_json::Value;

use super::App;

/// A list by key.
pub(super) type Entries = BTreeMap<String, Value>;

/// How often a silent stream says that it is alive.
pub(super) const ALIVE: Duration = Duration::from_secs(15);

/// Streams what a look finds, and then what changes from look to look; a look follows each report of the engine. Lists
/// whose oldest entries fall out by themselves say nothing of it (`removals: false`).
pub(super) fn watch<F>(app: App, removals: bool, look: F) -> Response
where
    F: Fn(App) -> BoxFuture<'static, Entries> + Clone + Send + 'static,
{
    let reports = app.0.engine.report();
    let stop = app.0.stop.clone();
    let batches = stream::unfold(
        (app, reports, Entries::new(), true),
        move |(app, mut reports, known, first)| {
            let look = look.clone();
            async move {
                if !first {
                    reports.changed().await.ok()?;
                }
                reports.mark_unchanged();
                let now = look(app.clone()).await;
                let events = difference(&known, &now, removals);
                Some((stream::iter(events), (app, reports, now, false)))
            }
        },
    );
    let events = batches
        .flatten()
        .map(Ok::<Event, Infallible>)
        .take_until(stop.cancelled_owned());
    Sse::new(events)
        .keep_alive(KeepAlive::new().interval(ALIVE))
        .into_response()
}

fn difference(before: &Entries, now: &Entries, removals: bool) -> Vec<Event> {
    changes(before, now, removals)
        .into_iter()
        .map(|(name, value)| Event::default().event(name).data(value.to_string()))
        .collect()
}

fn changes<'a>(before: &'a Entries, now: &'a Entries, removals: bool) -> Vec<(&'static str, &'a Value)> {
    let mut out = vec![];
    for (key, value) in now {
        match before.get(key) {
            None => out.push(("added", value)),
            Some(old) if old != value => out.push(("changed", value)),
            Some(_) => {}
        }
    }
    if removals {
        out.extend(
            before
                .iter()
                .filter(|(key, _)| !now.contains_key(*key))
                .map(|(_, value)| ("removed", value)),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_names_what_came_changed_and_went() {
        let entries =
            |list: &[(&str, i32)]| -> Entries { list.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect() };
        let (before, now) = (
            entries(&[("a", 1), ("b", 1), ("c", 1)]),
            entries(&[("b", 1), ("c", 2), ("d", 1)]),
        );
        let names = |removals| {
            changes(&before, &now, removals)
                .into_iter()
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(true), ["changed", "added", "removed"]);
        assert_eq!(names(false), ["changed", "added"]);
        assert!(changes(&now, &now, true).is_empty());
    }
}

//! The engine's events: hints to look. What they miss, the next look finds.
//!
//! An engine tells that a container died before its list of containers shows it; who died is therefore noted, and looked
//! at closer.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::TryStreamExt as _;
use tokio::sync::watch;

use crate::record::Life;

use super::client::Client;
use super::{labels, lock};

/// The pace at which an engine that does not answer is asked again, at first and at most.
const SOON: Duration = Duration::from_millis(500);
const SELDOM: Duration = Duration::from_secs(10);
/// What happens to containers that is worth a look. Commands that run in them (`exec_…`) are not.
const WORTH_A_LOOK: &[&str] = &[
    "start", "die", "kill", "oom", "stop", "destroy", "pause", "unpause", "restart",
];

/// Containers that died, whatever the list says of them.
pub(super) type Died = Arc<Mutex<BTreeSet<Life>>>;

/// Listens until it is dropped.
pub(super) async fn listen(client: Arc<Client>, cluster: String, changed: watch::Sender<u64>, died: Died) {
    let mut wait = SOON;
    let mut away = false;
    loop {
        let docker = match client.docker().await {
            Ok(docker) => docker,
            Err(error) => {
                if !std::mem::replace(&mut away, true) {
                    tracing::warn!("docker: {error}");
                }
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(SELDOM);
                continue;
            }
        };
        if std::mem::replace(&mut away, false) {
            tracing::info!("docker: the engine answers again at {}", client.address());
        }
        let mut filters: HashMap<String, Vec<String>> = labels::filter(&cluster);
        filters.insert("type".to_owned(), vec!["container".to_owned()]);
        let events: Vec<String> = WORTH_A_LOOK.iter().map(|event| (*event).to_owned()).collect();
        filters.insert("event".to_owned(), events);
        let mut events = docker.events(Some(EventsOptionsBuilder::default().filters(&filters).build()));
        lock(&died).clear();
        // Whatever happened while nobody listened.
        changed.send_modify(|count| *count += 1);
        loop {
            match events.try_next().await {
                Ok(Some(event)) => {
                    wait = SOON;
                    note(&died, event);
                    changed.send_modify(|count| *count += 1);
                }
                Ok(None) => break,
                Err(error) => {
                    client.judge(&error);
                    break;
                }
            }
        }
        // The engine went away, or ended the stream: that is worth a look too.
        client.away();
        changed.send_modify(|count| *count += 1);
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(SELDOM);
    }
}

fn note(died: &Died, event: EventMessage) {
    let Some(life) = event.actor.and_then(|actor| actor.id).map(Life) else {
        return;
    };
    match event.action.as_deref() {
        Some("die") => drop(lock(died).insert(life)),
        Some("start" | "destroy") => drop(lock(died).remove(&life)),
        _ => {}
    }
}

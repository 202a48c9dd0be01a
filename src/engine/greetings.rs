//! What servers said at their handshakes, remembered by life: a process that outlives mcpd is not greeted twice.

use std::collections::BTreeMap;

use crate::record::{Fleet, Greeting, Handshake, Life, LiveState, Upstreams};
use crate::store::Store;

use super::Inner;
use super::observe::Seen;

/// The fact in the store: the greetings as JSON, by life.
const FACT: &str = "greetings";

/// The greetings of the lives that run.
#[derive(Debug, Default)]
pub(super) struct Greetings {
    by_life: BTreeMap<Life, Greeting>,
    /// What the store has.
    written: BTreeMap<Life, Greeting>,
}

impl Greetings {
    /// Reads what an mcpd before this one remembered. What can't be read is as if it were not there: a handshake then
    /// says it again.
    pub(super) fn open(store: &Store) -> Self {
        let by_life: BTreeMap<Life, Greeting> = store
            .meta(FACT)
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        Self {
            written: by_life.clone(),
            by_life,
        }
    }

    /// Takes what was said since, forgets lives that are gone, and writes down what changed.
    pub(super) async fn bring_along(&mut self, inner: &Inner, seen: &Seen) {
        if seen.away.is_some() {
            return;
        }
        let upstreams = std::sync::Arc::clone(&inner.parts.upstreams.borrow());
        let running = seen.live.iter().filter(|live| live.state == LiveState::Running);
        self.take(running.map(|live| &live.life), &upstreams);
        if self.by_life == self.written {
            return;
        }
        let text = match serde_json::to_string(&self.by_life) {
            Ok(text) => text,
            Err(error) => return tracing::warn!(%error, "what servers said can't be written down"),
        };
        match inner.parts.store.set_meta(FACT, &text).await {
            Ok(()) => self.written.clone_from(&self.by_life),
            Err(error) => tracing::warn!(%error, "what servers said can't be written down"),
        }
    }

    fn take<'a>(&mut self, running: impl Iterator<Item = &'a Life>, upstreams: &Upstreams) {
        let mut before = std::mem::take(&mut self.by_life);
        for life in running {
            let said = match upstreams.get(life).map(|upstream| &upstream.handshake) {
                Some(Handshake::Ready { greeting, .. }) => Some(greeting.clone()),
                _ => before.remove(life),
            };
            self.by_life.extend(said.map(|said| (life.clone(), said)));
        }
    }

    /// Tells the gateway what is remembered of each life.
    pub(super) fn fill(&self, fleet: &mut Fleet) {
        for (life, member) in &mut fleet.members {
            member.remembered = self.by_life.get(life).cloned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Counts, FleetMember, Upstream};

    #[test]
    fn each_life_has_its_own_greeting_until_it_is_gone() {
        let life = |name: &str| Life(name.to_owned());
        let upstream = |protocol: &str| Upstream {
            instance: "time/0".parse().unwrap(),
            tools: std::sync::Arc::default(),
            handshake: Handshake::Ready {
                greeting: Greeting {
                    protocol: protocol.to_owned(),
                    ..Greeting::default()
                },
                counts: Counts::default(),
            },
            since: crate::kit::time::Timestamp::UNIX_EPOCH,
        };
        let (a, b) = (life("a"), life("b"));
        let mut greetings = Greetings::default();
        greetings.take(
            [&a, &b].into_iter(),
            &[(a.clone(), upstream("1")), (b.clone(), upstream("2"))].into(),
        );
        let said = |greetings: &Greetings, name: &str| {
            let member = FleetMember {
                instance: "time/0".parse().unwrap(),
                serving: true,
                start_timeout_seconds: 1,
                fresh: false,
                remembered: None,
            };
            let mut fleet = Fleet {
                members: [(life(name), member)].into(),
            };
            greetings.fill(&mut fleet);
            fleet.members[&life(name)].remembered.clone().map(|said| said.protocol)
        };
        assert_eq!(
            (said(&greetings, "a"), said(&greetings, "b")),
            (Some("1".into()), Some("2".into()))
        );
        assert_eq!(said(&greetings, "c"), None);
        // The next mcpd has no connection yet; what is gone is forgotten.
        greetings.take([&b, &life("c")].into_iter(), &Upstreams::new());
        assert_eq!((said(&greetings, "a"), said(&greetings, "b")), (None, Some("2".into())));
        assert_eq!(said(&greetings, "c"), None, "another life of the same instance");
        let text = serde_json::to_string(&greetings.by_life).unwrap();
        assert_eq!(
            serde_json::from_str::<BTreeMap<Life, Greeting>>(&text).unwrap(),
            greetings.by_life
        );
    }
}

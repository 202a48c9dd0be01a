//! What servers said at their handshakes, remembered by life: a process that outlives mcpd is not greeted twice. And the
//! era that each turned out to speak, remembered by spec: the next life is asked the right thing first.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::kit::Name;
use crate::reconcile::converge::{Desired, matches};
use crate::record::{Era, Fleet, Greeting, Handshake, Life, Live, LiveState, Upstreams, Verdict};
use crate::store::Store;

use super::Inner;
use super::observe::Seen;

/// The fact in the store: the greetings as JSON, by life.
const FACT: &str = "greetings";
/// The fact in the store: the eras as JSON, by server.
const ERAS: &str = "eras";

/// The greetings of the lives that run, and the eras of the servers that ran.
#[derive(Debug, Default)]
pub(super) struct Greetings {
    by_life: BTreeMap<Life, Greeting>,
    eras: BTreeMap<Name, Spoken>,
    /// What the store has.
    written: (BTreeMap<Life, Greeting>, BTreeMap<Name, Spoken>),
}

/// What a server turned out to speak.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Spoken {
    /// The mark of the life that showed it: it holds for lives of the same spec.
    spec: String,
    era: Era,
}

impl Greetings {
    /// Reads what an mcpd before this one remembered. What can't be read is as if it were not there: a handshake then
    /// says it again.
    pub(super) fn open(store: &Store) -> Self {
        fn read<T: Default + for<'de> Deserialize<'de>>(store: &Store, fact: &str) -> T {
            let text = store.meta(fact);
            text.and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or_default()
        }
        let (by_life, eras): (BTreeMap<Life, Greeting>, BTreeMap<Name, Spoken>) =
            (read(store, FACT), read(store, ERAS));
        Self {
            written: (by_life.clone(), eras.clone()),
            by_life,
            eras,
        }
    }

    /// Takes what was said since, forgets lives that are gone, and writes down what changed.
    pub(super) async fn bring_along(&mut self, inner: &Inner, seen: &Seen, desired: &[Desired]) {
        if seen.away.is_some() {
            return;
        }
        let upstreams = std::sync::Arc::clone(&inner.parts.upstreams.borrow());
        let running = seen.live.iter().filter(|live| live.state == LiveState::Running);
        self.take(running.map(|live| &live.life), &upstreams);
        self.take_eras(&seen.live, &upstreams, desired);
        if self.by_life != self.written.0 && write(inner, FACT, &self.by_life).await {
            self.written.0.clone_from(&self.by_life);
        }
        if self.eras != self.written.1 && write(inner, ERAS, &self.eras).await {
            self.written.1.clone_from(&self.eras);
        }
    }

    /// Takes what the conversations say of the era that each spec speaks. Servers that are not declared are forgotten.
    fn take_eras(&mut self, live: &[Live], upstreams: &Upstreams, desired: &[Desired]) {
        let desired: BTreeMap<_, _> = desired.iter().map(|desired| (&desired.instance, desired)).collect();
        self.eras
            .retain(|server, _| desired.keys().any(|instance| instance.server == *server));
        for live in live {
            let (Some(upstream), Some(desired)) = (upstreams.get(&live.life), desired.get(&live.instance)) else {
                continue;
            };
            let server = &live.instance.server;
            let era = match &upstream.handshake {
                Handshake::Ready { greeting, .. } => greeting.era(),
                Handshake::Failed {
                    verdict: Verdict::Upset,
                    ..
                } => Era::Legacy,
                Handshake::Failed {
                    verdict: Verdict::Doubtful,
                    ..
                } => {
                    self.eras.remove(server);
                    continue;
                }
                Handshake::Failed { .. } | Handshake::Connecting => continue,
            };
            let known = self.eras.get(server);
            if known.is_some_and(|known| known.era == era && known.spec == live.spec) || !matches(&live.spec, desired) {
                continue;
            }
            if known.is_none_or(|known| known.era != era || !matches(&known.spec, desired)) {
                let spec = live.spec.clone();
                self.eras.insert(server.clone(), Spoken { spec, era });
            }
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

    /// Tells the gateway what is remembered of each life, and of its spec.
    pub(super) fn fill(&self, fleet: &mut Fleet, desired: &[Desired]) {
        let desired: BTreeMap<_, _> = desired.iter().map(|desired| (&desired.instance, desired)).collect();
        for (life, member) in &mut fleet.members {
            member.remembered = self.by_life.get(life).cloned();
            let known = self.eras.get(&member.instance.server);
            let desired = desired.get(&member.instance);
            member.era = known
                .zip(desired)
                .filter(|(known, desired)| matches(&known.spec, desired))
                .map(|(known, _)| known.era);
        }
    }
}

async fn write(inner: &Inner, fact: &str, value: &(impl Serialize + Sync)) -> bool {
    let written = match serde_json::to_string(value) {
        Ok(text) => inner
            .parts
            .store
            .set_meta(fact, &text)
            .await
            .map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = &written {
        tracing::warn!(%error, fact, "what servers said can't be written down");
    }
    written.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::time::Timestamp;
    use crate::reconcile::converge::spec_mark;
    use crate::record::{Counts, FleetMember, MODERN, Upstream};

    fn upstream(handshake: Handshake) -> Upstream {
        Upstream {
            instance: "time/0".parse().unwrap(),
            tools: std::sync::Arc::default(),
            handshake,
            since: Timestamp::UNIX_EPOCH,
            uncertain: 0,
        }
    }

    fn of_command(command: &str) -> Desired {
        let server: crate::resource::Server =
            serde_json::from_value(serde_json::json!({"command": [command]})).unwrap();
        Desired {
            instance: "time/0".parse().unwrap(),
            server: std::sync::Arc::new(server.into()),
            blocked: None,
        }
    }

    /// The era is the spec's: a life of the same spec is asked the right thing first, whatever its salt; another spec, or a
    /// server that is not there any more, begins anew. A handshake that fails under it forgets it.
    #[test]
    fn an_era_is_remembered_by_spec_until_it_fails() {
        let mut greetings = Greetings::default();
        let ready = |protocol: &str| Handshake::Ready {
            greeting: Greeting {
                protocol: protocol.to_owned(),
                ..Greeting::default()
            },
            counts: Counts::default(),
        };
        let failed = |verdict| Handshake::Failed {
            reason: "no".to_owned(),
            closed: true,
            verdict,
        };
        let life = Life("a".into());
        let said = |greetings: &mut Greetings, desired: &Desired, handshake: Option<Handshake>| {
            let found = Live {
                instance: desired.instance.clone(),
                life: life.clone(),
                spec: spec_mark("01", desired),
                state: LiveState::Running,
                started: Timestamp::UNIX_EPOCH,
            };
            let upstreams = handshake
                .map(|handshake| (life.clone(), upstream(handshake)))
                .into_iter()
                .collect();
            greetings.take_eras(&[found], &upstreams, std::slice::from_ref(desired));
            let member = FleetMember {
                instance: desired.instance.clone(),
                serving: true,
                start_timeout_seconds: 1,
                fresh: true,
                remembered: None,
                era: None,
            };
            let mut fleet = Fleet {
                members: [(Life("next".into()), member)].into(),
            };
            greetings.fill(&mut fleet, std::slice::from_ref(desired));
            fleet.members[&Life("next".into())].era
        };
        let (one, two) = (of_command("one"), of_command("two"));
        for (desired, handshake, want) in [
            (&one, None, None),
            (&one, Some(Handshake::Connecting), None),
            (&one, Some(failed(Verdict::None)), None),
            (&one, Some(failed(Verdict::Upset)), Some(Era::Legacy)),
            (&one, None, Some(Era::Legacy)),
            (&two, None, None),
            (&two, Some(ready(MODERN)), Some(Era::Modern)),
            (&two, Some(failed(Verdict::None)), Some(Era::Modern)),
            (&two, Some(ready("2025-06-18")), Some(Era::Legacy)),
            (&two, Some(failed(Verdict::Doubtful)), None),
        ] {
            assert_eq!(said(&mut greetings, desired, handshake.clone()), want, "{handshake:?}");
        }
        said(&mut greetings, &one, Some(ready(MODERN)));
        let text = serde_json::to_string(&greetings.eras).unwrap();
        assert_eq!(
            serde_json::from_str::<BTreeMap<Name, Spoken>>(&text).unwrap(),
            greetings.eras
        );
        greetings.take_eras(&[], &Upstreams::new(), &[]);
        assert!(greetings.eras.is_empty(), "nobody declares it any more");
    }

    #[test]
    fn each_life_has_its_own_greeting_until_it_is_gone() {
        let life = |name: &str| Life(name.to_owned());
        let upstream = |protocol: &str| {
            upstream(Handshake::Ready {
                greeting: Greeting {
                    protocol: protocol.to_owned(),
                    ..Greeting::default()
                },
                counts: Counts::default(),
            })
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
                era: None,
            };
            let mut fleet = Fleet {
                members: [(life(name), member)].into(),
            };
            greetings.fill(&mut fleet, &[]);
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

//! The one stream of notifications that a modern server is asked for (`subscriptions/listen`): when its lists change, and
//! the resources that sessions want to hear of. It is asked for anew when those change, and when it ends.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::mcp::handshake::params;
use crate::mcp::lists::{Each, Kind};
use crate::mcp::{ACKNOWLEDGED, Call, Connection, Heard, Wish, envelope, one_line};
use crate::record::{Capability, Greeting};

use super::hold::{ANSWER, GATHER, Holder, SLOWEST_RETRY};

const LISTEN: &str = "subscriptions/listen";
/// The lists, as the filter names them.
const TOOLS: &str = "toolsListChanged";
const PROMPTS: &str = "promptsListChanged";
const RESOURCES: &str = "resourcesListChanged";
/// The shortest wait before a stream that ended is asked for again.
const SOONEST_RETRY: Duration = Duration::from_secs(1);
/// A stream that was open for this long has done its work: the next one is asked for soon again.
const LONG: Duration = Duration::from_mins(1);
/// Resources that are asked for on one stream.
const MOST_RESOURCES: usize = 10_000;

/// What is wanted on the stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// The lists, as the filter names them.
    pub(super) lists: BTreeSet<&'static str>,
    /// The resources.
    pub(super) resources: BTreeSet<String>,
}

impl Filter {
    /// The lists whose changes a server says that it tells.
    pub(super) fn of(greeting: &Greeting) -> Self {
        let lists = [
            (Capability::ToolsChanged, TOOLS),
            (Capability::PromptsChanged, PROMPTS),
            (Capability::ResourcesChanged, RESOURCES),
        ];
        let told = lists.into_iter().filter(|(can, _)| greeting.can.contains(can));
        Self {
            lists: told.map(|(_, name)| name).collect(),
            resources: BTreeSet::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.lists.is_empty() && self.resources.is_empty()
    }

    fn json(&self) -> Value {
        let mut filter: Map<String, Value> = self
            .lists
            .iter()
            .map(|name| ((*name).to_owned(), true.into()))
            .collect();
        if !self.resources.is_empty() {
            filter.insert("resourceSubscriptions".to_owned(), json!(self.resources));
        }
        Value::Object(filter)
    }

    /// What of it an acknowledgement leaves out. One that can't be read leaves out all.
    pub(super) fn left_out(&self, acknowledgement: &[u8]) -> Self {
        let said: Value = serde_json::from_slice(acknowledgement).unwrap_or_default();
        let said = &said["params"]["notifications"];
        let taken: BTreeSet<&str> = said["resourceSubscriptions"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        Self {
            lists: self.lists.iter().filter(|name| said[**name] != true).copied().collect(),
            resources: self
                .resources
                .iter()
                .filter(|uri| !taken.contains(&***uri))
                .cloned()
                .collect(),
        }
    }
}

/// Why there is no stream.
enum Fault {
    /// The server does not know what that is, or does not want to.
    Refused(String),
    /// It may work another time.
    Failed(String),
}

/// A stream that is open.
struct Stream {
    call: Call,
    filter: Filter,
    /// The lists that it tells of.
    tells: BTreeSet<&'static str>,
    since: Instant,
}

impl Stream {
    fn says(&self, tells: &watch::Sender<Each<bool>>) {
        let name = |kind| match kind {
            Kind::Tools => TOOLS,
            Kind::Prompts => PROMPTS,
            Kind::Resources | Kind::Templates => RESOURCES,
        };
        tells.send_replace(Each::new(|kind| self.tells.contains(name(kind))));
    }
}

impl Holder {
    /// Keeps the stream open for as long as the conversation lasts.
    /// Notes in `tells` which lists the server tells of.
    pub(super) async fn follow(&self, connection: &Connection, greeting: &Greeting, tells: &watch::Sender<Each<bool>>) {
        let lists = Filter::of(greeting);
        let subscribes = greeting.can.contains(&Capability::Subscribe);
        let mut changed = self.subscriptions.changed();
        let mut stream: Option<Stream> = None;
        let mut wait = SOONEST_RETRY;
        // Whether something may have been said while nobody heard it.
        let mut gap = false;
        loop {
            changed.mark_unchanged();
            let mut filter = lists.clone();
            if subscribes {
                filter.resources = self
                    .subscriptions
                    .wanted(&self.member.instance.server)
                    .into_iter()
                    .take(MOST_RESOURCES)
                    .collect();
            }
            if filter.is_empty() {
                stream = None;
                self.subscriptions
                    .told(&self.member.instance.server, &self.life, &filter.resources);
                if changed.changed().await.is_err() {
                    return;
                }
                continue;
            }
            if stream.as_ref().is_none_or(|stream| stream.filter != filter) {
                match self.open(connection, &filter).await {
                    Ok(new) => {
                        new.says(tells);
                        // The one before goes once this one is there: nothing is missed between them.
                        stream = Some(new);
                        self.subscriptions
                            .told(&self.member.instance.server, &self.life, &filter.resources);
                        if std::mem::take(&mut gap) {
                            connection.suspect();
                            self.suspect(&filter);
                        }
                    }
                    // One resource that it does not like must not cost the others their news.
                    Err(Fault::Refused(why)) if !filter.resources.is_empty() => {
                        // Who waits for what was not agreed to is never told that it was: its own deadline ends the wait.
                        tracing::warn!(life = %self.life, %why, "{LISTEN} for resources was refused");
                        let lists_alone = Filter {
                            resources: BTreeSet::new(),
                            ..filter.clone()
                        };
                        let opened = match (&stream, lists_alone.is_empty()) {
                            (None, false) => self.open(connection, &lists_alone).await.ok(),
                            _ => None,
                        };
                        if let Some(mut opened) = opened.or_else(|| stream.take()) {
                            opened.says(tells);
                            // Not tried again until something else is wanted.
                            opened.filter = filter;
                            stream = Some(opened);
                        } else {
                            if changed.changed().await.is_err() {
                                return;
                            }
                            continue;
                        }
                    }
                    Err(Fault::Refused(why)) if stream.is_none() => {
                        tracing::warn!(life = %self.life, instance = %self.member.instance, %why,
                            "the server does not take {LISTEN}: its lists are read again by their ttlMs, and changes of its resources are not noticed");
                        tells.send_replace(Each::default());
                        return std::future::pending().await;
                    }
                    Err(Fault::Refused(why) | Fault::Failed(why)) => {
                        tracing::warn!(life = %self.life, %why, "{LISTEN} failed");
                        sleep(wait).await;
                        wait = (wait * 2).min(SLOWEST_RETRY);
                        continue;
                    }
                }
            }
            let Some(open) = &mut stream else { continue };
            tokio::select! {
                why = ended(&mut open.call) => {
                    tracing::debug!(life = %self.life, %why, "the stream of notifications ended");
                    if open.since.elapsed() >= LONG {
                        wait = SOONEST_RETRY;
                    }
                    stream = None;
                    gap = true;
                    tells.send_replace(Each::default());
                    sleep(wait).await;
                    wait = (wait * 2).min(SLOWEST_RETRY);
                }
                changed = changed.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    sleep(GATHER).await;
                }
            }
        }
    }

    async fn open(&self, connection: &Connection, filter: &Filter) -> Result<Stream, Fault> {
        let params = params(connection, json!({"notifications": filter.json()}));
        let wish = Wish {
            asides: true,
            standing: true,
            ..Wish::default()
        };
        let opening = async {
            let line = |id| envelope::request(id, LISTEN, &params);
            let mut call = connection
                .call(line, wish)
                .await
                .map_err(|error| Fault::Failed(error.to_string()))?;
            loop {
                match call.heard().await {
                    Heard::Notice(notice) if &*notice.method == ACKNOWLEDGED => {
                        let left_out = filter.left_out(&notice.line);
                        if !left_out.is_empty() {
                            tracing::warn!(life = %self.life, lists = ?left_out.lists, resources = left_out.resources.len(),
                                "the server does not tell all changes that it was asked for");
                        }
                        let tells = filter.lists.difference(&left_out.lists).copied().collect();
                        return Ok((call, tells));
                    }
                    Heard::Answer(Ok(answer)) => {
                        return Err(match answer.outcome() {
                            Err(error) => Fault::Refused(one_line(&String::from_utf8_lossy(error), 200)),
                            Ok(_) => Fault::Failed("it ended before it began".to_owned()),
                        });
                    }
                    Heard::Answer(Err(error)) => return Err(Fault::Failed(error.to_string())),
                    // Nothing else is said before that.
                    Heard::Notice(_) | Heard::Progress(_) | Heard::Question(_) => {}
                }
            }
        };
        match timeout(ANSWER, opening).await {
            Ok(Ok((call, tells))) => Ok(Stream {
                call,
                tells,
                filter: filter.clone(),
                since: Instant::now(),
            }),
            Ok(Err(fault)) => Err(fault),
            Err(_) => Err(Fault::Failed(format!(
                "it was not acknowledged within {} s",
                ANSWER.as_secs()
            ))),
        }
    }

    /// Takes every resource that somebody wants to hear of for changed.
    fn suspect(&self, filter: &Filter) {
        for uri in &filter.resources {
            let mut message = envelope::notification("notifications/resources/updated", Some(json!({"uri": uri})));
            message.pop();
            self.subscriptions
                .deliver(&self.member.instance.server, uri, &message.into());
        }
    }
}

/// Waits for the end of a stream, and says why that is.
async fn ended(call: &mut Call) -> String {
    loop {
        match call.heard().await {
            Heard::Answer(Ok(_)) => return "the server ended it".to_owned(),
            Heard::Answer(Err(error)) => return error.to_string(),
            // What belongs to the stream itself is heard by the connection.
            Heard::Notice(_) | Heard::Progress(_) | Heard::Question(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_asks_for_what_is_told_and_knows_what_was_left_out() {
        let greeting = Greeting {
            can: [
                Capability::Tools,
                Capability::ToolsChanged,
                Capability::Prompts,
                Capability::ResourcesChanged,
            ]
            .into(),
            ..Greeting::default()
        };
        let mut filter = Filter::of(&greeting);
        assert_eq!(
            filter.json(),
            json!({"toolsListChanged": true, "resourcesListChanged": true})
        );
        filter.resources = ["x:1".to_owned(), "x:2".to_owned()].into();
        let acknowledged = |notifications: Value| {
            let message = json!({"params": {"notifications": notifications}}).to_string();
            let left_out = filter.left_out(message.as_bytes());
            let resources: Vec<String> = left_out.resources.into_iter().collect();
            (
                left_out.lists.into_iter().collect::<Vec<_>>().join(" "),
                resources.join(" "),
            )
        };
        let all = (
            String::from("resourcesListChanged toolsListChanged"),
            String::from("x:1 x:2"),
        );
        for (said, want) in [
            (filter.json(), (String::new(), String::new())),
            (
                json!({"toolsListChanged": true, "resourceSubscriptions": ["x:2", 7]}),
                ("resourcesListChanged".into(), "x:1".into()),
            ),
            (json!({"toolsListChanged": "yes"}), all.clone()),
            (json!(null), all),
        ] {
            assert_eq!(acknowledged(said.clone()), want, "{said}");
        }
    }
}

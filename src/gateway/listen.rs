//! `subscriptions/listen` of the modern era: a request whose answer is a stream of what changed, as long as it is read.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::kit::{Digest, Name};
use crate::mcp::envelope::{self, Id, code, members};
use crate::mcp::lists::{Each, Kind};
use crate::mcp::locked;
use crate::mcp::meta::{self, SUBSCRIPTION};

use super::asked::Ask;
use super::fair::gives_way;
use super::meter::CountedStream;
use super::route::Way;
use super::subscriptions::{Inbox, Subscriptions, Who};
use super::view::View;
use super::{Endpoint, Inner, answer};

/// How long changes are gathered before they are told.
const GATHER: Duration = Duration::from_millis(50);
/// How long servers have to take what a client wants to hear of, before that is acknowledged all the same.
const AGREE: Duration = Duration::from_secs(5);
/// How often something is written, so that proxies and clients keep the stream.
const ALIVE: Duration = Duration::from_secs(15);
/// Streams that are open at once; beyond, the caller with the most gives up its oldest.
const MOST: usize = 10_000;
/// Resources that one stream may be about.
const MOST_RESOURCES: usize = 1_000;

/// What a client wants to hear of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Filter {
    lists: Vec<&'static str>,
    resources: Vec<String>,
}

/// The members of the filter, with the notification that each is about.
const LISTS: [(&str, &str); 3] = [
    ("toolsListChanged", "notifications/tools/list_changed"),
    ("promptsListChanged", "notifications/prompts/list_changed"),
    ("resourcesListChanged", "notifications/resources/list_changed"),
];

impl Filter {
    fn read(params: Option<&RawValue>) -> Result<Self, &'static str> {
        const WRONG: &str = "subscriptions/listen needs notifications: an object of toolsListChanged, promptsListChanged, \
                             resourcesListChanged (true or false) and resourceSubscriptions (URIs)";
        let [filter] = members(params.ok_or(WRONG)?.get(), ["notifications"]).map_err(|_| WRONG)?;
        let names = [LISTS[0].0, LISTS[1].0, LISTS[2].0, "resourceSubscriptions"];
        let [tools, prompts, resources, uris] = members(filter.ok_or(WRONG)?.get(), names).map_err(|_| WRONG)?;
        let mut found = Self::default();
        for (said, (_, method)) in [tools, prompts, resources].into_iter().zip(LISTS) {
            match said.map(RawValue::get) {
                None | Some("false") => {}
                Some("true") => found.lists.push(method),
                Some(_) => return Err(WRONG),
            }
        }
        if let Some(uris) = uris {
            found.resources = serde_json::from_str(uris.get()).map_err(|_| WRONG)?;
        }
        if found.resources.len() > MOST_RESOURCES || found.resources.iter().any(|uri| uri.len() > 8 << 10) {
            return Err("a stream may be about 1000 resources at most, with URIs of 8192 bytes");
        }
        Ok(found)
    }

    /// As it is acknowledged.
    fn shown(&self) -> Value {
        let mut shown = serde_json::Map::new();
        for (member, method) in LISTS {
            if self.lists.contains(&method) {
                shown.insert(member.to_owned(), true.into());
            }
        }
        if !self.resources.is_empty() {
            shown.insert("resourceSubscriptions".to_owned(), self.resources.clone().into());
        }
        Value::Object(shown)
    }
}

struct Listening {
    view: watch::Receiver<Arc<View>>,
    endpoint: Endpoint,
    filter: Filter,
    /// The client's id of the request, a JSON text.
    id: String,
    told: Each<Digest>,
    inbox: Arc<Inbox>,
    stop: CancellationToken,
    alive: Instant,
    acknowledged: bool,
    ended: bool,
    counted: CountedStream,
    /// The servers that are to tell of resources.
    asked: Vec<(Name, String)>,
    leaves: Leaves,
}

/// Opens the stream.
pub fn listen(inner: &Inner, endpoint: &Endpoint, caller: &str, id: Id<'_>, params: Option<&RawValue>) -> Response {
    let mut filter = match Filter::read(params) {
        Ok(filter) => filter,
        Err(wrong) => return answer::error(id.text(), code::INVALID_PARAMS, wrong),
    };
    let mut view = inner.view.subscribe();
    let seen = Arc::clone(&view.borrow_and_update());
    let told = match seen.tables(endpoint) {
        Ok(tables) => Each::new(|kind| tables.of(kind).digest),
        Err(detail) => return answer::not_found(&detail),
    };
    let Some(leaves) = Leaves::enter(inner, caller) else {
        let message =
            format!("{MOST} streams are open already, and nobody has more than you; close one, or try again later");
        return answer::refused(StatusCode::SERVICE_UNAVAILABLE, code::SERVER, &message);
    };
    let inbox = Arc::new(Inbox::default());
    let subscriptions = &inner.sessions.subscriptions;
    let mut asked = vec![];
    // What no server tells of is not acknowledged.
    filter
        .resources
        .retain(|uri| match seen.way(endpoint, Ask::Subscribe, uri) {
            Way::To(server, _) | Way::Later(server) => {
                let who = Who {
                    session: &leaves.name,
                    caller,
                    endpoint,
                };
                let added = subscriptions.add(server, uri, who, &inbox).is_some();
                if added {
                    asked.push((server.clone(), uri.clone()));
                }
                added
            }
            _ => false,
        });
    if !asked.is_empty() {
        // What left meanwhile was not there to be taken back when it did.
        let now = Arc::clone(&inner.view.borrow());
        let gone = asked.extract_if(.., |(server, _)| !now.has(endpoint, server));
        for (_, uri) in gone {
            subscriptions.remove(&uri, &leaves.name);
            filter.resources.retain(|wanted| *wanted != uri);
        }
        subscriptions.announce();
    }
    tracing::debug!(caller, ?endpoint, filter = %filter.shown(), "a client listens");
    let listening = Listening {
        view,
        endpoint: endpoint.clone(),
        filter,
        id: id.text().to_owned(),
        told,
        inbox,
        stop: inner.stop.clone(),
        alive: Instant::now() + ALIVE,
        acknowledged: false,
        ended: false,
        counted: inner.meter.stream(),
        asked,
        leaves,
    };
    let events = futures_util::stream::unfold(listening, |mut listening| async {
        let event = listening.next().await?;
        Some((Ok::<_, Infallible>(event), listening))
    });
    answer::stream(Body::from_stream(events))
}

/// The streams that are open, in the order in which they were opened.
pub struct Streams {
    most: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    by_age: BTreeMap<u64, (Arc<str>, CancellationToken)>,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            most: MOST,
            open: Mutex::default(),
        }
    }
}

impl Streams {
    /// A number for one more stream of a caller, and what is cancelled when it is to give way; nothing where there are too
    /// many and nobody has more than the caller.
    fn enter(&self, caller: &str) -> Option<(u64, CancellationToken)> {
        let mut open = locked(&self.open);
        if open.by_age.len() >= self.most {
            let has = open.by_age.values().map(|(caller, _)| (&**caller, 1));
            let most = gives_way(has, caller, 1)?;
            let oldest = *open.by_age.iter().find(|(_, (caller, _))| **caller == *most)?.0;
            if let Some((_, gives_way)) = open.by_age.remove(&oldest) {
                gives_way.cancel();
            }
        }
        open.next += 1;
        let (number, gives_way) = (open.next, CancellationToken::new());
        open.by_age.insert(number, (caller.into(), gives_way.clone()));
        Some((number, gives_way))
    }

    fn leave(&self, number: u64) {
        locked(&self.open).by_age.remove(&number);
    }
}

/// A place among the streams; given back, with what was subscribed to, when this is dropped.
struct Leaves {
    name: String,
    number: u64,
    gives_way: CancellationToken,
    streams: Arc<Streams>,
    subscriptions: Arc<Subscriptions>,
}

impl Leaves {
    fn enter(inner: &Inner, caller: &str) -> Option<Self> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).ok()?;
        let (number, gives_way) = inner.listening.enter(caller)?;
        Some(Self {
            name: format!("listen-{:032x}", u128::from_ne_bytes(random)),
            number,
            gives_way,
            streams: Arc::clone(&inner.listening),
            subscriptions: Arc::clone(&inner.sessions.subscriptions),
        })
    }
}

impl Drop for Leaves {
    fn drop(&mut self) {
        self.streams.leave(self.number);
        self.subscriptions.forget_session(&self.name);
    }
}

impl Listening {
    async fn next(&mut self) -> Option<Vec<u8>> {
        if !self.acknowledged {
            self.acknowledged = true;
            // What changes after that is told.
            let agreed = self.leaves.subscriptions.all_taken(&self.asked);
            let _ = timeout(AGREE, agreed).await;
            let meta = format!("{{\"{SUBSCRIPTION}\":{}}}", self.id);
            let filter = self.filter.shown().to_string();
            let params = [("_meta", &*meta), ("notifications", &*filter)];
            return Some(self.event("notifications/subscriptions/acknowledged", params.into_iter()));
        }
        loop {
            if self.ended {
                return None;
            }
            let Some(shown) = self.shown() else {
                return Some(self.farewell());
            };
            if let Some(method) = self.news(&shown) {
                let meta = format!("{{\"{SUBSCRIPTION}\":{}}}", self.id);
                return Some(self.event(method, [("_meta", &*meta)].into_iter()));
            }
            if let Some(message) = self.inbox.take() {
                if let Some(event) = self.updated(&message) {
                    return Some(event);
                }
                continue;
            }
            tokio::select! {
                () = self.stop.cancelled() => return Some(self.farewell()),
                () = self.leaves.gives_way.cancelled() => return Some(self.farewell()),
                changed = self.view.changed() => {
                    if changed.is_err() {
                        return Some(self.farewell());
                    }
                    sleep(GATHER).await;
                }
                () = self.inbox.came() => {}
                () = sleep_until(self.alive) => {
                    self.alive = Instant::now() + ALIVE;
                    return Some(b": alive\n\n".to_vec());
                }
            }
        }
    }

    /// The notification of a list that is not what the client was last told and that it wants to hear of.
    fn news(&mut self, shown: &Each<Digest>) -> Option<&'static str> {
        let mut news = None;
        for kind in Kind::ALL {
            let method = kind.changed();
            let (told, now) = (self.told.of_mut(kind), *shown.of(kind));
            let wanted = self.filter.lists.contains(&method);
            if *told != now && (!wanted || *news.get_or_insert(method) == method) {
                *told = now;
            }
        }
        news
    }

    fn shown(&mut self) -> Option<Each<Digest>> {
        let view = Arc::clone(&self.view.borrow_and_update());
        let tables = view.tables(&self.endpoint).ok()?;
        Some(Each::new(|kind| tables.of(kind).digest))
    }

    /// A server's message about a resource, as one of this subscription.
    fn updated(&mut self, message: &Bytes) -> Option<Vec<u8>> {
        let [params] = members(std::str::from_utf8(message).ok()?, ["params"]).ok()?;
        let params = meta::object(params?).ok()?;
        let mut kept: Vec<(&str, String)> = vec![];
        let mut meta_text = "{}".to_owned();
        for (key, value) in &params {
            match &**key {
                "_meta" => {
                    let inner = meta::object(value).ok()?;
                    let inner = inner.iter().filter(|(key, _)| *key != SUBSCRIPTION);
                    meta_text = meta::written(inner.map(|(key, value)| (&**key, value.get())));
                }
                key => kept.push((key, value.get().to_owned())),
            }
        }
        let open = meta_text.strip_suffix('}')?;
        let comma = if open.len() > 1 { "," } else { "" };
        let meta_text = format!("{open}{comma}\"{SUBSCRIPTION}\":{}}}", self.id);
        kept.push(("_meta", meta_text));
        let kept: Vec<(&str, &str)> = kept.iter().map(|(key, value)| (*key, &**value)).collect();
        Some(self.event("notifications/resources/updated", kept.into_iter()))
    }

    /// The end, said politely.
    fn farewell(&mut self) -> Vec<u8> {
        self.ended = true;
        let result = format!(
            "{{\"resultType\":\"complete\",\"_meta\":{{\"{SUBSCRIPTION}\":{}}}}}",
            self.id
        );
        answer::event(&envelope::result(&self.id, result.as_bytes()))
    }

    fn event<'t>(&mut self, method: &str, params: impl Iterator<Item = (&'t str, &'t str)>) -> Vec<u8> {
        self.alive = Instant::now() + ALIVE;
        let params = meta::written(params);
        let message = format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\",\"params\":{params}}}");
        self.counted.sent(message.len());
        answer::event(message.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_with_the_most_streams_gives_way() {
        let streams = Streams {
            most: 3,
            ..Streams::default()
        };
        let enter = |caller| streams.enter(caller);
        let annas = [enter("anna").unwrap(), enter("anna").unwrap(), enter("anna").unwrap()];
        assert!(enter("anna").is_none(), "nobody has more than she");
        let bert = enter("bert").unwrap();
        let ended = annas.each_ref().map(|(_, gives_way)| gives_way.is_cancelled());
        assert_eq!(ended, [true, false, false], "the oldest");
        assert!(enter("bert").is_none(), "that is his share");
        streams.leave(annas[0].0);
        assert!(enter("bert").is_none(), "its place was given away before");
        streams.leave(annas[1].0);
        assert!(enter("bert").is_some() && !bert.1.is_cancelled());
    }

    #[test]
    fn a_filter_is_read_and_shown() {
        let read = |text: &str| {
            let raw = RawValue::from_string(text.to_owned()).unwrap();
            Filter::read(Some(&raw)).map(|filter| filter.shown().to_string())
        };
        for (text, want) in [
            (r#"{"notifications":{}}"#, "{}"),
            (
                r#"{"notifications":{"toolsListChanged":true,"promptsListChanged":false,"later":1}}"#,
                r#"{"toolsListChanged":true}"#,
            ),
            (
                r#"{"notifications":{"resourceSubscriptions":["a:b"]}}"#,
                r#"{"resourceSubscriptions":["a:b"]}"#,
            ),
        ] {
            assert_eq!(read(text).as_deref(), Ok(want), "{text}");
        }
        for wrong in [
            "{}",
            r#"{"notifications":[]}"#,
            r#"{"notifications":{"toolsListChanged":1}}"#,
            r#"{"notifications":{"resourceSubscriptions":"a"}}"#,
            r#"{"notifications":{"resourceSubscriptions":[1]}}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}

//! Which server answers a request, and which of its lives: pure choices.

use std::sync::Arc;

use crate::kit::Name;
use crate::mcp::Connection;
use crate::mcp::lists::Kind;
use crate::record::{Capability, Life};

use super::asked::Ask;
use super::merge::Tables;

/// Servers that are asked, one after the other, for a resource that is in no list.
const MOST_ASKED: usize = 16;

/// Where a request leads.
#[derive(Debug, PartialEq, Eq)]
pub enum Way<'a> {
    /// To this server, under its own name (a JSON text) where that differs from the shown one.
    To(&'a Name, Option<&'a str>),
    /// To this server, of which no list is known yet.
    Later(&'a Name),
    /// It is in no list. One of these may have it all the same, in the order in which they are asked.
    Perhaps(Vec<&'a Name>),
    /// This server has it, and does not do what is asked.
    Never(&'a Name),
    /// Nowhere.
    Nowhere,
}

/// Finds who answers. `can` says whether a server declared something; one that nobody greeted yet may have.
///
/// A URI that is in no list belongs to the servers whose templates could make it. Reading has no effect, so after those
/// the other servers with resources are asked for it too; subscribing has one, so nobody else is subscribed at, unless
/// there is only one that takes subscriptions.
#[must_use]
pub fn way<'a>(tables: &'a Tables, can: impl Fn(&Name, Capability) -> bool, ask: Ask, key: &'a str) -> Way<'a> {
    let kind = ask.kind();
    let table = tables.of(kind);
    if let Some(target) = table.target(key) {
        return if ask != Ask::Subscribe || can(&target.server, ask.needs()) {
            Way::To(&target.server, target.own.as_deref())
        } else {
            Way::Never(&target.server)
        };
    }
    if matches!(kind, Kind::Tools | Kind::Prompts) {
        return table.owner_to_be(kind, key).map_or(Way::Nowhere, Way::Later);
    }
    if ask == Ask::CompleteResource
        && let Some(target) = tables.of(Kind::Resources).target(key)
    {
        return Way::To(&target.server, None);
    }
    let mut servers: Vec<&Name> = vec![];
    let made = tables.of(Kind::Templates).could_make(key);
    servers.extend(made.filter(|server| can(server, ask.needs())));
    let mut others = table.servers().filter(|server| can(server, ask.needs()));
    match ask {
        Ask::Read => {
            for server in others {
                if !servers.contains(&server) {
                    servers.push(server);
                }
            }
        }
        _ if servers.is_empty() => {
            let first = others.next();
            servers.extend(first.filter(|_| ask == Ask::Subscribe && others.next().is_none()));
        }
        // One of them is enough.
        _ => servers.truncate(1),
    }
    servers.truncate(MOST_ASKED);
    match servers[..] {
        [] => Way::Nowhere,
        [server] => Way::To(server, None),
        _ => Way::Perhaps(servers),
    }
}

/// How far a life is.
#[derive(Clone)]
pub enum Stage {
    /// The first answers are awaited.
    Connecting,
    /// It answers.
    Ready(Arc<Connection>),
    /// It can't be used, for the reason given.
    Failed(String),
}

/// A life that might answer.
#[derive(Clone)]
pub struct Candidate {
    /// Which life.
    pub life: Life,
    /// The index of its instance.
    pub index: u32,
    /// Whether new calls go to it.
    pub serving: bool,
    /// How far it is.
    pub stage: Stage,
}

/// What becomes of a call.
pub enum Choice<'a> {
    /// This life answers it.
    Go(&'a Life, &'a Arc<Connection>),
    /// A life is on its way.
    Wait,
    /// There is none, for the reason given.
    Down(&'a str),
}

/// Chooses the life that a session sticks to while it serves, else the one with the least in flight (the first of them).
#[must_use]
pub fn choose<'a>(candidates: &'a [Candidate], sticks_to: Option<&Life>, unavailable: Option<&'a str>) -> Choice<'a> {
    let open = |candidate: &'a Candidate| match &candidate.stage {
        // A connection may have ended a moment ago, before that was published.
        Stage::Ready(connection) if connection.is_open() => Some((candidate, connection)),
        _ => None,
    };
    let serving = || candidates.iter().filter(|candidate| candidate.serving).filter_map(open);
    let stuck = sticks_to.and_then(|life| serving().find(|(candidate, _)| candidate.life == *life));
    if let Some((candidate, connection)) = stuck.or_else(|| serving().min_by_key(|(_, c)| c.in_flight())) {
        return Choice::Go(&candidate.life, connection);
    }
    // A ready life that does not serve yet will in a moment; one that drains has a successor or a reason soon.
    let coming = |candidate: &'a Candidate| matches!(candidate.stage, Stage::Connecting) || open(candidate).is_some();
    if candidates.iter().any(coming) {
        return Choice::Wait;
    }
    let failed = candidates.iter().rev().find_map(|candidate| match &candidate.stage {
        Stage::Failed(reason) => Some(&**reason),
        Stage::Ready(_) => Some("its connection ended"),
        Stage::Connecting => None,
    });
    Choice::Down(unavailable.or(failed).unwrap_or("no instance of it is running"))
}

#[cfg(test)]
mod tests {
    use crate::gateway::merge::{Part, Table, Terms};
    use crate::gateway::names::Naming;
    use crate::kit::Pipes;
    use crate::mcp::Options;
    use crate::mcp::lists::Entry;

    use super::*;

    /// Servers a, b, c and n: a lists a resource, b and c have templates, n was never greeted. Only b and c take
    /// subscriptions, only c completes.
    fn tables() -> Tables {
        let entries = |kind, texts: &[&str]| {
            let read: Vec<Entry> = texts.iter().map(|text| Entry::read(kind, text).unwrap()).collect();
            Some(Arc::new(read.into()))
        };
        Tables::new(|kind| {
            let lists = match kind {
                Kind::Tools => [&[r#"{"name":"t"}"#][..], &[], &[]],
                Kind::Prompts => [&[][..], &[r#"{"name":"p"}"#], &[]],
                Kind::Resources => [&[r#"{"uri":"x:a"}"#][..], &[r#"{"uri":"x:b"}"#], &[]],
                Kind::Templates => [
                    &[][..],
                    &[r#"{"uriTemplate":"y:{i}"}"#],
                    &[r#"{"uriTemplate":"y:{i}/z"}"#],
                ],
            };
            let parts: Vec<_> = ["a", "b", "c"]
                .into_iter()
                .zip(lists)
                .chain([("n", [].as_slice())])
                .map(|(server, texts)| Part {
                    server: server.parse().unwrap(),
                    list: if server == "n" { None } else { entries(kind, texts) },
                    stale: false,
                })
                .collect();
            let terms = Terms {
                naming: Naming::Prefixed,
                rules: None,
            };
            Arc::new(Table::new(kind, parts, terms))
        })
    }

    #[test]
    fn requests_find_their_server() {
        let tables = tables();
        let can = |server: &Name, what| match what {
            Capability::Subscribe => ["b", "c"].contains(&server.as_str()),
            Capability::Completions => server.as_str() == "c",
            _ => true,
        };
        let name = |text: &str| -> Name { text.parse().unwrap() };
        let (a, b, c, n) = (name("a"), name("b"), name("c"), name("n"));
        for (ask, key, want) in [
            (Ask::Tool, "a__t", Way::To(&a, Some("\"t\""))),
            (Ask::Tool, "a__u", Way::Nowhere),
            (Ask::Tool, "n__t", Way::Later(&n)),
            (Ask::Prompt, "b__p", Way::To(&b, Some("\"p\""))),
            (Ask::Prompt, "p", Way::Nowhere),
            (Ask::Prompt, "n__p", Way::Later(&n)),
            (Ask::Read, "x:a", Way::To(&a, None)),
            (Ask::Read, "y:1/z", Way::Perhaps(vec![&b, &c, &a, &n])),
            (Ask::Read, "q:", Way::Perhaps(vec![&a, &b, &c, &n])),
            (Ask::Subscribe, "x:a", Way::Never(&a)),
            (Ask::Subscribe, "x:b", Way::To(&b, None)),
            (Ask::Subscribe, "y:1/z", Way::To(&b, None)),
            (Ask::Subscribe, "q:", Way::Nowhere),
            (Ask::CompletePrompt, "b__p", Way::To(&b, Some("\"p\""))),
            (Ask::CompleteResource, "y:{i}", Way::To(&b, None)),
            (Ask::CompleteResource, "x:a", Way::To(&a, None)),
            (Ask::CompleteResource, "y:1/z", Way::To(&c, None)),
            (Ask::CompleteResource, "q:", Way::Nowhere),
        ] {
            assert_eq!(way(&tables, can, ask, key), want, "{ask:?} {key}");
        }
        let only_c = |server: &Name, _| server.as_str() == "c";
        assert_eq!(
            way(&tables, only_c, Ask::Subscribe, "q:"),
            Way::To(&c, None),
            "the only one"
        );
        assert_eq!(way(&tables, only_c, Ask::Read, "q:"), Way::To(&c, None));
    }

    fn candidate(life: &str, serving: bool, stage: Stage) -> Candidate {
        Candidate {
            life: Life(life.into()),
            index: 0,
            serving,
            stage,
        }
    }

    fn open() -> Stage {
        let (reader, writer) = (Box::new(tokio::io::empty()), Box::new(tokio::io::sink()));
        let (connection, driver) = Connection::open(Pipes { reader, writer }, Options::default());
        // Never polled and never dropped: the connection stays open.
        std::mem::forget(driver);
        Stage::Ready(Arc::new(connection))
    }

    async fn busy(stage: &Stage) -> crate::mcp::Call {
        let Stage::Ready(connection) = stage else {
            panic!("not ready")
        };
        connection
            .call(|_| b"{}\n".to_vec(), crate::mcp::Wish::default())
            .await
            .unwrap()
    }

    fn shown(choice: &Choice<'_>) -> String {
        match choice {
            Choice::Go(life, _) => life.to_string(),
            Choice::Wait => "wait".into(),
            Choice::Down(reason) => format!("down: {reason}"),
        }
    }

    #[tokio::test]
    async fn the_least_busy_serves_and_sessions_stick() {
        let (a, b) = (open(), open());
        let both = [candidate("a", true, a.clone()), candidate("b", true, b)];
        let life = |text: &str| Life(text.into());
        assert_eq!(shown(&choose(&both, None, None)), "a");
        let _call = busy(&a).await;
        assert_eq!(shown(&choose(&both, None, None)), "b");
        assert_eq!(shown(&choose(&both, Some(&life("a")), None)), "a");
        assert_eq!(shown(&choose(&both, Some(&life("gone")), None)), "b");
        let draining = [candidate("a", false, a.clone()), candidate("b", true, open())];
        assert_eq!(shown(&choose(&draining, Some(&life("a")), None)), "b");
    }

    #[tokio::test]
    async fn calls_wait_for_what_is_coming_and_fail_with_the_reason() {
        let failed = || candidate("f", true, Stage::Failed("exited with code 1".into()));
        let table = [
            (vec![], None, "down: no instance of it is running"),
            (
                vec![],
                Some("exited with code 3: boom"),
                "down: exited with code 3: boom",
            ),
            (vec![failed()], None, "down: exited with code 1"),
            (
                vec![failed(), candidate("c", false, Stage::Connecting)],
                Some("exited"),
                "wait",
            ),
            (vec![candidate("r", false, open())], None, "wait"),
            (vec![failed(), candidate("r", true, open())], Some("exited"), "r"),
        ];
        for (candidates, unavailable, want) in table {
            assert_eq!(shown(&choose(&candidates, None, unavailable)), want);
        }
    }
}

//! Which life answers a call: a pure choice among the lives of one server.

use std::sync::Arc;

use crate::mcp::Connection;
use crate::record::Life;

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
    use crate::kit::Pipes;
    use crate::mcp::Options;

    use super::*;

    fn candidate(life: &str, serving: bool, stage: Stage) -> Candidate {
        Candidate {
            life: Life(life.into()),
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
        connection.call(|_| b"{}\n".to_vec(), false).await.unwrap()
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

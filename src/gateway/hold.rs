//! One life's conversation, from the first word to the last: attached to, greeted, its lists read again when they change,
//! its subscriptions kept, its end told.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::kit::{HttpTransport, Link};
use crate::mcp::handshake::{HandshakeError, greet, read_list, read_lists};
use crate::mcp::lists::{Each, Kind, List, Lists};
use crate::mcp::{Connection, HttpClient, LOST, Options, Wish, envelope, one_line};
use crate::record::{Capability, FleetMember, Greeting, Life};

use super::Attach;
use super::subscriptions::Subscriptions;

/// How long changes of a server's list are gathered before it is read.
const GATHER: Duration = Duration::from_millis(50);
/// The longest that a server may take to list something anew, or to take a subscription.
const ANSWER: Duration = Duration::from_secs(30);
/// The first and the longest wait between two tries to read a list anew.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const SLOWEST_RETRY: Duration = Duration::from_mins(1);
/// Sessions that a server may end within this time before it counts as failed.
const MOST_LOSSES: usize = 3;
const LOSSES_WITHIN: Duration = Duration::from_mins(1);
/// The longest reason that is shown.
const REASON: usize = 500;

/// What is heard of a life.
pub enum News {
    /// It is spoken to anew.
    Connecting,
    /// It answered.
    Ready(Arc<Connection>, Greeting, Lists),
    /// One of its lists is another.
    List(Kind, Arc<List>),
    /// One of its lists has changed and can't be read: what is known of it is old.
    Behind(Kind),
    /// It can't be used.
    Failed(String),
}

/// Who holds the conversation of one life.
pub struct Holder {
    /// How the way to it is had.
    pub attach: Arc<dyn Attach>,
    /// Which life.
    pub life: Life,
    /// What the engine says of it.
    pub member: FleetMember,
    /// The client of every conversation over HTTP.
    pub http: HttpClient,
    /// What its clients want to hear of.
    pub subscriptions: Arc<Subscriptions>,
    /// Who hears the news.
    pub tell: mpsc::Sender<(Life, News)>,
}

impl Holder {
    /// Holds it until it ends or is let go of.
    pub async fn run(self, let_go: CancellationToken) {
        let ended = tokio::select! {
            () = let_go.cancelled() => None,
            reason = self.work() => Some(one_line(&self.attach.mask(&reason), REASON)),
        };
        self.subscriptions.forget_life(&self.life);
        if let Some(reason) = ended {
            tracing::info!(life = %self.life, instance = %self.member.instance, %reason, "the connection to a server ended");
            self.tell(News::Failed(reason)).await;
        }
    }

    async fn tell(&self, news: News) {
        // Nobody listens only when mcpd stops.
        let _ = self.tell.send((self.life.clone(), news)).await;
    }

    async fn work(&self) -> String {
        let start = Duration::from_secs(u64::from(self.member.start_timeout_seconds));
        let deadline = Instant::now() + start;
        match timeout_at(deadline, self.attach.attach(&self.member.instance, &self.life)).await {
            Ok(Ok(Link::Pipes(pipes))) => {
                let options = Options {
                    // A line may have been cut in the middle when the mcpd before this one ended.
                    newline_first: !self.member.fresh,
                    ..Options::default()
                };
                let (connection, driver) = Connection::open(pipes, options);
                self.converse(connection, driver, false, deadline).await
            }
            Ok(Ok(Link::Http { url, transport })) => self.converse_over_http(&url, transport, deadline).await,
            Ok(Err(error)) => format!("attaching failed: {error}"),
            Err(_) => format!("attaching took more than {} s", start.as_secs()),
        }
    }

    /// Holds a conversation over HTTP. Where the server ends the session, the life goes on, and so does this: with a new
    /// session, for this life alone and once for all that wait for it. What was in flight has failed.
    async fn converse_over_http(&self, url: &str, transport: HttpTransport, mut deadline: Instant) -> String {
        let mut lost: VecDeque<Instant> = VecDeque::new();
        loop {
            let (connection, driver) = Connection::open_http(&self.http, url, transport, Options::default());
            let reason = self.converse(connection, driver, true, deadline).await;
            let now = Instant::now();
            lost.retain(|at| now.duration_since(*at) < LOSSES_WITHIN);
            if reason != LOST || lost.len() >= MOST_LOSSES {
                return reason;
            }
            lost.push_back(now);
            tracing::info!(life = %self.life, instance = %self.member.instance, "{LOST}: it is greeted anew");
            self.subscriptions.forget_life(&self.life);
            self.tell(News::Connecting).await;
            deadline = now + Duration::from_secs(u64::from(self.member.start_timeout_seconds));
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this room owns tasks: the driver of each connection"
    )]
    async fn converse(
        &self,
        connection: Connection,
        driver: impl Future<Output = ()> + Send + 'static,
        over_http: bool,
        deadline: Instant,
    ) -> String {
        tokio::spawn(driver);
        let connection = LetsGo(Arc::new(connection));
        let connection = &connection.0;
        // Subscribed first, so that a change while the first lists are read is not missed.
        let changed = connection.changed();
        let (greeting, lists) = match self.first_words(connection, over_http, deadline).await {
            Ok((mut greeting, lists)) => {
                greeting.server = self.attach.mask(&greeting.server).into_owned();
                (greeting, lists)
            }
            // Over HTTP each conversation is a session of its own, so there it is no second one.
            Err(error @ HandshakeError::Refused { .. }) if !self.member.fresh && !over_http => {
                return format!("it ran before mcpd started and does not go on: {error}");
            }
            Err(error) => return error.to_string(),
        };
        let ready = News::Ready(Arc::clone(connection), greeting.clone(), lists);
        self.tell(ready).await;
        let has = |kind: &Kind| greeting.can.contains(&kind.capability());
        let rereading = Kind::ALL
            .into_iter()
            .filter(has)
            .map(|kind| self.reread(connection, kind, changed.clone()));
        let keeping = async {
            tokio::join!(
                futures_util::future::join_all(rereading),
                self.subscribe(connection, greeting.can.contains(&Capability::Subscribe)),
                self.deliver(connection),
            )
        };
        tokio::select! {
            reason = connection.closed() => {
                tracing::debug!(life = %self.life, ignored = connection.ignored(), "lines and answers that nobody waited for");
                reason.to_string()
            }
            _ = keeping => String::new(),
        }
    }

    /// The handshake, or what takes its place: a process that was greeted by an mcpd before this one is not greeted twice,
    /// for many refuse that.
    async fn first_words(
        &self,
        connection: &Connection,
        over_http: bool,
        deadline: Instant,
    ) -> Result<(Greeting, Lists), HandshakeError> {
        let within = deadline.duration_since(Instant::now());
        match &self.member.remembered {
            Some(greeting) if !self.member.fresh && !over_http => {
                let lists = read_lists(connection, greeting, within).await?;
                Ok((greeting.clone(), lists))
            }
            _ => greet(connection, within).await,
        }
    }

    /// Reads a list again whenever the server says that it changed; meanwhile the one known last is served.
    async fn reread(&self, connection: &Connection, kind: Kind, mut changed: watch::Receiver<Each<u64>>) {
        let mut seen = 0;
        while changed.wait_for(|times| *times.of(kind) != seen).await.is_ok() {
            sleep(GATHER).await;
            seen = *changed.borrow().of(kind);
            let mut wait = FIRST_RETRY;
            let list = loop {
                match read_list(connection, kind, ANSWER).await {
                    Ok(list) => break list,
                    Err(error) => tracing::warn!(life = %self.life, %error, "a changed list can't be read"),
                }
                if wait == FIRST_RETRY {
                    self.tell(News::Behind(kind)).await;
                }
                sleep(wait).await;
                wait = (wait * 2).min(SLOWEST_RETRY);
            };
            self.tell(News::List(kind, Arc::new(list))).await;
        }
    }

    /// Subscribes to what sessions want to hear of, and unsubscribes from what none wants any more.
    async fn subscribe(&self, connection: &Connection, can: bool) {
        let server = &self.member.instance.server;
        let mut changed = self.subscriptions.changed();
        if !can {
            return;
        }
        loop {
            changed.mark_unchanged();
            while let Some((uri, due)) = self.subscriptions.due(server, &self.life) {
                let params = serde_json::json!({"uri": uri});
                let asking = async {
                    let call = connection
                        .call(|id| envelope::request(id, due.method(), &params), Wish::default())
                        .await?;
                    call.answer().await
                };
                let answered = timeout(ANSWER, asking).await;
                if !matches!(&answered, Ok(Ok(answer)) if answer.outcome().is_ok()) {
                    tracing::warn!(life = %self.life, uri = one_line(&uri, 200), "{} was not taken", due.method());
                }
                // What was refused once is not asked again and again.
                self.subscriptions.done(server, &uri, &self.life, due);
            }
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Hands on what the server says of its resources.
    async fn deliver(&self, connection: &Connection) {
        loop {
            for (uri, message) in connection.updated().await {
                self.subscriptions.deliver(&self.member.instance.server, &uri, &message);
            }
        }
    }
}

/// Ends a connection when its life is let go of, whoever else still holds the handle.
struct LetsGo(Arc<Connection>);

impl Drop for LetsGo {
    fn drop(&mut self) {
        self.0.let_go();
    }
}

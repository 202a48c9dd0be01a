//! One life's conversation, from the first word to the last: attached to, greeted, its lists read again when they change,
//! its subscriptions and the level of its log kept, its end told.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::kit::{HttpTransport, Link};
use crate::mcp::handshake::{HandshakeError, Opening, greet, read_lists};
use crate::mcp::level::Level;
use crate::mcp::lists::{Each, Kind, List, Lists};
use crate::mcp::{Answer, CallError, Connection, HttpClient, LOST, Options, Wish, envelope, meta, one_line};
use crate::record::{Capability, Era, FIRST_OF_SESSIONS, FleetMember, Greeting, Life, Verdict};

use super::Attach;
use super::subscriptions::Subscriptions;

/// How long changes of a server's list are gathered before it is read.
pub(super) const GATHER: Duration = Duration::from_millis(50);
/// The longest that a server may take to list something anew, or to take a subscription.
pub(super) const ANSWER: Duration = Duration::from_secs(30);
/// The first and the longest wait between two tries to read a list anew.
pub(super) const FIRST_RETRY: Duration = Duration::from_secs(1);
pub(super) const SLOWEST_RETRY: Duration = Duration::from_mins(1);
/// Sessions that a server may end within this time before it counts as failed.
const MOST_LOSSES: usize = 3;
const LOSSES_WITHIN: Duration = Duration::from_mins(1);
/// How long a process may be silent when it is asked for its era before it is spoken to in the legacy one as well.
const PATIENCE: Duration = Duration::from_secs(10);
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
    /// It can't be used, and what that says of its era.
    Failed(String, Verdict),
    /// It asked so many questions that could be put to nobody.
    Uncertain(u64),
}

/// Why a conversation is over, and what that says of the server's era.
struct End(String, Verdict);

impl From<String> for End {
    fn from(reason: String) -> Self {
        Self(reason, Verdict::None)
    }
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
            End(reason, verdict) = self.work() => Some((one_line(&self.attach.mask(&reason), REASON), verdict)),
        };
        self.subscriptions.forget_life(&self.life);
        if let Some((reason, verdict)) = ended {
            tracing::info!(life = %self.life, instance = %self.member.instance, %reason, "the connection to a server ended");
            self.tell(News::Failed(reason, verdict)).await;
        }
    }

    pub(super) async fn tell(&self, news: News) {
        // Nobody listens only when mcpd stops.
        let _ = self.tell.send((self.life.clone(), news)).await;
    }

    async fn work(&self) -> End {
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
                let opening = match self.member.era {
                    Some(Era::Legacy) => Opening::Remembered,
                    Some(Era::Modern) | None => Opening::Process(PATIENCE),
                };
                self.converse(connection, driver, opening, deadline).await
            }
            Ok(Ok(Link::Http { url, transport })) => self.converse_over_http(&url, transport, deadline).await,
            Ok(Err(error)) => format!("attaching failed: {error}").into(),
            Err(_) => format!("attaching took more than {} s", start.as_secs()).into(),
        }
    }

    /// Holds a conversation over HTTP. Where the server ends the session, the life goes on, and so does this: with a new
    /// session, for this life alone and once for all that wait for it. What was in flight has failed.
    async fn converse_over_http(&self, url: &str, transport: HttpTransport, mut deadline: Instant) -> End {
        let mut lost: VecDeque<Instant> = VecDeque::new();
        let opening = match transport {
            HttpTransport::Streamable => Opening::Http,
            HttpTransport::Sse => Opening::Legacy,
        };
        loop {
            let (connection, driver) = Connection::open_http(&self.http, url, transport, Options::default());
            let end = self.converse(connection, driver, opening, deadline).await;
            let now = Instant::now();
            lost.retain(|at| now.duration_since(*at) < LOSSES_WITHIN);
            if end.0 != LOST || lost.len() >= MOST_LOSSES {
                return end;
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
        opening: Opening,
        deadline: Instant,
    ) -> End {
        tokio::spawn(driver);
        let connection = LetsGo(Arc::new(connection));
        let connection = &connection.0;
        // Subscribed first, so that a change while the first lists are read is not missed.
        let changed = connection.changed();
        let (greeting, lists) = match self.first_words(connection, opening, deadline).await {
            Ok((mut greeting, lists)) => {
                greeting.server = self.attach.mask(&greeting.server).into_owned();
                let mut lists = lists;
                if has_headers(connection, opening) {
                    let tools = lists.of_mut(Kind::Tools);
                    *tools = self.offered(Arc::clone(tools));
                }
                (greeting, lists)
            }
            Err(error) => return self.first_words_failed(&error, opening),
        };
        let ready = News::Ready(Arc::clone(connection), greeting.clone(), lists.clone());
        self.tell(ready).await;
        // Which of its lists it tells of.
        let tells = watch::Sender::new(Each::default());
        let has = |kind: &Kind| greeting.can.contains(&kind.capability());
        let rereading = Kind::ALL.into_iter().filter(has).map(|kind| {
            let first = Arc::clone(lists.of(kind));
            self.reread(connection, opening, kind, first, changed.clone(), &tells)
        });
        let keeping = async {
            tokio::join!(
                futures_util::future::join_all(rereading),
                self.tell_all(connection, &greeting, &tells),
                self.keep_level(connection, &greeting),
                self.count_uncertain(connection),
            )
        };
        tokio::select! {
            reason = connection.closed() => {
                tracing::debug!(life = %self.life, ignored = connection.ignored(), "lines and answers that nobody waited for");
                reason.to_string().into()
            }
            _ = keeping => String::new().into(),
        }
    }

    /// The handshake, or what takes its place: a process that was greeted by an mcpd before this one is not greeted twice,
    /// for many refuse that.
    async fn first_words(
        &self,
        connection: &Connection,
        opening: Opening,
        deadline: Instant,
    ) -> Result<(Greeting, Lists), HandshakeError> {
        let within = deadline.duration_since(Instant::now());
        match &self.member.remembered {
            Some(greeting) if !self.member.fresh && is_process(opening) => {
                let lists = read_lists(connection, greeting, within).await?;
                Ok((greeting.clone(), lists))
            }
            _ => greet(connection, opening, within).await,
        }
    }

    fn first_words_failed(&self, error: &HandshakeError, opening: Opening) -> End {
        let (cause, verdict) = match error {
            HandshakeError::Upset(cause) => (&**cause, Verdict::Upset),
            error if opening == Opening::Remembered => (error, Verdict::Doubtful),
            error => (error, Verdict::None),
        };
        // Over HTTP each conversation is a session of its own, so there it is no second one.
        let refused = matches!(cause, HandshakeError::Refused { .. });
        let reason = if refused && !self.member.fresh && is_process(opening) {
            format!("it ran before mcpd started and does not go on: {error}")
        } else {
            error.to_string()
        };
        End(reason, verdict)
    }

    /// The tools without those that must not be offered over HTTP.
    pub(super) fn offered(&self, tools: Arc<List>) -> Arc<List> {
        let Some((kept, wrong)) = tools.without_invalid() else {
            return tools;
        };
        for wrong in wrong {
            let wrong = one_line(&self.attach.mask(&wrong), REASON);
            tracing::warn!(instance = %self.member.instance, %wrong, "a tool is left out: its x-mcp-header is not valid");
        }
        Arc::new(kept)
    }

    /// Whether it is no session's own.
    pub(super) fn is_shared(&self) -> bool {
        self.member.instance.index < FIRST_OF_SESSIONS
    }

    /// Hands on what the server tells by itself. A session's own instance tells nothing: what it says may be that session's
    /// alone, and everybody hears the shared one.
    async fn tell_all(&self, connection: &Connection, greeting: &Greeting, tells: &watch::Sender<Each<bool>>) {
        if self.is_shared() {
            tokio::join!(self.keep_told(connection, greeting, tells), self.deliver(connection));
        }
    }

    /// Sees to it that the server tells what clients want to hear of, in the way of its era.
    async fn keep_told(&self, connection: &Connection, greeting: &Greeting, tells: &watch::Sender<Each<bool>>) {
        match greeting.era() {
            Era::Legacy => {
                self.subscribe(connection, greeting.can.contains(&Capability::Subscribe))
                    .await;
            }
            Era::Modern => self.follow(connection, greeting, tells).await,
        }
    }

    /// Asks a legacy server for the log messages that somebody wants to hear; nothing while nobody does. A modern one is told
    /// with each request.
    async fn keep_level(&self, connection: &Connection, greeting: &Greeting) {
        if greeting.era() == Era::Modern || !greeting.can.contains(&Capability::Logging) {
            return;
        }
        let mut level = self.subscriptions.levels.lowest();
        let mut set = None;
        loop {
            // Nobody says so any more: then it is what those get who never said.
            let wanted = level.borrow_and_update().or(set.map(|_| Level::Info));
            if let Some(wanted) = wanted.filter(|wanted| set != Some(*wanted)) {
                let params = serde_json::json!({"level": wanted.word()});
                if !ask(connection, "logging/setLevel", &params).await {
                    tracing::warn!(life = %self.life, level = wanted.word(), "logging/setLevel was not taken");
                }
                // What was refused once is not asked again and again.
                set = Some(wanted);
            }
            if level.changed().await.is_err() {
                return;
            }
        }
    }

    /// Tells how many of the server's questions could be put to nobody.
    async fn count_uncertain(&self, connection: &Connection) {
        let mut uncertain = connection.uncertain();
        while uncertain.changed().await.is_ok() {
            let times = *uncertain.borrow_and_update();
            self.tell(News::Uncertain(times)).await;
            sleep(GATHER).await;
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
            let mut after: Option<String> = None;
            while let Some((uri, due)) = self.subscriptions.due(server, &self.life, after.as_deref()) {
                let params = serde_json::json!({"uri": uri});
                if !ask(connection, due.method(), &params).await {
                    tracing::warn!(life = %self.life, uri = one_line(&uri, 200), "{} was not taken", due.method());
                }
                // What was refused once is not asked again and again.
                self.subscriptions.done(server, &uri, &self.life, due);
                after = Some(uri);
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
                // The stream that it came on is ours, and nobody else knows it.
                let message = meta::without_subscription(&message).map_or(message, Into::into);
                self.subscriptions.deliver(&self.member.instance.server, &uri, &message);
            }
        }
    }
}

/// Whether these are the first words with a process, over its pipes.
fn is_process(opening: Opening) -> bool {
    matches!(opening, Opening::Process(_) | Opening::Remembered)
}

/// Asks a server for something; whether it took it.
async fn ask(connection: &Connection, method: &str, params: &serde_json::Value) -> bool {
    let asking = async {
        let call = connection
            .call(|id| envelope::request(id, method, params), Wish::default())
            .await?;
        call.answer().await
    };
    let answered: Result<Result<Answer, CallError>, _> = timeout(ANSWER, asking).await;
    matches!(&answered, Ok(Ok(answer)) if answer.outcome().is_ok())
}

/// Whether arguments are repeated by headers.
pub(super) fn has_headers(connection: &Connection, opening: Opening) -> bool {
    connection.era() == Era::Modern && matches!(opening, Opening::Http)
}

/// Ends a connection when its life is let go of, whoever else still holds the handle.
struct LetsGo(Arc<Connection>);

impl Drop for LetsGo {
    fn drop(&mut self) {
        self.0.let_go();
    }
}

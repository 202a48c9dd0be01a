//! What is counted of requests, and the one line that a failed one leaves in the log.
//!
//! A request pays three look-ups by name, five atomic additions and the copies of a few short names; nothing waits for
//! anybody. Labels are names of what is declared and listed, and their number is bounded: what others choose can't fill the
//! memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use crate::kit::Name;
use crate::mcp::one_line;
use crate::record::Era;

use super::correlation::Correlation;
use super::{Attach, Endpoint};

/// The most tools that are counted by name; further ones are counted together as [`OTHER`].
const MOST_TOOLS: usize = 10_000;
/// What stands for all names that are not counted by themselves.
pub const OTHER: &str = "other";
/// The longest reason that is logged, in characters.
const REASON: usize = 500;

/// Upper bounds of the histogram's buckets, in microseconds; one more is without a bound.
pub const BUCKETS: [u64; 18] = [
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];

/// The methods that are counted by name; all others are [`OTHER`].
pub const METHODS: [&str; 21] = [
    "completion/complete",
    "initialize",
    "logging/setLevel",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "server/discover",
    "subscriptions/listen",
    "tasks/cancel",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/update",
    "tools/call",
    "tools/list",
    OTHER,
];

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With a result.
    Ok,
    /// With a tool's result that says it is an error.
    ToolError,
    /// With a JSON-RPC error of the server.
    Error,
    /// Not within the server's deadline.
    Timeout,
    /// The client cancelled, or hung up.
    Cancelled,
    /// Its server is away, or was lost on the way.
    Unavailable,
    /// Nobody has what was asked for.
    Unknown,
    /// It was not taken: no session, wrong parameters, too much at once.
    Refused,
}

impl Outcome {
    /// Each of them, in the order of the counters.
    pub const ALL: [Self; 8] = [
        Self::Ok,
        Self::ToolError,
        Self::Error,
        Self::Timeout,
        Self::Cancelled,
        Self::Unavailable,
        Self::Unknown,
        Self::Refused,
    ];

    /// The word that metrics and the log have for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ToolError => "tool_error",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
            Self::Refused => "refused",
        }
    }

    /// Whether somebody who runs the servers should look at it: the others are the client's or the tool's own business.
    fn is_a_fault(self) -> bool {
        matches!(self, Self::Error | Self::Timeout | Self::Unavailable)
    }
}

/// One counter for each outcome.
#[derive(Debug, Default)]
struct Counts([AtomicU64; Outcome::ALL.len()]);

impl Counts {
    fn add(&self, outcome: Outcome) {
        self.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// How long requests took.
#[derive(Debug, Default)]
pub struct Seconds {
    buckets: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
}

impl Seconds {
    fn add(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// The sum in seconds, and how many fell into each bucket.
    #[must_use]
    pub fn read(&self) -> (f64, [u64; BUCKETS.len() + 1]) {
        let sum = Duration::from_micros(self.micros.load(Ordering::Relaxed)).as_secs_f64();
        (sum, std::array::from_fn(|at| self.buckets[at].load(Ordering::Relaxed)))
    }
}

/// What is counted of one server in one project.
#[derive(Debug, Default)]
struct Place {
    /// How long its requests took.
    seconds: Seconds,
    methods: [Counts; METHODS.len()],
    tools: RwLock<HashMap<Box<str>, Arc<Counts>>>,
}

/// By project, then by server; the empty name is "none".
type Places = HashMap<Box<str>, HashMap<Box<str>, Arc<Place>>>;

/// All counters of the gateway.
pub struct Meter {
    masks: Arc<dyn Attach>,
    places: RwLock<Places>,
    tools: AtomicUsize,
    most_tools: usize,
    in_flight: AtomicU64,
    streams: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    questions: AtomicU64,
    handshakes: [AtomicU64; 2],
}

/// Reads a lock that nobody leaves half-way.
macro_rules! reading {
    ($lock:expr) => {
        $lock.read().unwrap_or_else(PoisonError::into_inner)
    };
}

impl Meter {
    /// Counters that begin with nothing. `masks` knows what must not be logged.
    #[must_use]
    pub fn new(masks: Arc<dyn Attach>) -> Self {
        Self {
            masks,
            places: RwLock::default(),
            tools: AtomicUsize::new(0),
            most_tools: MOST_TOOLS,
            in_flight: AtomicU64::new(0),
            streams: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            questions: AtomicU64::new(0),
            handshakes: Default::default(),
        }
    }

    /// Begins to count a request, whose method is said when it is known. What is dropped before it ended was given up by
    /// its client.
    pub fn begin(self: &Arc<Self>, endpoint: &Endpoint, caller: &str, correlation: Correlation) -> Arc<Timed> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Arc::new(Timed {
            meter: Arc::clone(self),
            endpoint: endpoint.clone(),
            caller: caller.into(),
            correlation,
            method: AtomicUsize::new(METHODS.len() - 1),
            modern: AtomicBool::new(false),
            reached: OnceLock::new(),
            begun: Instant::now(),
            ended: AtomicBool::new(false),
        })
    }

    /// Counts an open stream of events while the returned value lives.
    pub fn stream(self: &Arc<Self>) -> CountedStream {
        self.streams.fetch_add(1, Ordering::Relaxed);
        CountedStream(Arc::clone(self))
    }

    /// Counts bytes of a request.
    pub fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes of an answer.
    pub fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts a question of a server that was put to its client.
    pub fn asked(&self) {
        self.questions.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a handshake with a server, the first or a later one.
    pub fn greeted(&self, well: bool) {
        self.handshakes[usize::from(!well)].fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that are being worked on.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Streams of events that are open.
    #[must_use]
    pub fn streams(&self) -> u64 {
        self.streams.load(Ordering::Relaxed)
    }

    /// Bytes that came in and went out.
    #[must_use]
    pub fn bytes(&self) -> [u64; 2] {
        [&self.received, &self.sent].map(|bytes| bytes.load(Ordering::Relaxed))
    }

    /// Questions of servers that were put to their clients.
    #[must_use]
    pub fn questions(&self) -> u64 {
        self.questions.load(Ordering::Relaxed)
    }

    /// Handshakes that went well, and that did not.
    #[must_use]
    pub fn handshakes(&self) -> [u64; 2] {
        [0, 1].map(|at: usize| self.handshakes[at].load(Ordering::Relaxed))
    }

    /// Forgets places that are declared no longer: over the years there may be any number of them.
    pub fn keep(&self, declared: impl Fn(&str, &str) -> bool) {
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        for (project, servers) in places.iter_mut() {
            servers.retain(|server, place| {
                let keep = declared(project, server);
                if !keep {
                    self.tools.fetch_sub(reading!(place.tools).len(), Ordering::Relaxed);
                }
                keep
            });
        }
        places.retain(|_, servers| !servers.is_empty());
    }

    /// Tells every place in order of its names: project, server, how long its requests took.
    pub fn each_place<E>(&self, mut tell: impl FnMut(&str, &str, &Seconds) -> Result<(), E>) -> Result<(), E> {
        self.sorted(|project, server, place| tell(project, server, &place.seconds))
    }

    /// Tells every counter that is not 0: project, server, method, tool, outcome, count.
    pub fn each_count<E>(
        &self,
        mut tell: impl FnMut([(&'static str, &str); 5], u64) -> Result<(), E>,
    ) -> Result<(), E> {
        self.sorted(|project, server, place| {
            let mut each = |method: &'static str, tool: &str, counts: &Counts| {
                for outcome in Outcome::ALL {
                    let count = counts.0[outcome as usize].load(Ordering::Relaxed);
                    if count > 0 {
                        let labels = [
                            ("project", project),
                            ("server", server),
                            ("method", method),
                            ("tool", tool),
                            ("outcome", outcome.word()),
                        ];
                        tell(labels, count)?;
                    }
                }
                Ok(())
            };
            for (method, counts) in METHODS.iter().zip(&place.methods) {
                each(method, "", counts)?;
            }
            let tools = reading!(place.tools);
            let mut tools: Vec<_> = tools.iter().collect();
            tools.sort_by_key(|(tool, _)| *tool);
            tools
                .into_iter()
                .try_for_each(|(tool, counts)| each("tools/call", tool, counts))
        })
    }

    fn sorted<E>(&self, mut tell: impl FnMut(&str, &str, &Place) -> Result<(), E>) -> Result<(), E> {
        let places = reading!(self.places);
        let mut sorted: Vec<(&str, &str, &Arc<Place>)> = places
            .iter()
            .flat_map(|(project, servers)| {
                servers
                    .iter()
                    .map(move |(server, place)| (&**project, &**server, place))
            })
            .collect();
        sorted.sort_by_key(|(project, server, _)| (*project, *server));
        sorted
            .into_iter()
            .try_for_each(|(project, server, place)| tell(project, server, place))
    }

    fn place(&self, project: &str, server: &str) -> Arc<Place> {
        if let Some(place) = reading!(self.places)
            .get(project)
            .and_then(|servers| servers.get(server))
        {
            return Arc::clone(place);
        }
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        let servers = places.entry(project.into()).or_default();
        Arc::clone(servers.entry(server.into()).or_default())
    }

    fn tool(&self, place: &Place, tool: &str) -> Arc<Counts> {
        if let Some(counts) = reading!(place.tools).get(tool) {
            return Arc::clone(counts);
        }
        let mut tools = place.tools.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(counts) = tools.get(tool) {
            return Arc::clone(counts);
        }
        // All together are one more at most for each place, and places are bounded by what is declared.
        let named = if self.tools.load(Ordering::Relaxed) < self.most_tools {
            tool
        } else {
            OTHER
        };
        Arc::clone(tools.entry(named.into()).or_insert_with(|| {
            self.tools.fetch_add(1, Ordering::Relaxed);
            Arc::default()
        }))
    }
}

/// A request that is being worked on.
pub struct Timed {
    meter: Arc<Meter>,
    endpoint: Endpoint,
    /// The key of the caller; no credential.
    caller: Box<str>,
    correlation: Correlation,
    /// Where it stands in [`METHODS`].
    method: AtomicUsize,
    modern: AtomicBool,
    reached: OnceLock<(Name, Option<Box<str>>)>,
    begun: Instant,
    ended: AtomicBool,
}

impl Timed {
    /// Notes what is asked for, and in which era's words.
    pub fn asks(&self, method: &str, era: Era) {
        let known = METHODS[..METHODS.len() - 1].binary_search(&method);
        self.method.store(known.unwrap_or(METHODS.len() - 1), Ordering::Relaxed);
        self.modern.store(era == Era::Modern, Ordering::Relaxed);
    }

    /// Notes which server answers, and for a call of a tool that it lists, which.
    pub fn reaches(&self, server: &Name, tool: Option<&str>) {
        self.reached.get_or_init(|| (server.clone(), tool.map(Into::into)));
    }

    /// What a client is told of a failure that we word: with the id under which the log has it, too.
    #[must_use]
    pub fn fails(&self, outcome: Outcome, message: &str) -> String {
        self.end(outcome, message);
        self.correlation.told(message)
    }

    /// Ends it; only the first end counts. What failed leaves one line in the log, with the `reason` as far as it may be
    /// told.
    pub fn end(&self, outcome: Outcome, reason: &str) {
        if self.ended.swap(true, Ordering::Relaxed) {
            return;
        }
        self.meter.in_flight.fetch_sub(1, Ordering::Relaxed);
        let lasted = self.begun.elapsed();
        let (project, of_endpoint) = match &self.endpoint {
            Endpoint::Project(project) => (project.as_str(), ""),
            Endpoint::ProjectServer(project, server) => (project.as_str(), server.as_str()),
            Endpoint::Server(server) => ("", server.as_str()),
        };
        let reached = self.reached.get();
        let server = reached.map_or(of_endpoint, |(server, _)| server.as_str());
        let tool = reached.and_then(|(_, tool)| tool.as_deref());
        let method = self.method.load(Ordering::Relaxed);
        let place = self.meter.place(project, server);
        place.seconds.add(lasted);
        match tool {
            Some(tool) if METHODS[method] == "tools/call" => self.meter.tool(&place, tool).add(outcome),
            _ => place.methods[method].add(outcome),
        }
        if outcome == Outcome::Ok {
            return;
        }
        let reason = one_line(&self.meter.masks.mask(reason), REASON);
        let ms = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX);
        let era = if self.modern.load(Ordering::Relaxed) {
            "modern"
        } else {
            "legacy"
        };
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    correlation = %self.correlation, caller = &*self.caller, project, server, method = METHODS[method],
                    tool = tool.unwrap_or_default(), era, outcome = outcome.word(), ms, reason = &*reason,
                    "a request failed"
                )
            };
        }
        if outcome.is_a_fault() {
            line!(warn);
        } else {
            line!(info);
        }
    }

    /// It was no request after all: nothing is counted.
    pub fn forget(&self) {
        if !self.ended.swap(true, Ordering::Relaxed) {
            self.meter.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        self.end(Outcome::Cancelled, "the client hung up");
    }
}

/// A stream of events that is counted as open.
pub struct CountedStream(Arc<Meter>);

impl CountedStream {
    /// Counts bytes that are sent on it.
    pub fn sent(&self, bytes: usize) {
        self.0.sent(bytes);
    }
}

impl Drop for CountedStream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::future::BoxFuture;

    use crate::kit::Link;
    use crate::record::{InstanceName, Life};

    use super::*;

    struct Nothing;

    impl Attach for Nothing {
        fn attach<'a>(&'a self, _: &'a InstanceName, _: &'a Life) -> BoxFuture<'a, std::io::Result<Link>> {
            Box::pin(async { Err(std::io::Error::other("nothing")) })
        }
    }

    fn begun(meter: &Arc<Meter>, endpoint: &Endpoint, method: &str) -> Arc<Timed> {
        let timed = meter.begin(endpoint, "admin:a", Correlation::mint());
        timed.asks(method, Era::Legacy);
        timed
    }

    fn meter() -> Arc<Meter> {
        Arc::new(Meter::new(Arc::new(Nothing)))
    }

    fn project(name: &str) -> Endpoint {
        Endpoint::Project(name.parse().unwrap())
    }

    fn counted(meter: &Meter) -> Vec<String> {
        let mut all = vec![];
        let told = meter.each_count(|labels, count| {
            all.push(format!("{} {count}", labels.map(|(_, value)| value).join("|")));
            Ok::<_, Infallible>(())
        });
        told.unwrap();
        all
    }

    fn call(meter: &Arc<Meter>, project_name: &str, server: &str, tool: &str, outcome: Outcome) {
        let timed = begun(meter, &project(project_name), "tools/call");
        timed.reaches(&server.parse().unwrap(), Some(tool));
        timed.end(outcome, "why");
    }

    #[test]
    fn methods_are_in_order() {
        // They are searched by halves; the last is what is found nowhere.
        assert!(METHODS[..METHODS.len() - 1].is_sorted());
        assert_eq!(METHODS.last(), Some(&OTHER));
    }

    #[test]
    fn requests_are_counted_by_what_they_came_to() {
        let meter = meter();
        call(&meter, "demo", "time", "now", Outcome::Ok);
        call(&meter, "demo", "time", "now", Outcome::Ok);
        call(&meter, "demo", "time", "now", Outcome::ToolError);
        call(&meter, "demo", "git", "log", Outcome::Timeout);
        begun(&meter, &project("demo"), "tools/call").end(Outcome::Unknown, "no such tool");
        begun(&meter, &project("demo"), "never/heard\nof").end(Outcome::Unknown, "");
        let server = Endpoint::Server("time".parse().unwrap());
        drop(begun(&meter, &server, "resources/read"));
        begun(&meter, &server, "notifications/cancelled").forget();
        let running = begun(&meter, &server, "ping");
        assert_eq!(meter.in_flight(), 1);
        running.end(Outcome::Ok, "");
        running.end(Outcome::Error, "it ended before");
        assert_eq!(meter.in_flight(), 0);
        let want = [
            "|time|ping||ok 1",
            "|time|resources/read||cancelled 1",
            "demo||tools/call||unknown 1",
            "demo||other||unknown 1",
            "demo|git|tools/call|log|timeout 1",
            "demo|time|tools/call|now|ok 2",
            "demo|time|tools/call|now|tool_error 1",
        ];
        assert_eq!(counted(&meter), want);
    }

    #[test]
    fn durations_fall_into_their_buckets() {
        let seconds = Seconds::default();
        for micros in [0, 250, 251, 1_000, 299_000_000, 301_000_000] {
            seconds.add(Duration::from_micros(micros));
        }
        let (sum, buckets) = seconds.read();
        let filled: Vec<(usize, u64)> = buckets.into_iter().enumerate().filter(|(_, many)| *many > 0).collect();
        assert_eq!(filled, [(0, 2), (1, 1), (2, 1), (17, 1), (18, 1)]);
        assert!((sum - 600.001_501).abs() < 1e-9, "{sum}");
    }

    /// A server that lists a hundred thousand tools, and a client that calls them all, fill no memory.
    #[test]
    fn labels_are_bounded_and_go_with_what_they_name() {
        let meter = Arc::new(Meter {
            most_tools: 3,
            ..Meter::new(Arc::new(Nothing))
        });
        for n in 0..10 {
            call(&meter, "demo", "time", &format!("t{n}"), Outcome::Ok);
        }
        let want = [
            "demo|time|tools/call|other|ok 7",
            "demo|time|tools/call|t0|ok 1",
            "demo|time|tools/call|t1|ok 1",
            "demo|time|tools/call|t2|ok 1",
        ];
        assert_eq!(counted(&meter), want);
        meter.keep(|_, server| server != "time");
        assert!(counted(&meter).is_empty());
        call(&meter, "demo", "git", "t9", Outcome::Ok);
        assert_eq!(counted(&meter), ["demo|git|tools/call|t9|ok 1"], "there is room again");
    }

    /// No time is asserted: what a request pays for being counted is printed, for whoever asks (`--no-capture`).
    #[test]
    fn counting_is_cheap() {
        const MANY: u32 = 100_000;
        let (meter, endpoint, server) = (meter(), project("demo"), "time".parse().unwrap());
        let begin = Instant::now();
        for _ in 0..MANY {
            let timed = meter.begin(&endpoint, "admin:a", Correlation::mint());
            timed.asks("tools/call", Era::Legacy);
            timed.reaches(&server, Some("time__now"));
            timed.end(Outcome::Ok, "");
        }
        println!("{:?} a request", begin.elapsed() / MANY);
        assert_eq!(counted(&meter), [format!("demo|time|tools/call|time__now|ok {MANY}")]);
    }

    #[test]
    fn streams_are_counted_while_they_live() {
        let meter = meter();
        let stream = meter.stream();
        assert_eq!(meter.streams(), 1);
        drop(stream);
        assert_eq!(meter.streams(), 0);
    }
}

//! The HTTP client: one request after another, bounded answers, patience with a busy mcpd.

use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::{Method, Response, StatusCode, header};
use serde::de::DeserializeOwned;

use crate::settings::{ClientSettings, Origin};
use crate::wire::ErrorBody;
use crate::wire::words::{cut, plain};

use super::error::Failure;
use super::terminal::Terminal;

/// The longest answer that is read.
const ANSWER: usize = 256 << 20;
/// How long an answer may take, beyond what was asked to be waited for.
const PATIENCE: Duration = Duration::from_mins(1);
/// The first pause before asking a busy mcpd again.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause that mcpctl takes by itself.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a busy mcpd is asked again, in all.
const BUSY: Duration = Duration::from_mins(2);

/// A way to mcpd.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    settings: ClientSettings,
    terminal: Terminal,
}

/// What goes with a request.
#[derive(Debug, Clone, Default)]
pub(super) struct Sending {
    /// The body and its content type.
    pub body: Option<(&'static str, String)>,
    /// Whether nothing of what is sent may be there already.
    pub if_new: bool,
    /// The revision that the resource must still have.
    pub if_match: Option<u64>,
    /// How long mcpd was asked to wait before it answers.
    pub wait: Duration,
}

impl Client {
    /// A client for a connection.
    pub(super) fn new(settings: ClientSettings, terminal: Terminal) -> Result<Self, Failure> {
        let unusable = |message: String| Failure::Address {
            message,
            hint: Some("an address looks like http://127.0.0.1:3100 or https://mcpd.example.com".to_owned()),
        };
        let at = || format!("\"{}\" (from {})", plain(&settings.url), origin(&settings.url_origin));
        let url = reqwest::Url::parse(&settings.url)
            .map_err(|cause| unusable(format!("{} is not an address: {cause}", at())))?;
        let local = match url.host_str() {
            Some("localhost") => true,
            Some(host) => host
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback()),
            None => false,
        };
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("mcpctl/", env!("CARGO_PKG_VERSION")))
            // A redirect would carry the token to a place that nobody named.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .tcp_keepalive(Duration::from_secs(30));
        match url.scheme() {
            // Without TLS the machine's certificates are not needed, and a bare machine has none.
            "http" => builder = builder.tls_certs_only([]),
            "https" => {}
            _ => return Err(unusable(format!("{} is neither http nor https", at()))),
        }
        if local {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|cause| Failure::Address {
            message: format!("no client can be made for {}: {cause}", at()),
            hint: None,
        })?;
        Ok(Self {
            http,
            settings,
            terminal,
        })
    }

    /// mcpd's address.
    pub(super) fn url(&self) -> &str {
        &self.settings.url
    }

    /// `GET` of a path below `/api/v1`.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.call(Method::GET, path, &Sending::default()).await
    }

    /// A request below `/api/v1` whose answer is decoded.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        sending: &Sending,
    ) -> Result<T, Failure> {
        let response = self.send(method, path, sending, true).await?;
        let status = response.status();
        let bytes = self.read(response).await?;
        serde_json::from_slice(&bytes).map_err(|cause| {
            let start: String = String::from_utf8_lossy(&bytes).chars().take(200).collect();
            self.foreign(
                status,
                format!("{cause}; the answer begins {:?}", cut(&plain(&start), 60)),
            )
        })
    }

    /// A stream of server-sent events below `/api/v1`.
    pub(super) async fn stream(&self, path: &str) -> Result<Events, Failure> {
        let response = self.send(Method::GET, path, &Sending::default(), false).await?;
        let kind = content_type(&response);
        if kind.starts_with("text/event-stream") {
            Ok(Events {
                url: self.settings.url.clone(),
                response,
                buffer: EventBuffer::default(),
            })
        } else {
            Err(self.foreign(
                response.status(),
                format!("its content is {kind}, not text/event-stream"),
            ))
        }
    }

    /// Sends a request, again and again while mcpd is busy; answers of 400 and more are failures.
    async fn send(&self, method: Method, path: &str, sending: &Sending, bounded: bool) -> Result<Response, Failure> {
        let mut spent = Duration::ZERO;
        let mut attempt = 0;
        loop {
            let response = self.once(method.clone(), path, sending, bounded).await?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            let asked = retry_after(&response);
            if let Some(pause) = pause(status, asked, attempt, jitter()).filter(|pause| spent + *pause <= BUSY) {
                self.terminal.say(&format!(
                    "mcpd is busy ({}): asking again in {}s",
                    status.as_u16(),
                    pause.as_secs_f32().ceil()
                ));
                tokio::time::sleep(pause).await;
                spent += pause;
                attempt += 1;
                continue;
            }
            return Err(self.refusal(response).await);
        }
    }

    async fn once(&self, method: Method, path: &str, sending: &Sending, bounded: bool) -> Result<Response, Failure> {
        let mut request = self.http.request(method, format!("{}/api/v1{path}", self.settings.url));
        if bounded {
            request = request.timeout(PATIENCE + sending.wait);
        }
        if let Some(token) = &self.settings.token {
            request = request.bearer_auth(token.reveal());
        }
        if sending.if_new {
            request = request.header(header::IF_NONE_MATCH, "*");
        }
        if let Some(revision) = sending.if_match {
            request = request.header(header::IF_MATCH, format!("\"{revision}\""));
        }
        if let Some((kind, body)) = &sending.body {
            request = request.header(header::CONTENT_TYPE, *kind).body(body.clone());
        }
        request.send().await.map_err(|cause| self.broken(cause))
    }

    fn broken(&self, cause: reqwest::Error) -> Failure {
        let url = self.settings.url.clone();
        // The address is named already, and it may hold more than should be shown.
        let cause = cause.without_url();
        if cause.is_connect() {
            let origin = origin(&self.settings.url_origin);
            Failure::Unreachable { url, origin, cause }
        } else if cause.is_timeout() {
            Failure::Late { url, cause }
        } else {
            Failure::BrokenOff {
                url,
                cause: Some(cause),
            }
        }
    }

    /// An event of a stream that can't be read.
    pub(super) fn foreign_event(&self, cause: &str) -> Failure {
        self.foreign(StatusCode::OK, format!("an event can't be read: {}", plain(cause)))
    }

    fn foreign(&self, status: StatusCode, cause: String) -> Failure {
        Failure::Foreign {
            url: self.settings.url.clone(),
            status: status.to_string(),
            origin: origin(&self.settings.url_origin),
            cause,
        }
    }

    /// The failure that an answer of 400 or more stands for.
    async fn refusal(&self, response: Response) -> Failure {
        let status = response.status();
        let kind = content_type(&response);
        let bytes = match self.read(response).await {
            Ok(bytes) => bytes,
            Err(failure) => return failure,
        };
        match serde_json::from_slice::<ErrorBody>(&bytes) {
            Ok(body) => Failure::Refused {
                status: status.as_u16(),
                body,
                token: self.settings.token_origin.as_ref().map(origin),
            },
            Err(_) if status == StatusCode::UNAUTHORIZED => Failure::Refused {
                status: status.as_u16(),
                body: ErrorBody {
                    error: "unauthorized".to_owned(),
                    detail: "mcpd wants to know who asks".to_owned(),
                    ..ErrorBody::default()
                },
                token: self.settings.token_origin.as_ref().map(origin),
            },
            Err(_) => {
                let text = String::from_utf8_lossy(&bytes);
                let line = text
                    .lines()
                    .map(str::trim)
                    .find(|line| !line.is_empty())
                    .unwrap_or("nothing");
                self.foreign(status, format!("{kind}: {}", cut(&plain(line), 120)))
            }
        }
    }

    /// An answer's bytes, within the bound.
    async fn read(&self, response: Response) -> Result<Vec<u8>, Failure> {
        let status = response.status();
        let mut bytes = vec![];
        let mut stream = response.bytes_stream();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.map_err(|cause| self.broken(cause))?);
            if bytes.len() > ANSWER {
                return Err(self.foreign(status, format!("the answer is longer than {} MiB", ANSWER >> 20)));
            }
        }
        Ok(bytes)
    }
}

/// Where a setting comes from, in words.
fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Environment(variable) => variable.clone(),
        Origin::Default => "the default".to_owned(),
        other => other.to_string(),
    }
}

fn content_type(response: &Response) -> String {
    response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map_or_else(|| "no content type".to_owned(), plain)
}

/// How long mcpd asks to be left alone.
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let seconds = at.duration_since(crate::kit::time::now()).as_secs();
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// The pause before another attempt; nothing where another would be of no use. `jitter` is between 0 and 1.
fn pause(status: StatusCode, asked: Option<Duration>, attempt: u32, jitter: f64) -> Option<Duration> {
    let busy =
        status == StatusCode::TOO_MANY_REQUESTS || (status == StatusCode::SERVICE_UNAVAILABLE && asked.is_some());
    if !busy {
        return None;
    }
    let own = PAUSE.saturating_mul(2_u32.saturating_pow(attempt)).min(LONGEST_PAUSE);
    // Never sooner than was asked for; spread, so that many clients don't come back as one.
    Some(asked.unwrap_or_default().max(own / 2) + (own / 2).mul_f64(jitter))
}

fn jitter() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX)
}

/// A stream of server-sent events.
#[derive(Debug)]
pub(super) struct Events {
    url: String,
    response: Response,
    buffer: EventBuffer,
}

/// One event: its name and its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SentEvent {
    pub name: String,
    pub data: String,
}

impl Events {
    /// The next event. The stream has no end of its own: an end is a failure.
    pub(super) async fn next(&mut self) -> Result<SentEvent, Failure> {
        let broken = |url: &str, cause: Option<reqwest::Error>| Failure::BrokenOff {
            url: url.to_owned(),
            cause: cause.map(reqwest::Error::without_url),
        };
        loop {
            if let Some(event) = self.buffer.event() {
                return Ok(event);
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) if self.buffer.bytes.len() + chunk.len() <= ANSWER => {
                    self.buffer.bytes.extend_from_slice(&chunk);
                }
                Ok(_) => return Err(broken(&self.url, None)),
                Err(cause) => return Err(broken(&self.url, Some(cause))),
            }
        }
    }
}

/// Bytes of a stream that are no whole event yet.
#[derive(Debug, Default)]
struct EventBuffer {
    bytes: Vec<u8>,
    name: String,
    data: Vec<String>,
}

impl EventBuffer {
    /// Takes one whole event, where there is one.
    fn event(&mut self) -> Option<SentEvent> {
        while let Some(end) = memchr::memchr(b'\n', &self.bytes) {
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" if line.is_empty() => {
                    let name = std::mem::take(&mut self.name);
                    let data = std::mem::take(&mut self.data);
                    if !data.is_empty() {
                        return Some(SentEvent {
                            name,
                            data: data.join("\n"),
                        });
                    }
                }
                "event" => value.clone_into(&mut self.name),
                "data" => self.data.push(value.to_owned()),
                // Comments keep the line alive; ids and retry times are of no use here.
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_honour_what_was_asked() {
        let seconds = Duration::from_secs;
        let busy = StatusCode::TOO_MANY_REQUESTS;
        let away = StatusCode::SERVICE_UNAVAILABLE;
        for (status, asked, attempt, want) in [
            (busy, None, 0, Some(Duration::from_millis(250))),
            (busy, None, 2, Some(seconds(1))),
            (busy, None, 60, Some(seconds(15))),
            (busy, Some(seconds(7)), 0, Some(seconds(7))),
            (away, None, 0, None),
            (away, Some(seconds(0)), 0, Some(Duration::from_millis(250))),
            (StatusCode::BAD_GATEWAY, Some(seconds(1)), 0, None),
        ] {
            assert_eq!(pause(status, asked, attempt, 0.0), want, "{status} {asked:?} {attempt}");
        }
        assert_eq!(pause(busy, None, 0, 1.0), Some(PAUSE));
        assert!((0.0..=1.0).contains(&jitter()));
    }

    #[test]
    fn events_are_put_together_from_any_cuts() {
        let text = ": hello\n\nevent: added\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\ndata:x\n\nevent: lost\n\n";
        let want = [("added", "{\"a\":\n1}"), ("", "x")].map(|(name, data)| SentEvent {
            name: name.into(),
            data: data.into(),
        });
        for size in 1..text.len() {
            let mut buffer = EventBuffer::default();
            let mut seen = vec![];
            for chunk in text.as_bytes().chunks(size) {
                buffer.bytes.extend_from_slice(chunk);
                seen.extend(std::iter::from_fn(|| buffer.event()));
            }
            assert_eq!(seen, want, "{size}");
        }
    }
}

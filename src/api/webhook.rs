//! `POST /git/webhook`: a git server says that somebody pushed, and mcpd looks now.
//!
//! # Guarantees
//! Nothing of a body is parsed before its signature was found right over the bytes as they came. The answer never waits for
//! the look. What a webhook says is a hint of when to look and at most names who pushed; what is done follows from the
//! repository. So one that is sent again, or late, does no harm.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::json;

use crate::access::{Forge, NotSigned, claimed, signed};
use crate::record::Cause;
use crate::repo::Source;
use crate::wire::words::{cut, plain};

use super::{ApiError, App, body};

/// Where git servers send webhooks.
pub(super) const PATH: &str = "/git/webhook";
/// The largest body, in bytes: GitHub sends no larger one.
const LARGEST: usize = 25 << 20;
/// The longest that a body may take to arrive: git servers themselves give up after 10 seconds.
const SLOWEST: Duration = Duration::from_secs(15);
/// How many bodies are held at once; anybody can send one.
pub(super) const PLACES: usize = 8;
/// How long a webhook waits for its place.
const PLACE: Duration = Duration::from_secs(5);
/// The longest name from a webhook that is shown, in characters.
const NAME: usize = 100;

/// What a webhook tells.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    /// The server tries the way.
    Ping,
    /// Refs moved.
    Pushed { refs: Vec<String>, by: String },
    /// Something else happened.
    Other(String),
}

/// Takes a webhook: 202 with the id of the run that follows, 200 where nothing follows.
pub(super) async fn webhook(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    if matches!(app.0.source, Source::Hosted(_)) {
        let text = "this mcpd hosts its repository and sees each push by itself: it takes no webhooks";
        return Err(ApiError::new(StatusCode::CONFLICT, "no_remote", text));
    }
    let Some(secret) = &app.0.webhook_secret else {
        return Err(
            ApiError::not_found("webhooks are off: mcpd has no secret to know them by")
                .hint("give mcpd and the git server the same MCPD_WEBHOOK_SECRET"),
        );
    };
    let (head, body) = request.into_parts();
    let headers = &head.headers;
    let header = |name: &str| headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    if let Err(why) = claimed(&header) {
        return Err(refused(&app, &why).await);
    }
    let said = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok());
    if said
        .and_then(|length| length.parse().ok())
        .is_some_and(|length: u64| length > LARGEST as u64)
    {
        return Err(body::too_large(LARGEST));
    }
    let place = tokio::time::timeout(PLACE, app.0.hooks.acquire()).await;
    let Ok(Ok(_place)) = place else {
        return Err(ApiError::busy("too many webhooks arrive at once"));
    };
    let bytes = body::read_at_most(body, LARGEST, SLOWEST).await?;
    let forge = match signed(secret, &header, &bytes) {
        Ok(forge) => forge,
        Err(why) => return Err(refused(&app, &why).await),
    };
    let branch = app.0.branch.as_str();
    let by = match told(forge, headers, &bytes)? {
        Told::Ping => {
            let text = format!("mcpd looks when {} is pushed", shown(branch));
            return Ok(Json(json!({"ping": text})).into_response());
        }
        Told::Other(event) => return Ok(ignored(&format!("event {event}"))),
        Told::Pushed { refs, by } if refs.iter().any(|name| name == branch) => by,
        Told::Pushed { refs, .. } => {
            let name = refs.first().map_or("none", String::as_str);
            return Ok(ignored(&shown(name)));
        }
    };
    let cause = Cause::new(format!("webhook {forge}"), cut(&plain(&by), NAME));
    let run = app.0.engine.look(cause).await?;
    tracing::info!(%forge, run, "a webhook");
    Ok((StatusCode::ACCEPTED, Json(json!({"run": run.to_string()}))).into_response())
}

/// The answer to one that is not believed; it is written down as other refusals of strangers are.
async fn refused(app: &App, why: &NotSigned) -> ApiError {
    app.audit_stranger("webhook", PATH).await;
    ApiError::new(StatusCode::UNAUTHORIZED, "not_signed", why.to_string())
        .hint("the secret of the webhook on the git server is to be the one in MCPD_WEBHOOK_SECRET")
}

fn ignored(what: &str) -> Response {
    Json(json!({"ignored": cut(&plain(what), 2 * NAME)})).into_response()
}

/// `branch main`, or a ref of another kind as it is.
fn shown(name: &str) -> String {
    match name.strip_prefix("refs/heads/") {
        Some(branch) => format!("branch {branch}"),
        None => name.to_owned(),
    }
}

/// Somebody, as git servers write people; the first name that is there counts.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Person {
    login: Option<String>,
    username: Option<String>,
    nickname: Option<String>,
    name: Option<String>,
    display_name: Option<String>,
}

impl Person {
    fn named(self) -> Option<String> {
        let names = [self.login, self.username, self.nickname, self.name, self.display_name];
        names.into_iter().flatten().find(|name| !name.is_empty())
    }
}

/// A push as GitHub, Gitea, Forgejo and GitLab write it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Push {
    #[serde(rename = "ref")]
    name: Option<String>,
    sender: Option<Person>,
    pusher: Option<Person>,
    user_username: Option<String>,
    user_name: Option<String>,
    /// Of GitLab's system hooks: what happened.
    event_name: Option<String>,
}

/// A push as Bitbucket writes it: Cloud names branches, Data Center refs.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct BitbucketPush {
    actor: Option<Person>,
    push: CloudChanges,
    changes: Vec<Change>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CloudChanges {
    changes: Vec<CloudChange>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CloudChange {
    new: Option<CloudRef>,
    old: Option<CloudRef>,
}

#[derive(Debug, Deserialize)]
struct CloudRef {
    #[serde(rename = "type", default)]
    kind: String,
    name: String,
}

#[derive(Debug, Deserialize)]
struct Change {
    #[serde(rename = "ref")]
    name: ChangedRef,
}

#[derive(Debug, Deserialize)]
struct ChangedRef {
    id: String,
}

/// What a webhook of a server tells, whose signature was found right.
fn told(forge: Forge, headers: &HeaderMap, bytes: &[u8]) -> Result<Told, ApiError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let event = match forge {
        Forge::GitHub => text("X-GitHub-Event"),
        Forge::GitLab => text("X-Gitlab-Event"),
        Forge::Forgejo => text("X-Forgejo-Event"),
        Forge::Gitea => text("X-Gitea-Event").or_else(|| text("X-Gogs-Event")),
        Forge::Bitbucket => text("X-Event-Key"),
    };
    let event = event.ok_or_else(|| ApiError::bad_request("no header tells which event it is"))?;
    let body = payload(headers, bytes);
    let unreadable = |error: serde_json::Error| {
        // What the parser quotes is a stranger's text; where it is is enough.
        let place = format!("line {}, column {}", error.line(), error.column());
        ApiError::bad_request(format!("the webhook of {forge} can't be read at {place}"))
    };
    match (forge, event) {
        (Forge::GitHub | Forge::Gitea | Forge::Forgejo, "ping") | (Forge::Bitbucket, "diagnostics:ping") => {
            Ok(Told::Ping)
        }
        (Forge::Bitbucket, "repo:push" | "repo:refs_changed") => {
            let push: BitbucketPush = serde_json::from_slice(&body).map_err(unreadable)?;
            let of_cloud = push
                .push
                .changes
                .into_iter()
                .filter_map(|change| change.new.or(change.old));
            let of_cloud = of_cloud.map(|it| match it.kind.as_str() {
                "tag" => format!("refs/tags/{}", it.name),
                _ => format!("refs/heads/{}", it.name),
            });
            let refs = push.changes.into_iter().map(|change| change.name.id);
            Ok(Told::Pushed {
                refs: of_cloud.chain(refs).collect(),
                by: push.actor.and_then(Person::named).unwrap_or_default(),
            })
        }
        (Forge::GitHub | Forge::Gitea | Forge::Forgejo, "push")
        | (Forge::GitLab, "Push Hook" | "Tag Push Hook" | "System Hook") => {
            let push: Push = serde_json::from_slice(&body).map_err(unreadable)?;
            if let ("System Hook", Some(other)) = (event, push.event_name.as_deref().filter(|it| *it != "push")) {
                return Ok(Told::Other(other.to_owned()));
            }
            let people = [push.sender, push.pusher].into_iter().flatten().find_map(Person::named);
            let by = people.or(push.user_username).or(push.user_name).unwrap_or_default();
            let name = push
                .name
                .ok_or_else(|| ApiError::bad_request("the push names no ref"))?;
            Ok(Told::Pushed { refs: vec![name], by })
        }
        _ => Ok(Told::Other(event.to_owned())),
    }
}

/// The JSON of a body. As a form, which GitHub sends if nothing else is chosen, it is the field `payload`; curl calls anything
/// a form.
fn payload<'b>(headers: &HeaderMap, bytes: &'b [u8]) -> Cow<'b, [u8]> {
    let form = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
    if !form {
        return Cow::Borrowed(bytes);
    }
    let mut fields = bytes.split(|byte| *byte == b'&');
    let value = fields.find_map(|field| field.strip_prefix(b"payload="));
    value.map_or(Cow::Borrowed(bytes), |value| Cow::Owned(unescaped(value)))
}

/// The bytes that a form's value stands for; what is no escape stays as it is.
fn unescaped(value: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16)?.try_into().ok());
    let mut out = Vec::with_capacity(value.len());
    let mut at = 0;
    while let Some(byte) = value.get(at) {
        let pair: Option<(u8, u8)> = digit(value.get(at + 1)).zip(digit(value.get(at + 2)));
        match (byte, pair) {
            (b'%', Some((high, low))) => {
                out.push(high << 4 | low);
                at += 3;
                continue;
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(*byte),
        }
        at += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_webhooks_tell() {
        let pushed = |refs: &[&str], by: &str| {
            Ok(Told::Pushed {
                refs: refs.iter().map(ToString::to_string).collect(),
                by: by.to_owned(),
            })
        };
        let other = |event: &str| Ok(Told::Other(event.to_owned()));
        let main = "refs/heads/main";
        for (forge, header, event, body, want) in [
            (Forge::GitHub, "X-GitHub-Event", "ping", "{}", Ok(Told::Ping)),
            (Forge::GitHub, "X-GitHub-Event", "issues", "no json", other("issues")),
            (
                Forge::GitHub,
                "X-GitHub-Event",
                "push",
                r#"{"ref":"refs/heads/main","pusher":{"name":"ada","email":null},"sender":{"login":"ada-l"}}"#,
                pushed(&[main], "ada-l"),
            ),
            (
                Forge::Gitea,
                "X-Gitea-Event",
                "push",
                r#"{"ref":"refs/heads/main","pusher":{"login":"ada","username":"ada"}}"#,
                pushed(&[main], "ada"),
            ),
            (
                Forge::Forgejo,
                "X-Forgejo-Event",
                "push",
                r#"{"ref":"refs/tags/v1"}"#,
                pushed(&["refs/tags/v1"], ""),
            ),
            (
                Forge::GitLab,
                "X-Gitlab-Event",
                "Push Hook",
                r#"{"object_kind":"push","event_name":"push","ref":"refs/heads/main","user_username":"ada"}"#,
                pushed(&[main], "ada"),
            ),
            (
                Forge::GitLab,
                "X-Gitlab-Event",
                "System Hook",
                r#"{"event_name":"push","ref":"refs/heads/main","user_name":"Ada"}"#,
                pushed(&[main], "Ada"),
            ),
            (
                Forge::GitLab,
                "X-Gitlab-Event",
                "System Hook",
                r#"{"event_name":"project_create"}"#,
                other("project_create"),
            ),
            (Forge::GitLab, "X-Gitlab-Event", "Note Hook", "{}", other("Note Hook")),
            (
                Forge::Bitbucket,
                "X-Event-Key",
                "diagnostics:ping",
                r#"{"test":true}"#,
                Ok(Told::Ping),
            ),
            (
                Forge::Bitbucket,
                "X-Event-Key",
                "repo:push",
                r#"{"actor":{"nickname":"ada"},"push":{"changes":[{"new":{"type":"branch","name":"main"},"old":null},
                    {"new":null,"old":{"type":"tag","name":"v1"}}]}}"#,
                pushed(&[main, "refs/tags/v1"], "ada"),
            ),
            (
                Forge::Bitbucket,
                "X-Event-Key",
                "repo:refs_changed",
                r#"{"actor":{"name":"ada"},"changes":[{"ref":{"id":"refs/heads/main","displayId":"main","type":"BRANCH"}}]}"#,
                pushed(&[main], "ada"),
            ),
            (Forge::GitHub, "X-GitHub-Event", "push", "{", Err(())),
            (Forge::GitHub, "X-GitHub-Event", "push", r#"{"ref":null}"#, Err(())),
            (Forge::GitHub, "X-GitHub-Event", "push", r#"{"ref":7}"#, Err(())),
            (
                Forge::GitHub,
                "X-Other",
                "push",
                r#"{"ref":"refs/heads/main"}"#,
                Err(()),
            ),
        ] {
            let name: header::HeaderName = header.parse().unwrap();
            let headers = HeaderMap::from_iter([(name, event.parse().unwrap())]);
            let told = told(forge, &headers, body.as_bytes());
            assert_eq!(told.map_err(drop), want, "{forge} {event} {body}");
        }
    }

    #[test]
    fn a_form_holds_the_json() {
        let form = HeaderMap::from_iter([(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8"),
        )]);
        for (body, want) in [
            ("payload=%7B%22ref%22%3A%22a+b%22%7D", r#"{"ref":"a b"}"#),
            ("x=1&payload=a%2&y=2", "a%2"),
            ("payload=%zz%C3%A9", "%zzé"),
            (r#"{"ref":"x"}"#, r#"{"ref":"x"}"#),
        ] {
            assert_eq!(payload(&form, body.as_bytes()).as_ref(), want.as_bytes(), "{body}");
            assert_eq!(payload(&HeaderMap::new(), body.as_bytes()).as_ref(), body.as_bytes());
        }
    }
}

//! What an instance wrote to stderr: `GET /api/v1/instances/SERVER/N/logs`, once or as a stream.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;

use crate::kit::time::{moment, now};
use crate::record::{InstanceName, LogKind, LogLine};
use crate::runtime::{Follower, LogError, LogQuery};
use crate::wire::Listing;

use super::ask::Ask;
use super::feed::ALIVE;
use super::{ApiError, App};

/// What may be asked of a log.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    follow: bool,
    #[serde(default)]
    previous: bool,
    tail: Option<usize>,
    since: Option<String>,
}

/// The name of a log in a path: two segments, `time/0`.
pub(super) fn instance(server: &str, index: &str) -> Option<InstanceName> {
    // Only as it is written: not `+0`, not `00`.
    let name: InstanceName = format!("{server}/{index}").parse().ok()?;
    (name.index.to_string() == index).then_some(name)
}

pub(super) async fn logs(
    State(app): State<App>,
    Path((server, index)): Path<(String, String)>,
    Ask(asked): Ask<Asked>,
) -> Result<Response, ApiError> {
    let name =
        instance(&server, &index).ok_or_else(|| ApiError::not_found(format!("{server}/{index} is no instance")))?;
    if asked.follow && asked.previous {
        return Err(ApiError::bad_request(
            "the life before the newest one has ended: it can't be followed",
        ));
    }
    let since = match &asked.since {
        Some(text) => Some(moment(text, now()).map_err(|needed| ApiError::bad_request(format!("since: {needed}")))?),
        None => None,
    };
    let query = LogQuery {
        since,
        tail: asked.tail,
        previous: asked.previous,
    };
    let logs = app.0.engine.logs();
    let report = app.0.engine.report().borrow().clone();
    let known = report.status.instances.iter().any(|status| status.instance == name);
    if !asked.follow {
        let items = match logs.read(&name, &query).await {
            // It is there and has said nothing yet.
            Err(LogError::Unknown(_)) if known => vec![],
            other => other?,
        };
        return Ok(Json(Listing {
            items,
            unclaimed: vec![],
            revision: report.status.revision,
        })
        .into_response());
    }
    if !known {
        // Only what exists, or has left a log, is followed.
        logs.read(&name, &LogQuery::default()).await?;
    }
    let (before, follower) = logs.follow(&name, &query).await?;
    Ok(streamed(&app, before, follower))
}

fn streamed(app: &App, before: Vec<LogLine>, follower: Follower) -> Response {
    let news = stream::unfold(Some(follower), |follower| async move {
        let mut follower = follower?;
        match follower.next().await {
            Some(lines) => Some((lines, Some(follower))),
            None => Some((Arc::new(vec![dropped()]), None)),
        }
    });
    let lines = stream::iter([Arc::new(before)])
        .chain(news)
        .flat_map(|lines| stream::iter(lines.iter().map(sent).collect::<Vec<_>>()))
        .map(Ok::<Event, Infallible>)
        .take_until(app.0.stop.clone().cancelled_owned());
    Sse::new(lines)
        .keep_alive(KeepAlive::new().interval(ALIVE))
        .into_response()
}

fn dropped() -> LogLine {
    LogLine {
        at: Some(now()),
        life: None,
        kind: LogKind::Dropped,
        text: "lines came faster than they were read: the stream ends here".to_owned(),
    }
}

fn sent(line: &LogLine) -> Event {
    let name = match line.kind {
        LogKind::Line => "line",
        LogKind::Began => "began",
        LogKind::Ended => "ended",
        LogKind::Dropped => "dropped",
    };
    let data = serde_json::to_string(line).unwrap_or_default();
    Event::default().event(name).data(data)
}

impl From<LogError> for ApiError {
    fn from(error: LogError) -> Self {
        let text = error.to_string();
        match error {
            LogError::Unknown(_) => Self::not_found(text).hint("mcpctl get instances lists what there is"),
            LogError::NoPrevious(_) => Self::not_found(text),
            LogError::TooMany => Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", text)
                .hint("end one of them: each \"mcpctl logs -f\" is one for each instance"),
            LogError::Io { .. } => Self::new(StatusCode::SERVICE_UNAVAILABLE, "logs", text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_one_path() {
        for (server, index, want) in [
            ("time", "0", true),
            ("time", "12", true),
            ("time", "00", false),
            ("time", "+0", false),
            ("time", "-1", false),
            ("time", "4294967296", false),
            ("TIME", "0", false),
            ("..", "0", false),
            ("a/b", "0", false),
        ] {
            assert_eq!(instance(server, index).is_some(), want, "{server}/{index}");
        }
    }
}

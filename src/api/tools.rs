//! Tools: how each stands, what waits for approval, and the approval.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::Value;

use crate::access::Principal;
use crate::engine::Approval;
use crate::gateway::{Endpoint, ToldTool, Verdict};
use crate::kit::{Name, count};
use crate::record::{ChainLink, ToolMemory};
use crate::resource::{Declared as _, Document, Project, Server, ToolLock, ToolsLock};
use crate::wire::{
    ApproveBody, ApproveOrder, Condition, ItemStatus, Listing, Rung, Standing, ToolRow, ToolState, Truth,
};

use super::ask::Ask;
use super::{ApiError, App, body, feed};

/// The most that one approval names.
const MOST: usize = 10_000;
/// Names that one line tells.
const TOLD: usize = 5;

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Page {
    /// Only what this project shows or hides; of no project every server's tools, under their own names.
    project: Option<Name>,
    /// Only this name.
    name: Option<String>,
    /// With what each promises.
    #[serde(default)]
    definitions: bool,
    #[serde(default)]
    watch: bool,
}

/// How tools stand.
pub(super) async fn list(State(app): State<App>, Ask(page): Ask<Page>) -> Result<Response, ApiError> {
    if page.watch {
        rows(&app, &page)?;
        return Ok(feed::watch(app, true, move |app| {
            let page = page.clone();
            Box::pin(async move {
                let rows = rows(&app, &page).unwrap_or_default().into_iter().enumerate();
                // In the order of the list.
                rows.filter_map(|(n, row)| {
                    Some((
                        format!("{n:06} {}/{}", row.server, row.tool),
                        serde_json::to_value(row).ok()?,
                    ))
                })
                .collect()
            })
        }));
    }
    Ok(Json(Listing {
        items: rows(&app, &page)?,
        unclaimed: vec![],
        revision: app.0.engine.store().view().revision,
    })
    .into_response())
}

fn rows(app: &App, page: &Page) -> Result<Vec<ToolRow>, ApiError> {
    let known = Known::of(app);
    let mut rows = vec![];
    match &page.project {
        Some(project) => {
            let tools = app.0.gateway.tools(&Endpoint::Project(project.clone()));
            let tools = tools.ok_or_else(|| ApiError::not_found(format!("project/{project} is not declared")))?;
            let strict = is_strict(app, project);
            rows.extend(tools.iter().map(|tool| known.row(tool, strict, page.definitions)));
        }
        None => {
            for server in servers(app) {
                let tools = app.0.gateway.tools(&Endpoint::Server(server)).unwrap_or_default();
                rows.extend(tools.iter().map(|tool| known.row(tool, false, page.definitions)));
            }
        }
    }
    if let Some(name) = &page.name {
        rows.retain(|row| row.name == *name || format!("{}/{}", row.server, row.tool) == *name);
    }
    Ok(rows)
}

fn servers(app: &App) -> Vec<Name> {
    let view = app.0.engine.store().view();
    let rows = view
        .rows
        .of_kind(Server::NAME)
        .filter(|(_, row)| row.document.is_some());
    rows.map(|(id, _)| id.name.clone()).collect()
}

/// Whether a project shows only what was approved.
fn is_strict(app: &App, project: &Name) -> bool {
    let view = app.0.engine.store().view();
    let named = view.rows.of_kind(Project::NAME).find(|(id, _)| id.name == *project);
    let document = named.and_then(|(_, row)| row.document.as_ref());
    document
        .and_then(|document| document.typed::<Project>().ok())
        .is_some_and(|it| it.tools.lock == ToolLock::Strict)
}

/// What is remembered and approved.
struct Known {
    memory: Arc<ToolMemory>,
    lock: Arc<ToolsLock>,
}

impl Known {
    fn of(app: &App) -> Self {
        Self {
            memory: app.0.engine.tool_memory(),
            lock: app.0.engine.tools_lock(),
        }
    }

    fn row(&self, tool: &ToldTool, strict: bool, definitions: bool) -> ToolRow {
        let remembered = self.memory.get(&tool.server).and_then(|tools| tools.get(&tool.own));
        let first = remembered.map(|it| it.approved.digest);
        let approved = if strict {
            self.lock.approved(&tool.server, &tool.own)
        } else {
            first
        };
        let approved = approved.filter(|approved| *approved != tool.digest);
        let state = match tool.verdict {
            Verdict::ByRule => ToolState::Hidden,
            Verdict::Clash | Verdict::Taken => ToolState::Clash,
            Verdict::Unapproved => ToolState::HeldNew,
            Verdict::Changed => ToolState::HeldChanged,
            Verdict::Shown if !strict && approved.is_some() => ToolState::Changed,
            Verdict::Shown if tool.stale => ToolState::Stale,
            Verdict::Shown => ToolState::Ok,
        };
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|_| Value::from(text));
        let kept = approved.and_then(|digest| remembered?.sight(digest)?.definition.clone());
        ToolRow {
            name: tool.shown.clone(),
            server: tool.server.clone(),
            tool: tool.own.clone(),
            state,
            schema_tokens: tool.tokens,
            digest: tool.digest,
            since: remembered.and_then(|it| it.sight(tool.digest)).map(|sight| sight.at),
            definition: definitions.then(|| read(&tool.definition)),
            approved,
            approved_definition: kept.filter(|_| definitions).map(|text| read(&text)),
        }
    }
}

/// Approves tools as the caller looked at them: all of them or, where one is another by now, none.
pub(super) async fn approve(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    request: Request,
) -> Result<Json<ApproveBody>, ApiError> {
    let bytes = body::read(request.into_body()).await?;
    let order: ApproveOrder = serde_json::from_slice(&bytes).map_err(|error| {
        let form = "send {\"tools\": [{\"server\", \"tool\", \"digest\"}]}";
        ApiError::bad_request(format!("{form}: {error}"))
    })?;
    if order.tools.is_empty() || order.tools.len() > MOST {
        return Err(ApiError::bad_request(format!("name 1 to {MOST} tools")));
    }
    let named: BTreeSet<&Name> = order.tools.iter().map(|tool| &tool.server).collect();
    let mut listed = std::collections::HashMap::new();
    for server in named {
        let tools = app.0.gateway.tools(&Endpoint::Server(server.clone()));
        let tools = tools.ok_or_else(|| ApiError::not_found(format!("server/{server} is not declared")))?;
        listed.extend(
            tools
                .into_iter()
                .map(|tool| ((tool.server.clone(), tool.own.clone()), tool)),
        );
    }
    let mut approvals = vec![];
    for wanted in &order.tools {
        let name = format!("{}/{}", wanted.server, wanted.tool);
        let tool = listed
            .get(&(wanted.server.clone(), wanted.tool.clone()))
            .ok_or_else(|| ApiError::not_found(format!("server {} lists no tool {}", wanted.server, wanted.tool)))?;
        if tool.digest != wanted.digest {
            let why = format!("{name} has changed since it was looked at: nothing was approved");
            return Err(
                ApiError::new(StatusCode::CONFLICT, "changed", why).hint("look at it again: mcpctl describe tool NAME")
            );
        }
        approvals.push(Approval {
            server: wanted.server.clone(),
            tool: wanted.tool.clone(),
            digest: tool.digest,
            definition: Arc::clone(&tool.definition),
        });
    }
    let commit = app.0.engine.approve_tools(&principal.actor("api"), &approvals).await?;
    Ok(Json(ApproveBody {
        tools: order.tools,
        commit,
    }))
}

/// What the status of a server or project says of its tools.
pub(super) fn tokens(app: &App, document: &Document, status: &mut ItemStatus) {
    if let Some(rows) = of(app, document) {
        let shown = rows.iter().filter(|row| is_shown(row.state));
        status.schema_tokens = Some(shown.clone().map(|row| row.schema_tokens).sum());
        if document.id.kind().name == Project::NAME {
            status.tools = Some(shown.count());
        }
    }
}

fn is_shown(state: ToolState) -> bool {
    matches!(state, ToolState::Ok | ToolState::Stale | ToolState::Changed)
}

fn of(app: &App, document: &Document) -> Option<Vec<ToolRow>> {
    let name = document.id.name.clone();
    let known = Known::of(app);
    let (endpoint, strict) = match document.id.kind().name {
        Server::NAME => (Endpoint::Server(name), false),
        Project::NAME => {
            let strict = is_strict(app, &name);
            (Endpoint::Project(name), strict)
        }
        _ => return None,
    };
    let tools = app.0.gateway.tools(&endpoint)?;
    Some(tools.iter().map(|tool| known.row(tool, strict, false)).collect())
}

/// The condition `Tools` of a server or project.
pub(super) fn condition(app: &App, document: &Document) -> Option<Condition> {
    let rows = of(app, document)?;
    let clashing = if document.id.kind().name == Project::NAME {
        app.0.gateway.clashing_prompts(&document.id.name)
    } else {
        vec![]
    };
    Some(judged(&rows, &clashing))
}

/// The last link of a project: its tools, as its servers list them and it lets them through.
pub(super) fn rung(condition: &Condition) -> Rung {
    let broken = matches!(condition.reason.as_str(), "Clash" | "Held");
    Rung {
        link: ChainLink::Tools,
        instance: None,
        standing: if broken { Standing::Broken } else { Standing::Ok },
        message: condition.message.clone(),
        next_retry: None,
        diagnostic: None,
    }
}

/// Whether all tools are shown as they are known, and what is not well: the gravest first.
fn judged(rows: &[ToolRow], clashing_prompts: &[String]) -> Condition {
    let named = |states: &[ToolState]| -> Vec<&str> {
        let mut names: Vec<&str> = vec![];
        for row in rows.iter().filter(|row| states.contains(&row.state)) {
            if !names.contains(&row.name.as_str()) {
                names.push(&row.name);
            }
        }
        names
    };
    let mut clashes = named(&[ToolState::Clash]);
    clashes.extend(clashing_prompts.iter().map(String::as_str));
    let held = named(&[ToolState::HeldChanged, ToolState::HeldNew]);
    let changed = named(&[ToolState::Changed]);
    let stale = named(&[ToolState::Stale]);
    let mut said = vec![];
    let mut reason = "";
    let mut say = |names: &[&str], word: &'static str, what: &str| {
        if !names.is_empty() {
            if reason.is_empty() {
                reason = word;
            }
            said.push(format!("{what}: {}", few(names)));
        }
    };
    say(&clashes, "Clash", "two servers have the name, so none of them is shown");
    say(&held, "Held", "waits for approval (mcpctl approve tool)");
    say(
        &changed,
        "Changed",
        "is not as it was first seen (mcpctl describe tool)",
    );
    say(&stale, "Stale", "is what was known last, its server does not answer");
    let status = if said.is_empty() { Truth::True } else { Truth::False };
    let message = if said.is_empty() {
        count(rows.iter().filter(|row| is_shown(row.state)).count(), "tool")
    } else {
        said.join("; ")
    };
    Condition {
        kind: "Tools".to_owned(),
        status,
        reason: if reason.is_empty() { "AsKnown" } else { reason }.to_owned(),
        message,
        since: None,
    }
}

fn few(names: &[&str]) -> String {
    let first = names.iter().take(TOLD).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(TOLD) {
        0 => first,
        rest => format!("{first} and {rest} more"),
    }
}

/// What a person should see to: tools that wait for approval, clash or have changed, a line a project.
pub(super) fn warnings(app: &App) -> Vec<String> {
    let view = app.0.engine.store().view();
    let projects = view
        .rows
        .of_kind(Project::NAME)
        .filter_map(|(_, row)| row.document.clone());
    let line = |project: Arc<Document>| {
        let found = condition(app, &project)?;
        let urgent = matches!(found.reason.as_str(), "Clash" | "Held" | "Changed");
        let name = &project.id.name;
        urgent.then(|| {
            format!(
                "tools of {}: {} (mcpctl get tools -p {name})",
                project.id, found.message
            )
        })
    };
    projects.filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::Digest;

    #[test]
    fn the_gravest_is_said_first() {
        let row = |name: &str, state| ToolRow {
            name: name.to_owned(),
            server: "time".parse().unwrap(),
            tool: name.to_owned(),
            state,
            schema_tokens: 1,
            digest: Digest::of(name),
            since: None,
            definition: None,
            approved: None,
            approved_definition: None,
        };
        let told = |rows: &[ToolRow], prompts: &[&str]| {
            let prompts: Vec<String> = prompts.iter().map(ToString::to_string).collect();
            let it = judged(rows, &prompts);
            (it.status, it.reason, it.message)
        };
        let ok = row("a", ToolState::Ok);
        let hidden = row("h", ToolState::Hidden);
        assert_eq!(
            told(&[ok.clone(), hidden.clone()], &[]),
            (Truth::True, "AsKnown".into(), "1 tool".into())
        );
        let (status, reason, message) = told(
            &[
                ok,
                hidden,
                row("s", ToolState::Stale),
                row("c", ToolState::Changed),
                row("b", ToolState::HeldNew),
                row("x", ToolState::Clash),
                row("x", ToolState::Clash),
            ],
            &["p"],
        );
        assert_eq!((status, reason.as_str()), (Truth::False, "Clash"));
        assert_eq!(
            message,
            "two servers have the name, so none of them is shown: x, p; waits for approval (mcpctl approve tool): b; \
             is not as it was first seen (mcpctl describe tool): c; is what was known last, its server does not answer: s"
        );
    }
}

//! What each route needs: the one table behind the choke point. A route that is not in it does not exist.

use axum::http::{Method, Uri};

use crate::access::Action;
use crate::kit::Name;
use crate::repo::{GIT_PATH, Operation};
use crate::resource::{Declared, Id, KINDS, Kind, Project, Scope, Server, kind_named};

use super::{logs, webhook};

/// Below it are the resources whose names count in a project.
const PROJECTS: &str = Project::PLURAL;

/// What a request needs before its handler runs.
#[derive(Debug, Clone)]
pub(super) enum Need {
    /// Nothing: anybody may ask.
    Open,
    /// A right.
    Right(Action),
    /// Somebody known; the handler decides for each thing that the body names.
    ByBody,
}

/// The need of a request; nothing where there is no such route.
pub(super) fn need(method: &Method, uri: &Uri) -> Option<Need> {
    let path = uri.path();
    if path.starts_with(GIT_PATH) {
        return Some(Need::Right(match Operation::of(method, uri)? {
            Operation::Fetch => Action::Fetch,
            Operation::Push => Action::Push,
        }));
    }
    if path == webhook::PATH {
        // Its handler knows the sender by a signature over the body.
        return (method == Method::POST).then_some(Need::Open);
    }
    let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    match (method.as_str(), parts.as_slice()) {
        ("GET" | "HEAD", ["healthz" | "readyz"]) => Some(Need::Open),
        // It names projects, servers and tools, as the status does.
        ("GET" | "HEAD", ["metrics"]) => Some(Need::Right(Action::ViewStatus)),
        ("GET" | "POST" | "DELETE", ["projects", project, "mcp"] | ["projects", project, "servers", _, "mcp"]) => {
            run::<Project>(project)
        }
        ("GET" | "POST" | "DELETE", ["servers", server, "mcp"]) => run::<Server>(server),
        // What a secret is, who may change it may see.
        ("GET", ["api", "v1", plural, name]) if reveals(uri) => {
            let kind = of_plural(plural).filter(|kind| !kind.scoped)?;
            Some(Need::Right(Action::Edit(Id::new(kind, name.parse().ok()?))))
        }
        (method, ["api", "v1", rest @ ..]) => api(method, rest),
        _ => None,
    }
}

/// Whether values in the clear are asked for.
fn reveals(uri: &Uri) -> bool {
    let parts = uri.query().unwrap_or_default().split('&');
    // What is escaped may spell it too, and nothing else that a look asks for needs an escape.
    parts
        .map(|part| part.split('=').next().unwrap_or_default())
        .any(|key| key == "reveal" || key.contains(['%', '+']))
}

fn run<K: Declared>(name: &str) -> Option<Need> {
    Some(Need::Right(Action::Run(Id::new(
        kind_named(K::NAME)?,
        name.parse().ok()?,
    ))))
}

fn api(method: &str, path: &[&str]) -> Option<Need> {
    let right = |action| Some(Need::Right(action));
    match (method, path) {
        (
            "GET",
            ["status" | "instances" | "conflicts" | "events" | "revisions" | "runs" | "tools" | "diff"]
            | ["runs", _]
            | ["backup", "status" | "log" | "key"],
        ) => right(Action::ViewStatus),
        // The identity opens every secret; and who may read the digest of the state might try values against it.
        ("GET", ["audit", "events"] | ["restore", "verify"]) | ("POST", ["backup", "identity"]) => {
            right(Action::ViewAudit)
        }
        ("GET", ["instances", server, index, "logs"]) => {
            logs::instance(server, index)?;
            right(Action::ViewLogs)
        }
        ("POST", ["sync"]) => right(Action::Sync),
        // An approval stands in the settings of the repository.
        ("POST", ["tools", "approve"]) => right(Action::Configure),
        ("POST", ["repo", "scrub"]) => right(Action::Rewrite),
        ("GET", ["restore", "list" | "diff"]) | ("POST", ["restore", "to"]) => right(Action::Restore),
        ("POST", ["apply"]) => Some(Need::ByBody),
        // What it needs is said by what the revision changed.
        ("POST", ["revisions", revision, "undo"]) => revision.parse::<u64>().ok().map(|_| Need::ByBody),
        ("POST", ["conflicts", id @ .., "accept"]) => right(Action::Edit(id.join("/").parse().ok()?)),
        (_, [plural]) => list(method, of_plural(plural)?),
        (_, [plural, name]) => one(method, Id::new(of_plural(plural)?, name.parse().ok()?)),
        (_, [PROJECTS, project, plural]) => {
            project.parse::<Name>().ok()?;
            list(method, of_plural(plural).filter(|kind| kind.scoped)?)
        }
        (_, [PROJECTS, project, plural, name]) => {
            let kind = of_plural(plural).filter(|kind| kind.scoped)?;
            one(
                method,
                Id::scoped(kind, Scope::Project(project.parse().ok()?), name.parse().ok()?),
            )
        }
        _ => None,
    }
}

/// The resources of a kind.
fn list(method: &str, kind: &'static Kind) -> Option<Need> {
    match method {
        "GET" => Some(Need::Right(Action::View(kind))),
        "POST" => Some(Need::ByBody),
        _ => None,
    }
}

/// One resource.
fn one(method: &str, id: Id) -> Option<Need> {
    Some(Need::Right(match method {
        "GET" => Action::View(id.kind()),
        "PUT" | "PATCH" => Action::Edit(id),
        "DELETE" => Action::Delete(id),
        _ => return None,
    }))
}

/// Routes name kinds by their plural alone.
fn of_plural(word: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.plural == word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Principal, decide};

    /// Pitfall: route permissions that drift. The table is walked route by route: who is let in, and by which right.
    #[test]
    fn every_route_has_its_need() {
        let shown = |line: &str| {
            let (method, uri) = line.split_once(' ').expect("method and path");
            match need(&method.parse().expect("a method"), &uri.parse().expect("a path")) {
                None => "not there".to_owned(),
                Some(Need::Open) => "open".to_owned(),
                Some(Need::ByBody) => "by body".to_owned(),
                Some(Need::Right(action)) => {
                    // Deny is the default: nobody gets anything without a credential.
                    assert!(decide(&Principal::Anonymous, &action).is_err(), "{line}");
                    action.to_string()
                }
            }
        };
        for (line, want) in [
            ("GET /healthz", "open"),
            ("GET /readyz", "open"),
            ("POST /healthz", "not there"),
            ("GET /metrics", "view *"),
            ("POST /metrics", "not there"),
            ("GET /metrics/", "not there"),
            ("GET /git/config.git/info/refs?service=git-upload-pack", "view *"),
            (
                "GET /git/config.git/info/refs?service=git-receive-pack",
                "create, edit or delete",
            ),
            ("POST /git/config.git/git-receive-pack", "create, edit or delete"),
            ("GET /git/config.git/HEAD", "not there"),
            ("GET /git/config.git/../config.git/HEAD", "not there"),
            ("POST /git/webhook", "open"),
            ("GET /git/webhook", "not there"),
            ("POST /git/webhook/", "not there"),
            ("POST /projects/demo/mcp", "run projects/demo"),
            ("POST /projects/demo/servers/time/mcp", "run projects/demo"),
            ("DELETE /servers/time/mcp", "run servers/time"),
            ("POST /servers/UPPER/mcp", "not there"),
            ("PUT /projects/demo/mcp", "not there"),
            ("GET /api/v1/status", "view *"),
            ("GET /api/v1/diff", "view *"),
            ("GET /api/v1/instances", "view *"),
            ("GET /api/v1/runs", "view *"),
            ("GET /api/v1/runs/7", "view *"),
            ("GET /api/v1/tools?project=demo", "view *"),
            ("POST /api/v1/tools", "not there"),
            ("POST /api/v1/tools/approve", "edit *"),
            ("GET /api/v1/tools/approve", "not there"),
            ("POST /api/v1/runs", "not there"),
            ("DELETE /api/v1/runs/7", "not there"),
            ("GET /api/v1/runs/7/x", "not there"),
            ("GET /api/v1/instances/time/0/logs?follow=true", "run logs"),
            ("POST /api/v1/instances/time/0/logs", "not there"),
            ("GET /api/v1/instances/time/0", "not there"),
            ("GET /api/v1/instances/time/logs", "not there"),
            ("GET /api/v1/instances/time/x/logs", "not there"),
            ("GET /api/v1/instances/../0/logs", "not there"),
            ("GET /api/v1/instances/a%2Fb/0/logs", "not there"),
            ("GET /api/v1/instances/time/0/logs/", "not there"),
            ("GET /api/v1/audit/events", "edit *"),
            ("POST /api/v1/sync", "run sync"),
            ("POST /api/v1/apply?dryRun=true", "by body"),
            ("POST /api/v1/revisions/17/undo?dryRun=true", "by body"),
            ("POST /api/v1/revisions/x/undo", "not there"),
            ("GET /api/v1/revisions/17/undo", "not there"),
            ("POST /api/v1/conflicts/server/web/accept", "edit servers/web"),
            ("GET /api/v1/servers", "view servers"),
            ("POST /api/v1/servers", "by body"),
            ("GET /api/v1/servers/time", "view servers"),
            ("PUT /api/v1/servers/time", "edit servers/time"),
            ("PATCH /api/v1/projects/demo", "edit projects/demo"),
            ("DELETE /api/v1/servers/time", "delete servers/time"),
            ("DELETE /api/v1/servers", "not there"),
            ("GET /api/v1/prompts", "view prompts"),
            ("POST /api/v1/prompts", "by body"),
            ("GET /api/v1/prompts/old", "view prompts"),
            ("DELETE /api/v1/prompts/old", "delete prompts/old"),
            ("GET /api/v1/projects/ops/prompts", "view prompts"),
            ("POST /api/v1/projects/ops/prompts", "by body"),
            ("DELETE /api/v1/projects/ops/prompts", "not there"),
            ("GET /api/v1/projects/ops/prompts/old", "view prompts"),
            ("PUT /api/v1/projects/ops/prompts/old", "edit prompts/old"),
            ("PATCH /api/v1/projects/ops/prompts/old", "edit prompts/old"),
            ("DELETE /api/v1/projects/ops/prompts/old", "delete prompts/old"),
            ("POST /api/v1/projects/ops/prompts/old", "not there"),
            ("GET /api/v1/projects/OPS/prompts", "not there"),
            ("GET /api/v1/projects/ops/servers", "not there"),
            ("GET /api/v1/projects/ops/servers/time", "not there"),
            ("GET /api/v1/servers/time/prompts", "not there"),
            ("PUT /api/v1/templates/time", "edit templates/time"),
            ("POST /api/v1/conflicts/prompt/ops/old/accept", "edit prompts/old"),
            ("GET /api/v1/server", "not there"),
            ("GET /api/v1/secrets", "view secrets"),
            ("GET /api/v1/nonsense", "not there"),
            ("GET /api/v1/servers/time/", "not there"),
            ("GET /api/v1/secrets/keys", "view secrets"),
            ("GET /api/v1/secrets/keys?reveal=true", "edit secrets/keys"),
            ("GET /api/v1/secrets/keys?x=1&reveal=1", "edit secrets/keys"),
            ("GET /api/v1/secrets/keys?%72eveal=true", "edit secrets/keys"),
            ("GET /api/v1/backup/status", "view *"),
            ("GET /api/v1/backup/log", "view *"),
            ("GET /api/v1/backup/key", "view *"),
            ("GET /api/v1/backup/identity", "not there"),
            ("POST /api/v1/backup/identity", "edit *"),
            ("GET /api/v1/restore/verify", "edit *"),
            ("POST /api/v1/repo/scrub?dryRun=true", "edit *"),
            ("GET /api/v1/repo/scrub", "not there"),
            ("GET /api/v1/restore/list", "run restore"),
            ("GET /api/v1/restore/diff?commit=HEAD~1", "run restore"),
            ("POST /api/v1/restore/to?commit=HEAD~1", "run restore"),
            ("GET /api/v1/restore/to?commit=HEAD~1", "not there"),
            ("GET /api/v1", "not there"),
            ("GET /", "not there"),
        ] {
            assert_eq!(shown(line), want, "{line}");
        }
    }
}

//! The body of a request: read within bounds, and turned into what its sender wants declared.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::StatusCode;
use serde_json::value::RawValue;

use crate::engine::{Only, Wanted};
use crate::kit::{Diagnostic, Position};
use crate::resource::{Declared as _, FileText, Id, Kind, Problem, Secret, yaml};

use super::{ApiError, LARGEST_BODY};

/// The name that diagnostics give to a body.
const REQUEST: &str = "<body>";
/// The longest that a body may take to arrive.
const SLOWEST: Duration = Duration::from_mins(1);

/// The body of a request, bounded.
pub(super) async fn read(request: Body) -> Result<Vec<u8>, ApiError> {
    Ok(read_at_most(request, LARGEST_BODY, SLOWEST).await?.into())
}

/// A body is over `most` bytes.
pub(super) fn too_large(most: usize) -> ApiError {
    let text = format!("the body has more than {} MiB", most >> 20);
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text)
}

/// The body of a request of at most `most` bytes, if it has arrived within `slowest`.
pub(super) async fn read_at_most(request: Body, most: usize, slowest: Duration) -> Result<Bytes, ApiError> {
    let read = tokio::time::timeout(slowest, to_bytes(request, most)).await;
    match read.map_err(|_| {
        ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "too_slow",
            "the body did not arrive in time",
        )
    })? {
        Ok(bytes) => Ok(bytes),
        Err(error) => {
            let over = std::error::Error::source(&error)
                .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>);
            Err(if over {
                too_large(most)
            } else {
                ApiError::bad_request("the body did not arrive whole")
            })
        }
    }
}

/// The one document of a body.
pub(super) fn one(bytes: &[u8], only: Only) -> Result<Wanted, ApiError> {
    let mut all = documents(bytes, only)?;
    match all.len() {
        1 => Ok(all.remove(0)),
        n => Err(
            ApiError::bad_request(format!("one document is expected, and there are {n}"))
                .hint("send several to /api/v1/apply"),
        ),
    }
}

/// The documents of a body (YAML, JSON, or a JSON array of documents), each with its place in it.
pub(super) fn documents(bytes: &[u8], only: Only) -> Result<Vec<Wanted>, ApiError> {
    let mut files = vec![];
    if bytes.trim_ascii_start().starts_with(b"[") {
        let items: Vec<&RawValue> = serde_json::from_slice(bytes)
            .map_err(|error| ApiError::bad_request(format!("the body is no JSON array: {error}")))?;
        for (n, item) in items.iter().enumerate() {
            files.push(FileText {
                path: format!("<body>[{n}]"),
                bytes: Ok(item.get().as_bytes().to_vec()),
            });
        }
    } else {
        files.push(FileText {
            path: REQUEST.to_owned(),
            bytes: Ok(bytes.to_vec()),
        });
    }
    let mut all: BTreeMap<Id, Wanted> = BTreeMap::new();
    let mut faults = vec![];
    for file in &files {
        let parsed = yaml::read_body(file, LARGEST_BODY);
        faults.extend(parsed.diagnostics);
        for parsed in parsed.documents {
            let id = parsed.placed.document.id.clone();
            let source = parsed.name_at.diagnostic(&file.path, "");
            match all.entry(id.clone()) {
                Entry::Vacant(place) => {
                    let after = Some(parsed.placed.document.clone());
                    place.insert(Wanted {
                        id,
                        after,
                        only,
                        source: Some(source),
                    });
                }
                Entry::Occupied(first) => {
                    let note = first
                        .get()
                        .source
                        .as_ref()
                        .map(|first| format!("{}: the other place", first.place()));
                    faults.push(Diagnostic {
                        message: format!("{id} is declared twice"),
                        note,
                        ..source
                    });
                }
            }
        }
    }
    // Identities sort in apply order.
    if faults.is_empty() {
        Ok(all.into_values().collect())
    } else {
        Err(ApiError::invalid(faults))
    }
}

/// The problems of a patched document, each at the patch's own key where the patch names the field.
pub(super) fn diagnostics(kind: &Kind, patch: &[u8], problems: Vec<Problem>) -> Vec<Diagnostic> {
    let text = String::from_utf8_lossy(patch);
    let one = |problem: Problem| {
        let field = problem.path.split(['.', '[']).next().unwrap_or_default().to_owned();
        let key = format!("\"{field}\"");
        let diagnostic = match text.find(&key).filter(|_| !field.is_empty()) {
            Some(at) => {
                let before = &text[..at];
                let line = u32::try_from(before.matches('\n').count() + 1).unwrap_or(u32::MAX);
                let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
                let position = Position {
                    line,
                    column: u32::try_from(column).unwrap_or(u32::MAX),
                };
                Diagnostic::at(REQUEST, &text, position, key.chars().count(), problem.message)
            }
            None => Diagnostic {
                line: 1,
                column: 1,
                ..Diagnostic::of_file(REQUEST, problem.message)
            },
        };
        match problem.hint {
            Some(hint) => diagnostic.hint(hint),
            None => diagnostic,
        }
    };
    let mut diagnostics: Vec<Diagnostic> = problems.into_iter().map(one).collect();
    if kind.name == Secret::NAME {
        diagnostics.iter_mut().for_each(yaml::withhold);
    }
    diagnostics
}

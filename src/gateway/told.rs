//! What the endpoints show of tools, and what they hide and why: for people, not for clients.

use std::sync::Arc;

use crate::kit::{Digest, Name};
use crate::mcp::lists::Kind;
use crate::record::tokens_of;

use super::lock::Verdict;
use super::{Endpoint, Gateway};

/// A tool at an endpoint, shown or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldTool {
    /// Its server.
    pub server: Name,
    /// The server's own name for it.
    pub own: String,
    /// The name that is shown, or would be.
    pub shown: String,
    /// What became of it.
    pub verdict: Verdict,
    /// Whether it is what was known last, because its server can't be asked now.
    pub stale: bool,
    /// The digest of what it promises.
    pub digest: Digest,
    /// What it promises, as JSON.
    pub definition: Arc<str>,
    /// About how many tokens a model pays for it as it is listed.
    pub tokens: usize,
}

impl Gateway {
    /// The tools of an endpoint, in the order in which they are listed; nothing where there is no such endpoint.
    #[must_use]
    pub fn tools(&self, endpoint: &Endpoint) -> Option<Vec<ToldTool>> {
        let view = Arc::clone(&self.0.view.borrow());
        let table = view.tables(endpoint).ok()?.of(Kind::Tools);
        let tools = table.entries().filter_map(|(part, entry, verdict)| {
            let definition = entry.definition.as_ref()?;
            let shown = table.shown(&part.server, &entry.key);
            Some(ToldTool {
                server: part.server.clone(),
                own: entry.key.clone(),
                verdict,
                stale: part.stale,
                digest: definition.digest,
                definition: Arc::clone(&definition.text),
                tokens: tokens_of(entry.text.len() - entry.own_key().len() + shown.len() + 2),
                shown,
            })
        });
        Some(tools.collect())
    }

    /// The names of prompts that two servers of a project have, so that neither is shown, in order.
    #[must_use]
    pub fn clashing_prompts(&self, project: &Name) -> Vec<String> {
        let view = Arc::clone(&self.0.view.borrow());
        let Ok(tables) = view.tables(&Endpoint::Project(project.clone())) else {
            return vec![];
        };
        let table = tables.of(Kind::Prompts);
        let clashes = table.entries().filter(|(.., verdict)| *verdict == Verdict::Clash);
        let mut names: Vec<String> = clashes
            .map(|(part, entry, _)| table.shown(&part.server, &entry.key))
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

//! `mcpctl apply`.

use std::path::PathBuf;

use clap::Args;
use reqwest::Method;

use crate::wire::PlanBody;

use super::client::{Client, Sending};
use super::error::Failure;
use super::input::Input;
use super::{Outcome, Session, help, plan, wait};

/// The content type of YAML.
const YAML: &str = "application/yaml";

/// Make declarations so
///
/// Everything that is given is one change: all of it or nothing, one revision, one commit. What is there and equal stays
/// untouched; what is there and not given stays as well. The answer has a line per resource: + is new, ~ changes, ! is a
/// conflict in which the store's value was kept.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpctl apply -f servers/time.yaml
  mcpctl apply -f servers -f projects --dry-run
  mcpctl get server time -o yaml | mcpctl apply -f -
  mcpctl apply -f . --wait 120

Exit code 3: it was applied, but there is a conflict, or (with --wait) not all is well in the end.")]
pub(super) struct Apply {
    /// A file, a folder (read with its subfolders), or - for stdin; may be repeated
    #[arg(short, long = "file", value_name = "FILE|DIR|-", required = true)]
    files: Vec<PathBuf>,
    /// Show what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Wait until all is well, 60 seconds if no number is given
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60", value_parser = wait::seconds)]
    #[arg(conflicts_with = "dry_run")]
    wait: Option<u64>,
}

impl Apply {
    pub(super) async fn run(self, session: &Session) -> Result<Outcome, Failure> {
        let form = session.form(help::CHANGE)?;
        let input = Input::read(&session.around.folder, &self.files)?;
        let client = session.client()?;
        let answer = send(&client, &input, self.dry_run).await?;
        let outcome = plan::show(session, &answer, self.dry_run, form)?;
        wait::afterwards(session, &client, self.wait, outcome).await
    }
}

/// Sends declarations as one request; what mcpd says of it points at the files.
pub(super) async fn send(client: &Client, input: &Input, dry_run: bool) -> Result<PlanBody, Failure> {
    let sending = Sending {
        body: Some((YAML, input.text.clone())),
        ..Sending::default()
    };
    let path = format!("/apply?dryRun={dry_run}");
    let mut plan: PlanBody = client
        .call(Method::POST, &path, &sending)
        .await
        .map_err(|failure| input.localised(failure))?;
    input.localise(&mut plan.diagnostics);
    for step in &mut plan.steps {
        step.source = input.place(&step.source);
    }
    Ok(plan)
}

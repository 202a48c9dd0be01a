//! The answer of a change, in the words of a push.

use crate::wire::PlanBody;
use crate::wire::words::{conflict, containers, counts, plain};

use super::error::Failure;
use super::{Outcome, Output, Session, shown};

/// Shows what a change did (or would do), and says whether something remains.
pub(super) fn show(session: &Session, plan: &PlanBody, dry_run: bool, form: Output) -> Result<Outcome, Failure> {
    let terminal = &session.terminal;
    match form {
        Output::Json => terminal.line(&shown::json(plan))?,
        Output::Name => plan
            .steps
            .iter()
            .try_for_each(|step| terminal.line(&plain(&step.resource)))?,
        _ => {
            terminal.plan(&lines(plan))?;
            terminal.diagnostics(&plan.diagnostics);
            terminal.line(&match (dry_run, plan.steps.is_empty()) {
                (true, _) => "dry run: nothing was changed".to_owned(),
                (false, true) => format!("nothing to change: revision {}", plan.revision),
                (false, false) => format!("applied: revision {}", plan.revision),
            })?;
        }
    }
    Ok(if plan.conflicts.is_empty() || dry_run {
        Outcome::Done
    } else {
        Outcome::Remains
    })
}

/// The plan's lines, but for the last, which says what became of it.
pub(super) fn lines(plan: &PlanBody) -> String {
    let mut lines = vec![format!("plan: {}", counts(plan))];
    lines.extend(plan.steps.iter().map(|step| format!("  {step}")));
    lines.extend(plan.conflicts.iter().map(|lost| format!("  {}", conflict(lost))));
    lines.extend(containers(&plan.containers));
    lines.join("\n")
}

//! What `undo` and `restore to` have in common: the plan is shown, a person agrees, and exactly that plan is made so.

use std::io::{BufRead as _, IsTerminal as _};

use clap::Args;

use crate::wire::words::plain;
use crate::wire::{PastPlan, PlanBody};

use super::error::Failure;
use super::{Outcome, Output, Session, plan, shown};

/// The longest answer that is read, in bytes.
const ANSWER: u64 = 100;

/// What going back takes.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct Going {
    /// Show what would happen, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Don't ask; needed where nobody can be asked
    #[arg(long, short)]
    pub yes: bool,
    /// Let old values of secrets be in force again
    #[arg(long)]
    pub with_credentials: bool,
    /// Let most of what is declared go
    #[arg(long)]
    pub allow_mass_delete: bool,
}

impl Going {
    fn said(&self, dry_run: bool) -> String {
        let mut said = format!("dryRun={dry_run}");
        if self.with_credentials {
            said.push_str("&withCredentials=true");
        }
        if self.allow_mass_delete {
            said.push_str("&allowMassDelete=true");
        }
        said
    }
}

/// Asks for the plan, shows it, and has it made so. Whether something was changed stands beside the outcome.
///
/// `ask` sends a request with these words in its query; `before` shows what belongs above the plan.
pub(super) async fn go(
    session: &Session,
    going: &Going,
    form: Output,
    question: &str,
    ask: impl AsyncFn(String) -> Result<PastPlan, Failure>,
    before: impl AsyncFn(&PastPlan) -> Result<(), Failure>,
) -> Result<(Outcome, bool), Failure> {
    let terminal = &session.terminal;
    let planned = ask(going.said(true)).await?;
    let silent = form != Output::Table;
    let nothing = planned.plan.steps.is_empty();
    if going.dry_run || nothing {
        if !silent {
            before(&planned).await?;
            credentials(session, &planned, going);
            guard(session, &planned, going);
        }
        if form == Output::Json {
            terminal.line(&shown::json(&planned))?;
            return Ok((Outcome::Done, false));
        }
        return Ok((plan::show(session, &planned.plan, going.dry_run, form)?, false));
    }
    if !silent {
        before(&planned).await?;
        terminal.plan(&plan::lines(&planned.plan))?;
        credentials(session, &planned, going);
    }
    if planned.guard.is_none() || going.allow_mass_delete {
        agree(session, going.yes, question)?;
    }
    // What is made is what was shown: another revision refuses it.
    let said = format!("{}&revision={}", going.said(false), planned.plan.revision);
    let done = ask(said).await?;
    match form {
        Output::Json => terminal.line(&shown::json(&done))?,
        Output::Name => drop(plan::show(session, &done.plan, false, form)?),
        _ => {
            if let Some(branch) = &done.timeline {
                terminal.line(&format!("what was before is branch {}", plain(branch)))?;
            }
            terminal.line(&applied(&done.plan))?;
        }
    }
    Ok((Outcome::Done, true))
}

fn applied(plan: &PlanBody) -> String {
    if plan.steps.is_empty() {
        format!("nothing to change: revision {}", plan.revision)
    } else {
        format!("applied: revision {}", plan.revision)
    }
}

/// Says what becomes of secrets.
pub(super) fn credentials(session: &Session, plan: &PastPlan, going: &Going) {
    let terminal = &session.terminal;
    for secret in &plan.revives {
        terminal.say(&format!("warning: {} comes back with its old values", plain(secret)));
    }
    for kept in &plan.kept {
        terminal.say(&format!("note: {} {}", plain(&kept.resource), plain(&kept.why)));
    }
    if !plan.kept.is_empty() && !going.with_credentials {
        terminal.say("hint: --with-credentials brings the old values of secrets back");
    }
}

/// Says what a person has to say more.
fn guard(session: &Session, plan: &PastPlan, going: &Going) {
    if let Some(why) = plan.guard.as_ref().filter(|_| !going.allow_mass_delete) {
        session
            .terminal
            .say(&format!("refused without more words: {}", plain(why)));
        session.terminal.say("hint: if this is meant: --allow-mass-delete");
    }
}

/// Asks a person; where nobody can be asked, `--yes` has to be there.
pub(super) fn agree(session: &Session, yes: bool, question: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let input = std::io::stdin();
    if !input.is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Failure::Given {
            message: "nobody can be asked here whether this is meant; nothing was changed".to_owned(),
            hint: Some("--yes says that it is, --dry-run only shows the plan".to_owned()),
        });
    }
    session.terminal.say(&format!("{question} [y/N]"));
    let mut answer = String::new();
    let read = std::io::Read::take(input.lock(), ANSWER).read_line(&mut answer);
    match read {
        Ok(_) if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") => Ok(()),
        _ => Err(Failure::Given {
            message: "not agreed to; nothing was changed".to_owned(),
            hint: None,
        }),
    }
}

//! Plans as bodies of answers.

use std::sync::Arc;

use crate::kit::Diagnostic;
use crate::reconcile::{agree, converge};
use crate::resource::{Document, Id, field_changes};
use crate::wire::{ContainerStep, Op, PlanBody, Step};

/// A plan of both reconciliations as it crosses the wire.
pub(super) fn body(
    agree: &agree::Plan,
    running: &converge::Plan,
    diagnostics: Vec<Diagnostic>,
    revision: u64,
) -> PlanBody {
    let op = |op| match op {
        agree::ShownOp::Create => Op::Create,
        agree::ShownOp::Change => Op::Change,
        agree::ShownOp::Delete => Op::Delete,
    };
    let steps = agree.shown.iter().map(|shown| Step {
        op: op(shown.op),
        resource: shown.id.to_string(),
        fields: shown.fields(),
        source: shown.source.clone().unwrap_or_else(|| "store".to_owned()),
    });
    PlanBody {
        revision,
        steps: steps.collect(),
        containers: containers(running),
        conflicts: agree.conflicts.clone(),
        diagnostics,
        unchanged: agree.unchanged,
    }
}

/// What happens to what runs.
pub(super) fn containers(running: &converge::Plan) -> Vec<ContainerStep> {
    let op = |operation| match operation {
        converge::Operation::Start => "start",
        converge::Operation::Replace => "replace",
        converge::Operation::Stop => "stop",
    };
    let step = |change: &converge::Change| ContainerStep {
        op: op(change.operation).to_owned(),
        instance: change.instance.to_string(),
        reason: change.reason.clone(),
    };
    running.changes.iter().map(step).collect()
}

/// One resource's change as a step; nothing where nothing changes.
pub(super) fn step(id: &Id, from: Option<&Arc<Document>>, to: Option<&Arc<Document>>, source: &str) -> Option<Step> {
    let op = match (from, to) {
        (None, None) => return None,
        (None, Some(_)) => Op::Create,
        (Some(_), None) => Op::Delete,
        (Some(a), Some(b)) if a == b => return None,
        (Some(_), Some(_)) => Op::Change,
    };
    let fields = field_changes(from.map(AsRef::as_ref), to.map(AsRef::as_ref));
    Some(Step {
        op,
        resource: id.to_string(),
        fields,
        source: source.to_owned(),
    })
}

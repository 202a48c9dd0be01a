//! Performing the plan of `converge`: one task a step, one step an instance at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::reconcile::converge::{Desired, Outcome, Step, spec_mark};
use crate::record::{InstanceName, Life};
use crate::runtime::StartOrder;

use super::{Inner, lock};

/// How long a server may take to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// A step that is over.
pub(super) struct Finished {
    pub(super) instance: InstanceName,
    pub(super) outcome: Option<Outcome>,
}

/// The instances with a step under way, and the life that it ends, where it ends one.
pub(super) type Busy = BTreeMap<InstanceName, Option<Life>>;

/// Starts the steps whose instances have none under way. What was not started is not remembered as given either, unless
/// it is what is under way.
pub(super) fn perform(inner: &Arc<Inner>, steps: Vec<Step>, busy: &mut Busy, done: &mpsc::UnboundedSender<Finished>) {
    for step in steps {
        let instance = step.instance().clone();
        let ends = step.ends().cloned();
        if let Some(under_way) = busy.get(&instance) {
            if *under_way != ends {
                lock(&inner.memory).not_given(&step);
            }
        } else {
            busy.insert(instance.clone(), ends);
            let (inner, done) = (Arc::clone(inner), done.clone());
            tokio::spawn(async move {
                let outcome = inner.step(step).await;
                // The loop is gone only when mcpd stops, and then nobody asks.
                let _ = done.send(Finished { instance, outcome });
            });
        }
    }
}

impl Inner {
    async fn step(&self, step: Step) -> Option<Outcome> {
        let runtime = &self.parts.runtime;
        match step {
            Step::Start { instance, server, .. } => {
                let salt = salt();
                let desired = Desired {
                    instance: instance.clone(),
                    server: Arc::clone(&server),
                    blocked: None,
                };
                let spec = spec_mark(&salt, &desired);
                let order = StartOrder {
                    instance: instance.clone(),
                    spec,
                    server: Arc::clone(&server),
                };
                Some(match runtime.start(order).await {
                    Ok(life) => Outcome::Started { instance, life, server },
                    Err(error) if error.is_refusal() => Outcome::StartRefused { instance },
                    Err(error) => Outcome::StartFailed {
                        instance,
                        server,
                        reason: error.to_string(),
                    },
                })
            }
            Step::Stop { instance, life, .. } | Step::Clear { instance, life } => {
                match runtime.stop(&life, GRACE).await {
                    Ok(()) => None,
                    Err(error) => Some(Outcome::StopFailed {
                        instance,
                        life,
                        reason: error.to_string(),
                    }),
                }
            }
        }
    }
}

/// Eight random bytes in hex. Without randomness the salt is a constant: the mark still tells specs apart.
fn salt() -> String {
    let mut bytes = [0; 8];
    if getrandom::fill(&mut bytes).is_err() {
        tracing::warn!("the system has no randomness: marks of specs are not salted");
    }
    format!("{:016x}", u64::from_be_bytes(bytes))
}

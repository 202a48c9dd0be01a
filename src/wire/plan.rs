//! A plan as it crosses the wire: the answer of `POST /api/v1/apply` and `GET /api/v1/diff`.

use serde::{Deserialize, Serialize};

use crate::kit::Diagnostic;
use crate::record::Conflict;
use crate::resource::FieldChange;

/// What would change, or has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanBody {
    /// The store's revision: after the change where it was made, else the one that was planned against.
    pub revision: u64,
    /// Changes to what is declared, in apply order.
    pub steps: Vec<Step>,
    /// What happens to containers (processes) because of them.
    pub containers: Vec<ContainerStep>,
    /// What lost against the store.
    pub conflicts: Vec<Conflict>,
    /// What is wrong; resources named here are held.
    pub diagnostics: Vec<Diagnostic>,
    /// How many resources stay as they are.
    pub unchanged: usize,
}

/// What happens to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// It is new.
    Create,
    /// Its fields change.
    Change,
    /// It goes.
    Delete,
}

/// One resource of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What happens to it.
    pub op: Op,
    /// Which resource, as `server/time`.
    pub resource: String,
    /// The fields that differ.
    pub fields: Vec<FieldChange>,
    /// Where the new value comes from: `servers/time.yaml:1@3fa2c1e`, or `store` where the repository is still to follow.
    pub source: String,
}

/// What happens to an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStep {
    /// `start`, `replace` or `stop`.
    pub op: String,
    /// Which instance, as `time/0`.
    pub instance: String,
    /// Why, as `new`, `env`, `not declared`.
    pub reason: String,
}

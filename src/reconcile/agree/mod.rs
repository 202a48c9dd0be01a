//! agree: repository and store, three-way, symmetric, merged by field; where both changed
//! the same, the store wins, and what lost is kept.
//!
//! [`decide`] is the table of docs/GITOPS.md for one resource; [`plan`] applies it to everything that was seen and
//! says what is to be done, as a value. The hostile world in `engine/tests/world` proves that performing it in any order
//! of crashes, failures and other people's edits loses no edit in silence.

mod decide;
mod guard;
mod held;
mod merge;
#[cfg(test)]
mod merge_tests;
mod order;
mod plan;
#[cfg(test)]
mod plan_tests;
mod standing;
mod step;
mod whole;
mod write;

pub use decide::{Base, Decision, RepositorySide, StoreSide, decide};
pub use guard::MassDelete;
pub use merge::{Ancestor, Merged, adopt, has, merge};
pub use plan::{Export, Plan, Recovery, Seen, Shown, ShownOp, plan};
#[cfg(test)]
pub use plan::{Rules, plan_with};
pub use standing::{Since, Standing};

//! agree: repository and store, three-way, symmetric, may conflict; the store wins, and what lost is kept.
//!
//! [`decide`] is the table of docs/GITOPS.md for one resource; [`plan`] applies it to everything that was seen and
//! says what is to be done, as a value. The hostile world in `world.rs` (tests) proves that performing it in any order
//! of crashes, failures and other people's edits loses no edit in silence.

mod decide;
mod guard;
mod held;
mod plan;
#[cfg(test)]
mod plan_tests;
#[cfg(test)]
mod world;

pub use decide::{Base, Decision, RepositorySide, StoreSide, decide};
pub use guard::MassDelete;
pub use plan::{Export, Plan, Recovery, Seen, Shown, ShownOp, plan};

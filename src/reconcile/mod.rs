//! Decisions: what to do about what was seen. Pure: no clock, no IO, no async.
//!
//! Two reconciliations, two names. [`agree`]: repository and store, three-way. [`converge`]: what was agreed against what
//! runs, two-way.

pub mod agree;
pub mod converge;

//! Decisions, pure: no clock, no IO, no async. What `converge` says is done to the world by other rooms.

pub mod converge;

//! mcpctl: GitOps for MCP servers. The rooms, from the ground up; `tests/tidy.rs` keeps their floors.

pub mod kit;

pub mod resource;

pub mod record;

pub mod reconcile;

pub mod runtime;

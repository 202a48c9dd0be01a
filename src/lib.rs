//! mcpctl: GitOps for MCP servers. The rooms, from the ground up; `tests/tidy.rs` keeps their floors.

pub mod kit;

pub mod resource;

pub mod record;

pub mod wire;

pub mod access;

pub mod settings;

pub mod store;

pub mod cli;

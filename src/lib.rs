//! mcpctl: GitOps for MCP servers. The rooms, from the ground up; `tests/tidy.rs` keeps their floors.

pub mod kit;

pub mod resource;

pub mod record;

pub mod access;
pub mod reconcile;

pub mod settings;
pub mod wire;

pub mod mcp;
pub mod repo;
pub mod runtime;
pub mod secret;
pub mod store;

pub mod engine;
pub mod gateway;

pub mod api;
pub mod cli;

//! Environment variables by which the processes of a cluster are found again when their mcpd was killed.

/// Which cluster a process belongs to.
pub(super) const CLUSTER: &str = "MCPCTL_CLUSTER";
/// Which instance it serves.
pub(super) const INSTANCE: &str = "MCPCTL_INSTANCE";
/// Which life it belongs to.
pub(super) const LIFE: &str = "MCPCTL_LIFE";
/// Set for a guard, and not for what it starts.
pub(super) const GUARD: &str = "MCPCTL_GUARD";

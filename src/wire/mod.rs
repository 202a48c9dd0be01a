//! What crosses a process boundary: the bodies of the HTTP API, as `api` writes and `cli` reads them.
//!
//! Unknown fields are passed over when reading, so that an older `mcpctl` can talk to a newer `mcpd`.

mod backup;
mod error;
mod merge;
mod past;
mod plan;
mod status;
mod tools;
pub mod words;

pub use backup::{BackupCommit, BackupStatus, KeyBody, RestoreState};
pub use error::ErrorBody;
pub use merge::merge_patch;
pub use past::{Kept, PastPlan, Point, ScrubBody, ScrubOrder};
pub use plan::{ContainerStep, Op, PlanBody, Step};
pub use status::{
    Condition, HeldResource, Item, ItemStatus, Listing, MemberStatus, Provenance, Rung, RuntimeStatus, SourceState,
    SourceStatus, Standing, StatusBody, SyncBody, Truth, Unclaimed,
};
pub use tools::{ApproveBody, ApproveOrder, ToolAsSeen, ToolRow, ToolState};

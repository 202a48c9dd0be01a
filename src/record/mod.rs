//! What the system writes down: values that cross rooms and processes but that nobody declares.

mod by_id;
mod conflict;
mod event;
mod instance;
mod log;
mod mutation;
mod run;
mod tools;
mod upstream;
mod view;
mod workload;

pub use by_id::ById;
pub use conflict::{Conflict, FieldPath};
pub use event::{AuditEvent, Decision, Event, Level};
pub use instance::{ChainLink, Ending, InstanceName, InstanceStatus, Life, Live, LiveState, State};
pub use log::{LogKind, LogLine};
pub use mutation::{
    Actor, Change, Edit, EditChange, Import, ImportChange, LedgerRow, Mutation, PendingExport, Rebase, Row, Settle,
};
pub use run::{Cause, Did, Run, RunState};
pub use tools::{Remembered, Sight, ToolMemory};
pub use upstream::{
    Capability, Counts, Demand, Era, FIRST_OF_SESSIONS, Fleet, FleetMember, Greeting, Handshake, MODERN, Routes,
    ToolSeen, Upstream, Upstreams, Verdict, tokens_of,
};
pub use view::StoreView;
pub use workload::Workload;

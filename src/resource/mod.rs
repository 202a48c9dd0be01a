//! What people declare: kinds, identity, validation, trees of files, YAML both ways. Pure values.
//!
//! A further kind is one file here and one row in [`KINDS`].

mod assembly;
mod builtin;
mod container;
mod document;
mod documents;
mod id;
mod kind;
mod project;
mod prompt;
mod schema;
mod secret;
mod server;
mod shape;
mod template;
mod tools_lock;
mod tree;
pub mod yaml;

pub use assembly::Assembly;
pub use builtin::{BUILT_IN, built_in};
pub use container::{Cpus, ImagePullPolicy, Network, Resources, Security, Transport, Volume, parse_memory};
pub use document::{Document, FieldChange, Problem, changes, field_changes};
pub use documents::Documents;
pub use id::{Id, NotAnId, Scope};
pub use kind::{Declared, KINDS, Kind, Reference, kind_named};
pub use project::{Project, ToolLock, ToolPrefix, ToolRules};
pub use prompt::{Link, Prompt};
pub use schema::any_document_schema;
pub use secret::{Opening, Secret, SecretValue, masked};
pub use server::{EnvironmentVariable, Isolation, PackageRuntime, SecretReference, Server, Source, Update, ValueFrom};
pub use shape::{API_VERSION, Field, Fields, SCOPE_FIELDS, Shape, TOP_LEVEL, Word};
pub use template::{Template, TemplateVariable};
pub use tools_lock::{TOOLS_LOCK, ToolsLock};
pub use tree::{FileText, Placed, Tree, Unreadable, broken_references};

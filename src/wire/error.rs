//! The one form of an error answer.

use serde::{Deserialize, Serialize};

use crate::kit::Diagnostic;

/// The body of every answer with a status of 400 or more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// A word for machines, as `not_found`, `conflict`, `invalid`, `denied`, `unavailable`.
    pub error: String,
    /// One line for people.
    pub detail: String,
    /// A way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What is wrong with what was sent, place by place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
}

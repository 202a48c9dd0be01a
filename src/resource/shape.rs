//! The fields of a kind and their types, read once from its JSON Schema: checks values, names unknown words.

use serde_json::Value;

use super::document::Problem;

/// What a value may look like.
#[derive(Debug, Clone)]
pub enum Shape {
    /// Anything.
    Any,
}

impl Shape {
    /// Reads the part of JSON Schema that schemars writes for our kinds.
    #[must_use]
    pub fn of_schema(_schema: &Value) -> Self {
        Self::Any
    }

    /// Everything that is wrong with a value.
    #[must_use]
    pub fn check(&self, _value: &Value) -> Vec<Problem> {
        vec![]
    }
}

//! The Docker runtime against a real engine. Where none answers the tests are skipped and say so; under CI they fail.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::needless_pass_by_value,
    clippy::similar_names,
    reason = "tests with an engine, processes and files; declarations are written where they are used, and a life is live"
)]

mod away;
mod bench;
mod isolation;
mod lives;
mod start;
mod streams;

//! The Docker runtime against a real engine. Where none answers the tests are skipped and say so; under CI they fail.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests with an engine, processes and files"
)]

mod away;
mod bench;
mod isolation;
mod lives;
mod start;
mod streams;

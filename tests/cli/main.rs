//! `mcpctl` as a program against a small mcpd made of canned answers: words, exit codes, what is sent and what is shown.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod answers;
mod changing;
mod creating;
mod kinds;
mod looking;
mod mcpd;
mod past;
mod reading;
mod usage;

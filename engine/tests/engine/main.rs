//! The engine through its public face, on directories. One program, so that it is compiled and linked once; `memory` is
//! alone in its own because its peak is that of a process.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod aside;
mod attributes;
mod compare;
mod crash;
mod documents;
mod golden;
mod increments;
mod keys;
mod lock;
mod opening;
mod part;
mod patches;
mod prune;
mod round_trip;
mod sealed;
mod store_probe;
mod store_retry;
mod support;
mod tamper;

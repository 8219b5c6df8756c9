//! Every decision of the controller, as pure total functions: observed state in, effects and status out.
//!
//! No client, no async code, no clock, no randomness: the time is part of what was observed. What is not decided here
//! is not decided at all.

pub mod audit;
pub mod backoff;
pub mod backup;
pub mod beyond;
pub mod coverage;
pub mod drill;
pub mod effect;
pub mod expression;
pub mod recovery;
pub mod repository;
pub mod request;
pub mod schedule;
pub mod size;
pub mod trust;
pub mod verification;
pub mod workload;

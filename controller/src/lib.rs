//! The controller: observe, plan, execute, report. `plan` decides; this crate reads the cluster, carries out what was
//! decided and writes it down. It holds no credential and no key of any repository, and reads no Secret.

pub mod accounts;
pub mod backup;
pub mod context;
pub mod controllers;
pub mod coverage;
pub mod drill;
pub mod error;
pub mod events;
pub mod execute;
mod fail_point;
pub mod health;
pub mod job;
pub mod lease;
pub mod metrics;
pub mod objects;
pub mod observe;
pub mod observe_job;
pub mod points;
pub mod repository;
pub mod run;
pub mod snapshots;
pub mod status;
mod workloads;

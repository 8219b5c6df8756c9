//! The words that Holdfast and its users share: the custom resources, and the contract between controller and mover.
//!
//! Types, schemas and pure accessors only. This crate refuses clients, clocks and async code: what decides lives in
//! `plan`, what acts in `controller` and `mover`.

// kube's printcolumn repeats its keys once a column.
#![allow(clippy::duplicated_attributes)]

pub mod condition;
pub mod cron;
pub mod drill;
pub mod duration;
pub mod generate;
pub mod job;
pub mod kpi;
pub mod names;
pub mod point;
pub mod policy;
pub mod reference;
pub mod repository;
pub mod retention;
pub mod run;

/// API group of every kind.
pub const GROUP: &str = "holdfast.dev";
/// Version of every kind.
pub const VERSION: &str = "v1alpha1";
/// Field manager of everything the controller applies.
pub const FIELD_MANAGER: &str = "holdfast-controller";

pub use drill::DrDrill;
pub use duration::Span;
pub use point::RecoveryPoint;
pub use policy::BackupPolicy;
pub use repository::RecoveryRepository;
pub use run::RecoveryRun;

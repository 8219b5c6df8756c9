//! Captures decided in a small cluster in memory: when they start, what becomes of them, what a policy says.

mod application;
mod emergency;
mod fresh;
mod hooks;
mod offline;
mod outcome;
mod parked;
mod points;
mod schedule;
mod series;
mod snapshot;
mod world;

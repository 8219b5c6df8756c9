//! Everything Holdfast knows about ChromaDB: how to read a live data directory without tearing it, what its files look
//! like inside, whether a copy is whole, what it contains, and how to talk to a server.
//!
//! It refuses to know about object storage and Kubernetes: it works on directories and on one HTTP address.

pub mod check;
pub mod client;
pub mod compare;
pub mod db;
pub mod files;
pub mod fingerprint;
pub mod guard;
pub mod hnsw;
pub mod layout;
pub mod pickle;
pub mod serve;
pub mod versions;

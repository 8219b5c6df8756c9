//! What tests that cross crates share: the real programs they run against. Nothing here stands in for a part that users
//! have.

pub mod apiserver;
pub mod broken_disk;
pub mod browser;
pub mod chroma_server;
pub mod controller;
pub mod desk;
pub mod files;
pub mod ports;
pub mod seaweedfs;
pub mod shell;
pub mod versitygw;
pub mod writer;

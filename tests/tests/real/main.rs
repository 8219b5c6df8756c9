//! What crosses crates: a real ChromaDB, real S3 servers, a real API server. One program, because linking costs more than most
//! of these tests and waiting more than that: several at a time share the servers and the two cores.

mod admission;
mod answers;
mod application;
mod arxiv;
mod bad_line;
mod chart;
mod chroma_capture;
mod chroma_check;
mod chroma_content;
mod chroma_lock;
mod chroma_serve;
mod cli_archives;
mod cli_bad_input;
mod cli_contract;
mod collect;
mod compiled_crates;
mod crds;
mod cut;
mod diagnose;
mod examples;
mod hooks;
mod incident_report;
mod isolation;
mod isolation_probe;
mod kept_report;
mod lock_phases;
mod maintenance;
mod mover_cli;
mod mover_jobs;
mod older_servers;
mod pod;
mod power_loss;
mod preserve;
mod recreate;
mod report_in_browser;
mod rival;
mod s3;
mod server_auth;
mod stand_alone_reader;
mod store_conformance;

mod store_lock;
mod store_s3;
mod turns;
mod volume_repository;

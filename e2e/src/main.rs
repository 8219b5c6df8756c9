//! The user's stories on a real cluster: a real ChromaDB, a real S3 server, the chart as users install it. Nothing here
//! stands in for a part that users have. Runs where the pods can be reached: e2e/run.sh sees to that.

#![allow(missing_docs, reason = "a program, not a library")]
#![allow(clippy::disallowed_methods, reason = "the stories' clock is the real one")]

mod arxiv;
mod bucket;
mod damage;
mod deaths;
mod demo;
mod drill;
mod enforcer;
mod evidence;
mod install;
mod leak;
mod manifests;
mod outage;
mod place;
mod program;
mod reach;
mod runner;
mod scholar;
mod service;
mod solo;
mod stage;
mod stories;
mod untouched;
mod wait;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use runner::Leave;

/// The user's stories on a real cluster.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Names the stories.
    List,
    /// Plays stories: those named, or all.
    Run {
        /// Names of stories.
        stories: Vec<String>,
        /// Say what happens while it happens.
        #[arg(long, short)]
        verbose: bool,
        /// Leave the installation in the cluster for the next run.
        #[arg(long)]
        keep_install: bool,
        /// Leave everything: the cluster is taken away afterwards.
        #[arg(long, conflicts_with = "keep_install")]
        passing_cluster: bool,
    },
    /// Protects, loses and recovers a real ChromaDB, telling the story.
    Demo {
        /// File of documents and their vectors, as e2e/demo/embed.py writes it.
        #[arg(long)]
        vectors: std::path::PathBuf,
        /// Leave everything: the cluster is taken away afterwards.
        #[arg(long)]
        passing_cluster: bool,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    // Whoever started this takes the cluster away: when they are killed, it ends, with what it started, as if told to.
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
    {
        eprintln!("e2e: it will not notice the death of what started it: {error}");
    }
    match play(Arguments::parse().command).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("e2e: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn play(command: Command) -> Result<bool> {
    match command {
        Command::List => {
            for story in stories::ALL {
                println!("{:<24} {}", story.name, story.promise);
            }
            Ok(true)
        }
        Command::Run { stories, verbose, keep_install, passing_cluster } => {
            let leave = match (keep_install, passing_cluster) {
                (_, true) => Leave::Everything,
                (true, false) => Leave::Installation,
                (false, false) => Leave::Nothing,
            };
            runner::run(&stories::chosen(&stories, place::is_existing())?, verbose, leave).await
        }
        Command::Demo { vectors, passing_cluster } => {
            let leave = if passing_cluster { Leave::Everything } else { Leave::Nothing };
            demo::run(&vectors, leave).await
        }
    }
}

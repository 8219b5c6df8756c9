//! The command line, for the day the cluster is gone. Each command answers on standard output, as a table for people or as
//! one line of JSON for scripts, and tells its progress on standard error. Passwords and credentials never come as
//! arguments.

mod audit;
mod backup;
mod check;
mod choose;
mod diff;
mod export;
mod hold;
mod import;
mod key;
mod keys;
mod lock;
mod lost;
mod member;
mod objects;
mod output;
mod pax;
mod points;
mod prune;
mod repo;
mod report;
mod restore;
mod review;
mod trust;
mod unpack;
mod verify;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use crds::job::FailureReason;
use crds::point::TrustWord;

use crate::environment::Environment;
use crate::exit::{self, Exit};
use crate::failure::{Failure, Result};
use crate::job::JobArgs;
use crate::telling::Telling;
use lock::LockArgs;
pub use output::Output;
use output::print_failure;

/// Captures and recovers ChromaDB volumes, with or without a cluster.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, after_help = exit::HELP, arg_required_else_help = true)]
pub struct Cli {
    /// How to print results: a table for people, or JSON as the last line of standard output
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make, look at or probe a repository; change its keys
    #[command(subcommand)]
    Repo(repo::RepoCommand),
    /// Capture a directory into a new point; a ChromaDB is captured live, its server may be running
    Backup(backup::BackupArgs),
    /// List the points
    Points(points::PointsArgs),
    /// Restore a point into a directory
    Restore(restore::RestoreArgs),
    /// Hold what lies in the repository against what the points say
    Verify(verify::VerifyArgs),
    /// Say what changed from one point to another
    Diff(diff::DiffArgs),
    /// Print the security audit of a breach, or say which records differ between two points
    Audit(audit::AuditArgs),
    /// Remove points by rules, and what nothing needs any more
    Prune(prune::PruneArgs),
    /// Hold a point: no rule and no cluster removes it
    Hold(hold::HoldArgs),
    /// Release a point that is on hold
    Release(hold::ReleaseArgs),
    /// Quarantine a point: nobody restores it and no rule removes it, here and in every cluster
    Quarantine(trust::TrustArgs),
    /// Lift the quarantine of a point that was looked at and found good
    Trust(trust::TrustArgs),
    /// Write a point as a tar archive to standard output
    Export(export::ExportArgs),
    /// Capture a tar archive from standard input into a new point
    Import(import::ImportArgs),
    /// Print the objects of a point, workloads, Services, ConfigMaps, Secrets, as a List for kubectl apply -f -
    Objects(objects::ObjectsArgs),
    /// Check a ChromaDB directory that no server has open, without changing it: its structure, whether a server serves it, whether
    /// it holds what a point holds
    Check(check::CheckArgs),
    /// Write the report of an incident, from the RecoveryRun that dealt with it or from the repository that keeps it
    Report(report::ReportArgs),
    /// Write the review of a month, a quarter or a year from the cluster's objects: backups, recoveries, tests, promises, coverage
    Review(review::ReviewArgs),
    /// Make keys
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Carry out the request of a Job of the controller
    #[command(hide = true)]
    Job(JobArgs),
}

/// Where the repository is and what opens it.
#[derive(Debug, clap::Args)]
pub struct RepositoryArgs {
    /// file:///path or s3://bucket/prefix; S3 by the usual AWS environment, AWS_ENDPOINT_URL included
    #[arg(long, value_name = "URL")]
    repo: String,
    /// File with the password; else HOLDFAST_PASSWORD
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl RepositoryArgs {
    async fn store(&self, environment: &Environment) -> Result<std::sync::Arc<dyn engine::store::Store>> {
        crate::access::store_at(&self.repo, environment, None).await
    }

    async fn locking_store(
        &self,
        environment: &Environment,
        lock: &LockArgs,
    ) -> Result<std::sync::Arc<dyn engine::store::Store>> {
        crate::access::store_at(&self.repo, environment, lock.lock(environment)?).await
    }

    async fn open_locking(&self, environment: &Environment, lock: &LockArgs) -> Result<engine::Repository> {
        let password = self.password(environment)?;
        Ok(engine::Repository::open(self.locking_store(environment, lock).await?, &password).await?)
    }

    fn password(&self, environment: &Environment) -> Result<engine::Password> {
        crate::access::given_key(self.password_file.as_deref(), environment)
    }

    async fn open(&self, environment: &Environment) -> Result<engine::Repository> {
        let password = self.password(environment)?;
        Ok(engine::Repository::open(self.store(environment).await?, &password).await?)
    }
}

/// Runs the command.
pub async fn run(cli: Cli, environment: Environment) -> Exit {
    let Cli { output, command } = cli;
    if let Command::Job(args) = command {
        return crate::job::run(args, environment).await;
    }
    let telling = Telling::new();
    let archives = match &command {
        Command::Export(_) | Command::Objects(_) => true,
        Command::Report(args) => args.prints(),
        Command::Review(args) => args.prints(),
        _ => false,
    };
    let done = tokio::select! {
        done = answer(command, output, &environment, &telling) => done,
        _ = tokio::signal::ctrl_c() => {
            telling.clear();
            eprintln!("interrupted; no point was made, a restore goes on with --onto-existing, and a prune by pruning again");
            return Exit::Interrupted;
        }
    };
    telling.clear();
    match done {
        Ok(exit) => exit,
        Err(failure) => {
            print_failure(output, &failure, archives);
            Exit::of(failure.reason)
        }
    }
}

async fn answer(
    command: Command,
    output: Output,
    environment: &Environment,
    telling: &Telling,
) -> Result<Exit> {
    match command {
        Command::Repo(command) => repo::run(command, output, environment).await,
        Command::Backup(args) => backup::run(args, output, environment, telling).await,
        Command::Points(args) => points::run(args, output, environment).await,
        Command::Restore(args) => restore::run(args, output, environment, telling).await,
        Command::Verify(args) => verify::run(args, output, environment, telling).await,
        Command::Diff(args) => diff::run(args, output, environment).await,
        Command::Audit(args) => audit::run(args, output, environment, telling).await,
        Command::Prune(args) => prune::run(args, output, environment, telling).await,
        Command::Hold(args) => hold::hold(args, output, environment).await,
        Command::Release(args) => hold::release(args, output, environment).await,
        Command::Quarantine(args) => trust::say(args, TrustWord::Quarantined, output, environment).await,
        Command::Trust(args) => trust::say(args, TrustWord::Trusted, output, environment).await,
        Command::Export(args) => export::run(args, output, environment, telling).await,
        Command::Import(args) => import::run(args, output, environment, telling).await,
        Command::Objects(args) => objects::run(args, environment).await,
        Command::Check(args) => check::run(args, output, environment, telling).await,
        Command::Report(args) => report::run(args, output, environment).await,
        Command::Review(args) => review::run(&args, output),
        Command::Key(command) => key::run(&command, output),
        Command::Job(_) => {
            Err(Failure::new(FailureReason::InvalidRequest, "`holdfast job` was handled before"))
        }
    }
}

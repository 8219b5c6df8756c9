//! `holdfast repo`: make, look at, probe, change keys.

use clap::Subcommand;
use crds::repository::SealMark;
use engine::store::{ConditionalWrites, LockFinding, ObjectLock, probe};
use engine::{FORMAT, Repository};
use jiff::Timestamp;
use serde::Serialize;

use super::keys::{self, NewKeyArgs, RemoveKeyArgs};
use super::output::row;
use super::trust::words;
use super::{LockArgs, Output, RepositoryArgs};
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::Result;
use crate::telling::bytes;

#[derive(Debug, Subcommand)]
pub enum RepoCommand {
    /// Make a repository in an empty place
    Init(RepositoryArgs),
    /// Say what a repository is and who can open it
    Info(RepositoryArgs),
    /// Find out what the store really does: conditional writes under a race, ranges, lists, locks. Needs no password
    Probe(ProbeArgs),
    /// Replace the key that is given by another; data isn't touched
    RotateKey(NewKeyArgs),
    /// Let another key open the repository too, such as one that is kept elsewhere
    AddKey(NewKeyArgs),
    /// Seal the repository: until it is unsealed nobody removes anything, changes a key or captures anything but evidence
    Seal(SealArgs),
    /// Unseal the repository
    Unseal(SealArgs),
    /// Take a key away; the last one and the one that is given stay
    RemoveKey(RemoveKeyArgs),
}

#[derive(Debug, clap::Args)]
pub struct SealArgs {
    #[command(flatten)]
    repository: RepositoryArgs,
    /// Who does it, for people: an address, an incident
    #[arg(long, value_name = "NAME", value_parser = words)]
    by: String,
    /// Why, for people
    #[arg(long, value_name = "TEXT", value_parser = words)]
    reason: String,
}

#[derive(Debug, clap::Args)]
pub struct ProbeArgs {
    #[command(flatten)]
    repository: RepositoryArgs,
    #[command(flatten)]
    lock: LockArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    repository: String,
    place: String,
    format: u32,
    key_fingerprint: String,
    points: u64,
    bytes: u64,
    object_lock: &'static str,
    /// Absent where it is not sealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    seal: Option<SealMark>,
    slots: Vec<Slot>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Slot {
    label: String,
    fingerprint: String,
    created: Timestamp,
}

pub async fn run(command: RepoCommand, output: Output, environment: &Environment) -> Result<Exit> {
    match command {
        RepoCommand::Init(args) => {
            let password = args.password(environment)?;
            let store = args.store(environment).await?;
            let repository = Repository::init(store, &password, (environment.clock)()).await?;
            show(&repository, output).await
        }
        RepoCommand::Info(args) => show(&args.open(environment).await?, output).await,
        RepoCommand::Probe(args) => look(&args, output, environment).await,
        RepoCommand::Seal(args) => seal(&args, true, output, environment).await,
        RepoCommand::Unseal(args) => seal(&args, false, output, environment).await,
        RepoCommand::RotateKey(args) => keys::rotate(&args, output, environment).await,
        RepoCommand::AddKey(args) => keys::add(&args, output, environment).await,
        RepoCommand::RemoveKey(args) => keys::remove(&args, output, environment).await,
    }
}

async fn seal(args: &SealArgs, sealed: bool, output: Output, environment: &Environment) -> Result<Exit> {
    let repository = args.repository.open(environment).await?;
    repository.set_seal(sealed, &args.by, &args.reason, (environment.clock)()).await?;
    show(&repository, output).await
}

async fn show(repository: &Repository, output: Output) -> Result<Exit> {
    let objects = repository.store().list("").await?;
    let slot = |s: engine::SlotInfo| Slot { label: s.label, fingerprint: s.fingerprint, created: s.created };
    let info = Info {
        repository: repository.id(),
        place: repository.place(),
        format: FORMAT,
        key_fingerprint: repository.fingerprint().to_owned(),
        points: objects.iter().filter(|o| o.name.starts_with("points/")).count() as u64,
        bytes: objects.iter().map(|o| o.size).sum(),
        object_lock: word_of(repository.store().object_lock().await?),
        seal: crate::seal::seal(repository).await?,
        slots: repository.slots().await?.into_iter().map(slot).collect(),
    };
    let mut rows = vec![
        row(["REPOSITORY", &info.repository]),
        row(["PLACE", &info.place]),
        row(["FORMAT", &info.format.to_string()]),
        row(["POINTS", &info.points.to_string()]),
        row(["SIZE", &bytes(info.bytes)]),
        row(["OBJECT-LOCK", info.object_lock]),
    ];
    if let Some(SealMark { by, reason, since }) = &info.seal {
        rows.push(row(["SEALED", &format!("by {by}, {since:.0}: {reason}")]));
    }
    for slot in &info.slots {
        let opened = if slot.fingerprint == info.key_fingerprint { ", opened with it" } else { "" };
        let Slot { label, fingerprint, created } = slot;
        rows.push(row(["KEY", &format!("{fingerprint} {label}, since {created:.0}{opened}")]));
    }
    output.print(&info, &rows);
    Ok(Exit::Done)
}

/// Whether the bucket can lock, as it says itself.
fn word_of(lock: ObjectLock) -> &'static str {
    match lock {
        ObjectLock::Enabled => "yes",
        ObjectLock::Absent => "no",
        ObjectLock::Unknown => "unknown",
    }
}

async fn look(args: &ProbeArgs, output: Output, environment: &Environment) -> Result<Exit> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Probe {
        place: String,
        conditional_writes: bool,
        ranged_reads: bool,
        lists_at_once: bool,
        may_delete: bool,
        object_lock: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        lock_holds: Option<bool>,
    }
    let store = args.repository.locking_store(environment, &args.lock).await?;
    let seen = probe(&store).await?;
    let result = Probe {
        place: store.place(),
        conditional_writes: seen.conditional_writes == ConditionalWrites::Hold,
        ranged_reads: seen.ranged_reads,
        lists_at_once: seen.lists_at_once,
        may_delete: seen.may_delete,
        object_lock: word_of(seen.object_lock),
        lock_holds: match seen.lock {
            LockFinding::NotAsked => None,
            LockFinding::Holds | LockFinding::Shown => Some(true),
            LockFinding::Fails(_) => Some(false),
        },
    };
    let word = |holds| if holds { "yes" } else { "no" };
    let mut rows = vec![
        row(["PLACE", &result.place]),
        row(["CONDITIONAL-WRITES", word(result.conditional_writes)]),
        row(["RANGED-READS", word(result.ranged_reads)]),
        row(["LISTS-AT-ONCE", word(result.lists_at_once)]),
        row(["MAY-DELETE", word(result.may_delete)]),
        row(["OBJECT-LOCK", result.object_lock]),
    ];
    if let Some(holds) = result.lock_holds {
        rows.push(row(["LOCK-HOLDS", word(holds)]));
    }
    output.print(&result, &rows);
    match seen.lock {
        LockFinding::Fails(why) => {
            eprintln!("warning: {}: {why}", result.place);
            Ok(Exit::Denied)
        }
        LockFinding::NotAsked | LockFinding::Holds | LockFinding::Shown => Ok(Exit::Done),
    }
}

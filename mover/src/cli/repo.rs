//! `holdfast repo`: make, look at, probe, change keys.

use clap::Subcommand;
use engine::store::{ConditionalWrites, probe};
use engine::{FORMAT, Repository};
use jiff::Timestamp;
use serde::Serialize;

use super::keys::{self, NewKeyArgs, RemoveKeyArgs};
use super::output::row;
use super::{Output, RepositoryArgs};
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
    /// Find out what the store really does: conditional writes under a race, ranges, lists. Needs no password
    Probe(RepositoryArgs),
    /// Replace the key that is given by another; data isn't touched
    RotateKey(NewKeyArgs),
    /// Let another key open the repository too, such as one that is kept elsewhere
    AddKey(NewKeyArgs),
    /// Take a key away; the last one and the one that is given stay
    RemoveKey(RemoveKeyArgs),
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
        RepoCommand::RotateKey(args) => keys::rotate(&args, output, environment).await,
        RepoCommand::AddKey(args) => keys::add(&args, output, environment).await,
        RepoCommand::RemoveKey(args) => keys::remove(&args, output, environment).await,
    }
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
        slots: repository.slots().await?.into_iter().map(slot).collect(),
    };
    let mut rows = vec![
        row(["REPOSITORY", &info.repository]),
        row(["PLACE", &info.place]),
        row(["FORMAT", &info.format.to_string()]),
        row(["POINTS", &info.points.to_string()]),
        row(["SIZE", &bytes(info.bytes)]),
    ];
    for slot in &info.slots {
        let opened = if slot.fingerprint == info.key_fingerprint { ", opened with it" } else { "" };
        let Slot { label, fingerprint, created } = slot;
        rows.push(row(["KEY", &format!("{fingerprint} {label}, since {created:.0}{opened}")]));
    }
    output.print(&info, &rows);
    Ok(Exit::Done)
}

async fn look(args: &RepositoryArgs, output: Output, environment: &Environment) -> Result<Exit> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Probe {
        place: String,
        conditional_writes: bool,
        ranged_reads: bool,
        lists_at_once: bool,
        may_delete: bool,
    }
    let store = args.store(environment).await?;
    let seen = probe(&store).await?;
    let result = Probe {
        place: store.place(),
        conditional_writes: seen.conditional_writes == ConditionalWrites::Hold,
        ranged_reads: seen.ranged_reads,
        lists_at_once: seen.lists_at_once,
        may_delete: seen.may_delete,
    };
    let word = |holds| if holds { "yes" } else { "no" };
    let rows = [
        row(["PLACE", &result.place]),
        row(["CONDITIONAL-WRITES", word(result.conditional_writes)]),
        row(["RANGED-READS", word(result.ranged_reads)]),
        row(["LISTS-AT-ONCE", word(result.lists_at_once)]),
        row(["MAY-DELETE", word(result.may_delete)]),
    ];
    output.print(&result, &rows);
    Ok(Exit::Done)
}

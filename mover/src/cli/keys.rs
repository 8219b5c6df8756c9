//! `holdfast repo rotate-key`, `add-key`, `remove-key`. A generated key is in its file before the repository knows it.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use super::output::row;
use super::{Output, RepositoryArgs};
use crate::access::new_key;
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::Result;

#[derive(Debug, clap::Args)]
pub struct NewKeyArgs {
    #[command(flatten)]
    repository: RepositoryArgs,
    /// File with the new password; else HOLDFAST_NEW_PASSWORD
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
    /// Make that file, with a random key in it
    #[arg(long, requires = "new_password_file")]
    generate: bool,
    /// What the new key is called, such as escrow
    #[arg(long, value_name = "NAME", default_value = "by hand")]
    label: String,
}

#[derive(Debug, clap::Args)]
pub struct RemoveKeyArgs {
    #[command(flatten)]
    repository: RepositoryArgs,
    /// The key's fingerprint, as repo info shows it
    #[arg(long, value_name = "FINGERPRINT")]
    fingerprint: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    #[serde(skip_serializing_if = "Option::is_none")]
    added: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<String>,
}

pub async fn rotate(args: &NewKeyArgs, output: Output, environment: &Environment) -> Result<Exit> {
    let repository = args.repository.open(environment).await?;
    let new = new_key(args.new_password_file.as_deref(), args.generate, environment)?;
    let rotated = repository.rotate_key(&new, &args.label, (environment.clock)()).await?;
    tell(output, Some(rotated.added), Some(rotated.removed))
}

pub async fn add(args: &NewKeyArgs, output: Output, environment: &Environment) -> Result<Exit> {
    let repository = args.repository.open(environment).await?;
    let new = new_key(args.new_password_file.as_deref(), args.generate, environment)?;
    let added = repository.add_key_slot(&new, &args.label, (environment.clock)()).await?;
    tell(output, Some(added), None)
}

pub async fn remove(args: &RemoveKeyArgs, output: Output, environment: &Environment) -> Result<Exit> {
    let repository = args.repository.open(environment).await?;
    repository.remove_key(&args.fingerprint, (environment.clock)()).await?;
    tell(output, None, Some(args.fingerprint.clone()))
}

fn tell(output: Output, added: Option<engine::SlotInfo>, removed: Option<String>) -> Result<Exit> {
    let mut rows = Vec::new();
    if let Some(slot) = &added {
        rows.push(row(["ADDED", &format!("{} {}", slot.fingerprint, slot.label)]));
    }
    if let Some(fingerprint) = &removed {
        rows.push(row(["REMOVED", fingerprint]));
    }
    let (label, created) = added.as_ref().map(|slot| (slot.label.clone(), slot.created)).unzip();
    let done = Done { added: added.map(|slot| slot.fingerprint), label, created, removed };
    output.print(&done, &rows);
    Ok(Exit::Done)
}

//! `holdfast diff`: what changed from one point to another.

use engine::Change;
use serde::Serialize;

use super::choose::{Choice, choose};
use super::output::row;
use super::{Output, RepositoryArgs};
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::telling::bytes;

#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    #[command(flatten)]
    repository: RepositoryArgs,
    /// The earlier point: an id, latest, or asof:TIME
    #[arg(value_name = "A")]
    first: Choice,
    /// The later point
    #[arg(value_name = "B")]
    second: Choice,
    /// Only points of this component, for latest and asof
    #[arg(long, value_name = "NAME")]
    component: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    from: String,
    to: String,
    added: u64,
    removed: u64,
    modified: u64,
    changes: Vec<Shown>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    path: String,
    change: &'static str,
    bytes_before: u64,
    bytes_after: u64,
}

pub async fn run(args: DiffArgs, output: Output, environment: &Environment) -> Result<Exit> {
    let repository = args.repository.open(environment).await?;
    let first = choose(&repository, &args.first, args.component.as_deref()).await?;
    let second = choose(&repository, &args.second, args.component.as_deref()).await?;
    let changes = engine::diff(&repository, &first, &second)
        .await
        .map_err(|e| Failure::from(e).while_reading_a_point())?;
    let count = |change| changes.iter().filter(|c| c.change == change).count() as u64;
    let done = Done {
        from: first.id.to_string(),
        to: second.id.to_string(),
        added: count(Change::Added),
        removed: count(Change::Removed),
        modified: count(Change::Modified),
        changes: changes.iter().map(shown).collect(),
    };
    let mut rows = vec![row(["CHANGE", "BEFORE", "AFTER", "PATH"])];
    rows.extend(done.changes.iter().map(|c| {
        row([c.change, &bytes(c.bytes_before), &bytes(c.bytes_after), &c.path.escape_debug().to_string()])
    }));
    output.print(&done, &rows);
    Ok(Exit::Done)
}

fn shown(changed: &engine::Changed) -> Shown {
    Shown {
        path: changed.path.display().to_string(),
        change: match changed.change {
            Change::Added => "added",
            Change::Removed => "removed",
            Change::Modified => "modified",
            Change::Attributes => "attributes",
        },
        bytes_before: changed.before,
        bytes_after: changed.after,
    }
}

//! `holdfast hold` and `holdfast release`: what no rule removes.

use engine::PointId;
use serde::Serialize;

use super::output::row;
use super::{Output, RepositoryArgs};
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::holds::Holds;

#[derive(Debug, clap::Args)]
pub struct HoldArgs {
    #[command(flatten)]
    repository: RepositoryArgs,
    /// The point, by its id
    #[arg(long, value_name = "ID")]
    point: PointId,
    /// Why, for people: INC-2041 evidence
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, clap::Args)]
pub struct ReleaseArgs {
    #[command(flatten)]
    repository: RepositoryArgs,
    /// The point, by its id
    #[arg(long, value_name = "ID")]
    point: PointId,
}

#[derive(Serialize)]
struct Done {
    point: String,
    hold: Option<String>,
}

pub async fn hold(args: HoldArgs, output: Output, environment: &Environment) -> Result<Exit> {
    set(&args.repository, args.point, Some(&args.reason), output, environment).await
}

pub async fn release(args: ReleaseArgs, output: Output, environment: &Environment) -> Result<Exit> {
    set(&args.repository, args.point, None, output, environment).await
}

async fn set(
    repository: &RepositoryArgs,
    point: PointId,
    reason: Option<&str>,
    output: Output,
    environment: &Environment,
) -> Result<Exit> {
    let repository = repository.open(environment).await?;
    // A hold on nothing would be found out on the day that it is needed.
    repository.point(point).await.map_err(|e| Failure::from(e).while_reading_a_point())?;
    let mut holds = Holds::of(&repository).await?;
    holds.set(&repository, point, reason, (environment.clock)()).await?;
    let done = Done { point: point.to_string(), hold: reason.map(str::to_owned) };
    let rows = [row(["POINT", "HOLD"]), row([&done.point, reason.unwrap_or("<none>")])];
    output.print(&done, &rows);
    Ok(Exit::Done)
}

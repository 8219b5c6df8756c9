//! `holdfast quarantine` and `holdfast trust`: what may be restored.

use crds::job::PointTrust;
use crds::point::{TrustReason, TrustWord};
use engine::PointId;
use serde::Serialize;

use super::output::row;
use super::{Output, RepositoryArgs};
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::trust::Trust;

#[derive(Debug, clap::Args)]
pub struct TrustArgs {
    #[command(flatten)]
    repository: RepositoryArgs,
    /// The point, by its id
    #[arg(long, value_name = "ID")]
    point: PointId,
    /// Who says so, for people: an address, an incident
    #[arg(long, value_name = "NAME", value_parser = words)]
    by: String,
}

/// Some words of a person, as a mark keeps them.
pub(super) fn words(text: &str) -> std::result::Result<String, String> {
    match text.trim() {
        "" => Err("it is empty; write some words".to_owned()),
        long if long.len() > 256 => Err("at most 256 bytes".to_owned()),
        some => Ok(some.to_owned()),
    }
}

#[derive(Serialize)]
struct Done<'a> {
    point: String,
    trust: &'a str,
    by: &'a str,
}

pub async fn say(
    args: TrustArgs,
    word: TrustWord,
    output: Output,
    environment: &Environment,
) -> Result<Exit> {
    let repository = args.repository.open(environment).await?;
    // A word about nothing would be found out on the day that it is needed.
    repository.point(args.point).await.map_err(|e| Failure::from(e).while_reading_a_point())?;
    let said = PointTrust { point: args.point.to_string(), word, reason: TrustReason::ByUser, by: args.by };
    let now = (environment.clock)();
    Trust::of(&repository).await?.set(&repository, args.point, &said, now).await?;
    let done = Done { point: said.point, trust: word.as_str(), by: &said.by };
    let rows = [row(["POINT", "TRUST", "BY"]), row([done.point.as_str(), done.trust, done.by])];
    output.print(&done, &rows);
    Ok(Exit::Done)
}

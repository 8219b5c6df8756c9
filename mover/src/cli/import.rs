//! `holdfast import`: a tar archive on standard input into a new point. It refuses what would lead out of its scratch space.

use std::io::{self, BufReader, IsTerminal, stdin};
use std::path::PathBuf;
use std::time::Instant;

use crds::job::FailureReason;
use engine::PointAttributes;
use jiff::Timestamp;

use super::backup::{tag, tell};
use super::export::scratch_space;
use super::unpack::unpack;
use super::{LockArgs, Output, RepositoryArgs};
use crate::body::Body;
use crate::capture::{blocking, store};
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::{Failure, Result, is_full};
use crate::seal::takes_captures;
use crate::telling::Telling;

#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    #[command(flatten)]
    repository: RepositoryArgs,
    /// The component it belongs to
    #[arg(long, value_name = "NAME")]
    component: String,
    /// A tag of the point; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tag)]
    tags: Vec<(String, String)>,
    /// The time that the archive's content stands for; now when left out
    #[arg(long, value_name = "TIME")]
    consistency_time: Option<Timestamp>,
    /// Scratch space with room for all files of the archive
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    #[command(flatten)]
    lock: LockArgs,
}

pub async fn run(
    args: ImportArgs,
    output: Output,
    environment: &Environment,
    telling: &Telling,
) -> Result<Exit> {
    let begun = Instant::now();
    let started = (environment.clock)();
    if stdin().is_terminal() {
        let why = "the archive is read from standard input, which is a terminal: append < FILE.tar";
        return Err(Failure::new(FailureReason::InvalidRequest, why));
    }
    let repository = args.repository.open_locking(environment, &args.lock).await?;
    takes_captures(&repository, false).await?;
    let scratch = scratch_space(args.scratch.as_deref())?;
    let source = scratch.path().join("imported");
    let target = source.clone();
    telling.say("unpack the archive");
    let left = blocking(move || {
        unpack(BufReader::with_capacity(1 << 20, stdin().lock()), &target).map_err(|e| refused(&e))
    })
    .await?;
    let attributes = PointAttributes {
        component: args.component,
        consistency_time: args.consistency_time.unwrap_or(started),
        started,
        tags: args.tags.into_iter().collect(),
        body: Body::new().to_value(),
        attempt: None,
    };
    let committed = store(&repository, source, None, attributes, telling).await?;
    telling.clear();
    left.tell();
    tell(committed, begun, output)
}

fn refused(error: &io::Error) -> Failure {
    let reason = if is_full(error) { FailureReason::ScratchFull } else { FailureReason::SourceUnreadable };
    Failure::new(reason, format!("can't unpack the archive on standard input: {error}; nothing was captured"))
}

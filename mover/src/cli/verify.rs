//! `holdfast verify`: what lies in the repository against what the points say.

use crds::job::FailureReason;
use engine::Level;
use serde::Serialize;

use super::choose::{Choice, choose};
use super::output::row;
use super::{Output, RepositoryArgs};
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::telling::{Telling, bytes};
use crate::verified;

#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    repository: RepositoryArgs,
    /// One point instead of all: latest, asof:TIME, or an id
    #[arg(long, value_name = "POINT")]
    point: Option<Choice>,
    /// Only points of this component, for latest and asof
    #[arg(long, value_name = "NAME")]
    component: Option<String>,
    /// manifest: everything needed is there; sample: and some blocks are read; full: and every byte is
    #[arg(long, value_enum, default_value_t = Depth::Manifest)]
    level: Depth,
    /// Record in the repository that the points passed, for prune --keep-verified; takes --level full
    #[arg(long)]
    record: bool,
}

/// How deep to look.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Depth {
    Manifest,
    Sample,
    Full,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    passed: bool,
    #[serde(flatten)]
    report: engine::VerifyReport,
}

pub async fn run(
    args: VerifyArgs,
    output: Output,
    environment: &Environment,
    telling: &Telling,
) -> Result<Exit> {
    let repository = args.repository.open(environment).await?;
    let level = match args.level {
        Depth::Manifest => Level::Manifest,
        Depth::Sample => Level::Sample,
        Depth::Full => Level::Full,
    };
    if args.record && level != Level::Full {
        let why = "only --level full proves what --record records: add it, or leave --record out";
        return Err(Failure::new(FailureReason::InvalidRequest, why));
    }
    let progress = telling.stage("verify");
    let (report, points) = match &args.point {
        Some(choice) => {
            let point = choose(&repository, choice, args.component.as_deref()).await?;
            (engine::verify(&repository, &point, level, progress).await?, vec![point])
        }
        None => {
            // Listed before, so that none is recorded that was not looked at.
            let points = if args.record { repository.points().await?.points } else { Vec::new() };
            (engine::verify_all(&repository, level, progress).await?, points)
        }
    };
    telling.end_stage();
    telling.clear();
    if args.record && report.passed() {
        let at = (environment.clock)();
        for point in &points {
            verified::record(&repository, &point.id, verified::by_hand(), at).await?;
        }
    }
    let done = Done { passed: report.passed(), report };
    let mut rows = vec![
        row(["POINTS", "FILES", "CHECKED", "VERDICT"]),
        row([
            &done.report.points.to_string(),
            &done.report.files.to_string(),
            &bytes(done.report.bytes_checked),
            if done.passed { "Passed" } else { "Failed" },
        ]),
    ];
    if !done.passed {
        rows.push(Vec::new());
        rows.push(row(["OBJECT", "FINDING"]));
        let told = done.report.findings.iter().chain(&done.report.tampered);
        rows.extend(told.map(|f| row([&f.object, &f.what])));
    }
    output.print(&done, &rows);
    Ok(if done.passed { Exit::Done } else { Exit::Damaged })
}

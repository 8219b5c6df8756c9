//! The report of a recovery: it is in the bucket when the run has ended, again when more is known, and still when the cluster has lost everything. A
//! person opens it in a browser.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use crds::RecoveryRun;
use crds::run::{ReportStatus, WrittenReport};
use futures::FutureExt;
use serde_json::{Value, json};
use tests::browser::look;

use super::by_cli;
use super::loss::Written;
use crate::manifests;
use crate::program::Program;
use crate::runner::Story;
use crate::stage::{PATIENCE, Stage};
use crate::wait;

pub const STORY: Story = Story {
    name: "report-html",
    promise: "the report of a recovery lies in the bucket, can be completed, and is read without a cluster",
    alone: false,
    play: |stage| play(stage).boxed(),
};

const CAUSE: &str = "a node was switched off while it wrote";

async fn play(stage: &Stage) -> Result<()> {
    let _written = Written::captured(stage, 61, 1).await?;
    let mut run = manifests::run("told", &stage.namespace);
    run["spec"]["incident"] =
        json!({"summary": "papers-cs answers 500", "impact": "search <b>fails</b>", "usersAffected": 120});
    stage.apply(&[run]).await?;
    let status = stage.succeeded("told").await?.status.unwrap_or_default();
    let first = revision(stage, |_| true).await?;
    let directory = tempfile::tempdir()?;
    let html = directory.path().join("report.html");
    printed(stage, &["report", "told", "--format", "html"], &html).await?;
    ensure!(
        sum(&html).await? == first.digest,
        "the status has another digest than the file: {}",
        first.digest
    );
    let rto = status.display.and_then(|display| display.rto).context("no RTO is shown")?;
    let measured = rto.split('/').next().unwrap_or_default();
    for shown in look(&html, &[1280, 360], false)? {
        ensure!(shown.faults.is_empty(), "{} wide: {:?}", shown.width, shown.faults);
        ensure!(shown.headings.first().map(String::as_str) == Some("told"), "{:?}", shown.headings);
    }
    let text = std::fs::read_to_string(&html)?;
    for told in
        ["papers-cs answers 500", "search &lt;b&gt;fails&lt;/b&gt;", measured, "Restore/chromadb", "120"]
    {
        ensure!(text.contains(told), "the report does not tell: {told}");
    }
    ensure!(!text.contains(&stage.key), "the key is in it");
    stage.say(format!("a browser shows it, {} bytes, {measured} of recovery time", text.len()));

    stage.patch::<RecoveryRun>("told", &json!({"spec": {"incident": {"rootCause": CAUSE}}})).await?;
    let second = revision(stage, |written| written.revision > first.revision).await?;
    stage.say(format!("completed: revision {}", second.revision));

    stage.lose_namespace().await?;
    let listed: Value = serde_json::from_str(&by_cli::run(stage, &["report", "--output", "json"]).await?)?;
    let revisions: Vec<u64> = listed["reports"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|kept| kept["revision"].as_u64())
        .collect();
    ensure!(revisions == [first.revision, second.revision].map(u64::from), "the bucket lists {listed}");
    printed(stage, &["report", "told", "--format", "html"], &html).await?;
    ensure!(
        sum(&html).await? == second.digest && std::fs::read_to_string(&html)?.contains(CAUSE),
        "another one"
    );
    let old = first.revision.to_string();
    let markdown = by_cli::run(stage, &["report", "told", "--revision", &old]).await?;
    ensure!(markdown.starts_with("# Incident report: told") && !markdown.contains(CAUSE), "{markdown}");
    stage.say("the namespace is lost, and the bucket has both");
    Ok(())
}

/// Waits for a report that is written.
async fn revision(stage: &Stage, wanted: impl Fn(&WrittenReport) -> bool) -> Result<WrittenReport> {
    wait::object(&stage.api::<RecoveryRun>(), "told", "its report", PATIENCE, |run| {
        let report = run.and_then(|run| run.status.as_ref()).and_then(|status| status.report.as_ref());
        let written = report.and_then(|ReportStatus { written, .. }| written.as_ref());
        Ok(written.filter(|written| wanted(written)).cloned())
    })
    .await
}

async fn printed(stage: &Stage, arguments: &[&str], to: &Path) -> Result<()> {
    std::fs::write(to, by_cli::run(stage, arguments).await?)?;
    Ok(())
}

async fn sum(file: &Path) -> Result<String> {
    let said = Program::new("sha256sum").run(&[&file.to_string_lossy()], None).await?;
    Ok(format!("sha256:{}", said.split_whitespace().next().unwrap_or_default()))
}

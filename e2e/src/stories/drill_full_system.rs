//! The whole arXiv system comes back in a sandbox, each component finding the others by their names, while production goes on and notices nothing: no mail
//! is sent twice, and no paper ingested.

use anyhow::{Context, Result, ensure};
use crds::run::Verdict;
use futures::FutureExt;
use serde_json::json;

use super::complete_failure::whole;
use crate::arxiv::{self, SCHOLARS};
use crate::drill::{drill, execute, swept};
use crate::enforcer::Enforcer;
use crate::runner::Story;
use crate::stage::Stage;
use crate::untouched::Before;

pub const STORY: Story = Story {
    name: "drill-full-system",
    promise: "every component of a system comes back in a sandbox, in its order, and production and its mail server notice nothing",
    alone: false,
    play: |stage| play(stage).boxed(),
};

async fn play(stage: &Stage) -> Result<()> {
    let _enforcer = Enforcer::start(stage).await?;
    let system = whole(stage).await?;
    let mails = arxiv::received(stage).await?;
    let before = Before::seen(stage).await?;
    let done =
        execute(stage, &drill("full-system", "FullSystemRecovery", json!({"deadline": "10m"}))).await?;
    done.is(Verdict::Passed, "Passed")?;
    let run = &done.run;
    ensure!(run.points.len() == arxiv::POLICIES.len(), "restored {:?}", run.points);
    for point in &run.points {
        let newest = &system.points[point.policy.as_str()].spec.id;
        ensure!(point.id == *newest, "{} was rehearsed with {}", point.policy, point.name);
    }
    ensure!(run.measured.len() == arxiv::POLICIES.len(), "measured {:?}", run.measured);
    let step = |name: &str| {
        run.steps.iter().find(|step| step.name == name).with_context(|| format!("no step {name}"))
    };
    let validated = step("Validate/chromadb")?.end;
    for instance in &SCHOLARS {
        let start = step(&format!("Start/{}", instance.name))?;
        ensure!(start.end > validated, "{} ran before its database was validated", instance.name);
    }
    for policy in arxiv::POLICIES {
        let name = format!("{policy}/operational");
        let line =
            run.checks.iter().find(|line| line.name == name).with_context(|| format!("no check {name}"))?;
        ensure!(line.verdict == Verdict::Passed, "{line:?}");
    }
    for instance in &SCHOLARS {
        let name = format!("{}/pipeline", instance.name);
        let line = run.checks.iter().find(|line| line.name == name);
        ensure!(line.is_some_and(|line| line.verdict == Verdict::Skipped), "{line:?}");
    }
    swept(stage, &done.result.run).await?;
    before.is_untouched(stage).await?;
    ensure!(arxiv::received(stage).await? == mails, "the rehearsal sent mail");
    Ok(())
}

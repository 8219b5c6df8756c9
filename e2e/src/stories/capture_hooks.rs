//! Commands in the application's pod around its captures: what the first one leaves is in the point, what the last one takes away is gone,
//! whoever dies in between and whatever fails.

use anyhow::{Result, bail, ensure};
use crds::reference::POLICY_LABEL;
use crds::{BackupPolicy, RecoveryPoint};
use futures::FutureExt;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::by_cli;
use crate::deaths::captured_through;
use crate::manifests::REPOSITORY;
use crate::runner::Story;
use crate::scholar::{self, CLAIM, SCHOLAR};
use crate::stage::{PATIENCE, Stage};
use crate::wait;

pub const STORY: Story = Story {
    name: "capture-hooks",
    promise: "commands around a capture run in the pod, the last one always",
    alone: true,
    play: |stage| play(stage).boxed(),
};

/// A controller dies after it made each of these.
const MARKS: [&str; 3] =
    ["after:CreateJob/HookBefore", "after:CreateJob/Capture", "after:CreateJob/HookAfter"];

/// What the application is told, and leaves on its volume for as long as it holds.
const QUIESCE: &str = "open('/state/quiesced', 'w').close()";
const RESUME: &str = "import pathlib; pathlib.Path('/state/quiesced').unlink(missing_ok=True)";
const REFUSE: &str =
    "open('/state/quiesced', 'w').close(); print('token-of-the-application'); raise SystemExit(3)";

async fn play(stage: &Stage) -> Result<()> {
    let objects = scholar::objects(&stage.place.images.chromadb);
    tokio::try_join!(stage.apply(&objects), stage.repository())?;
    let mut policy = scholar::policy(REPOSITORY);
    policy["spec"]["capture"] =
        json!({"live": {}, "hooks": {"before": hook(QUIESCE), "after": hook(RESUME)}});
    stage.apply(&[policy]).await?;
    scholar::serving(stage).await?;
    stage.armed(SCHOLAR).await?;
    let point = with_deaths(stage).await?;
    released(stage).await?;
    ensure!(holds_the_mark(stage, &point).await?, "the point was taken before the application was told");
    stage.say("the point holds what the first command left, the volume doesn't any more");
    refused(stage).await
}

fn hook(program: &str) -> Value {
    json!({"command": ["python3", "-c", program], "container": SCHOLAR, "timeout": "30s"})
}

async fn with_deaths(stage: &Stage) -> Result<RecoveryPoint> {
    let _turn = stage.alone().await?;
    captured_through(stage, SCHOLAR, &MARKS).await
}

/// Waits until the last command is owed no more; then it has run.
async fn released(stage: &Stage) -> Result<()> {
    wait::object(&stage.api::<BackupPolicy>(), SCHOLAR, "the hooks to be over", PATIENCE, |policy| {
        let status = policy.and_then(|policy| policy.status.as_ref());
        Ok(status.filter(|status| status.hooked.is_none() && status.active.is_none()).map(drop))
    })
    .await?;
    let ours = |job: &Job| job.labels().contains_key(POLICY_LABEL);
    wait::none(&stage.api::<Job>(), "the last Job to go", ours).await?;
    let pod = format!("deployment/{SCHOLAR}");
    let listed = stage.kubectl(&["exec", &pod, "--", "ls", "/state"]).await?;
    ensure!(!listed.contains("quiesced"), "the last command has not run: {listed}");
    Ok(())
}

async fn holds_the_mark(stage: &Stage, point: &RecoveryPoint) -> Result<bool> {
    let target = tempfile::tempdir()?;
    let into = target.path().join("state");
    let path = into.to_string_lossy();
    by_cli::run(stage, &["restore", "--point", &point.spec.id, "--volume", CLAIM, "--target", &path]).await?;
    Ok(into.join("quiesced").exists())
}

/// A command that fails half-way: nothing is captured, what it left is taken away, and the next attempt has the command that was mended.
async fn refused(stage: &Stage) -> Result<()> {
    let before = |program: &str| json!({"spec": {"capture": {"hooks": {"before": hook(program)}}}});
    stage.patch::<BackupPolicy>(SCHOLAR, &before(REFUSE)).await?;
    let points = stage.api::<RecoveryPoint>().list(&Default::default()).await?.items.len();
    let asked = stage.request_capture(SCHOLAR).await?;
    let told = wait::any(&stage.api::<Event>(), "", "the failure to be told", PATIENCE, |event: &Event| {
        let failed = event.reason.as_deref() == Some("HookFailed");
        Ok(event.note.clone().filter(|_| failed))
    })
    .await?;
    if !told.contains("exit code 3") || told.contains("token-of-the-application") {
        bail!("it says: {told}");
    }
    wait::object(&stage.api::<BackupPolicy>(), SCHOLAR, "the attempt to be over", PATIENCE, |policy| {
        let status = policy.and_then(|policy| policy.status.as_ref());
        Ok(status.filter(|status| status.hooked.is_none()).map(drop))
    })
    .await?;
    let now = stage.api::<RecoveryPoint>().list(&Default::default()).await?.items.len();
    ensure!(now == points, "it was captured all the same");
    stage.say(format!("told: {told}"));
    stage.patch::<BackupPolicy>(SCHOLAR, &before(QUIESCE)).await?;
    let point = stage.captured_after(SCHOLAR, asked).await?;
    released(stage).await?;
    ensure!(holds_the_mark(stage, &point).await?, "the point was taken before the application was told");
    Ok(())
}

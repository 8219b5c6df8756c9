//! DrDrills as users write them, one execution at a time, and what stands in their status afterwards.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use crds::drill::{DrDrillStatus, DrillResult};
use crds::run::{RecoveryRunStatus, SandboxState, Verdict};
use crds::{BackupPolicy, DrDrill, RecoveryRun};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume};
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::stage::{PATIENCE, Stage};
use crate::wait;

/// How long a drill takes at most on a machine that does other things as well.
const LIMIT: Duration = Duration::from_secs(300);

/// A drill that starts only when it is asked to: nobody plays for years.
pub fn drill(name: &str, test: &str, more: Value) -> Value {
    let mut spec = json!({"test": test, "schedule": {"cron": "0 0 29 2 *"}});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "DrDrill", "metadata": {"name": name}, "spec": spec})
}

/// No slot of a policy's schedule falls into what follows.
pub async fn quiet(stage: &Stage, policy: &str) -> Result<()> {
    stage.patch::<BackupPolicy>(policy, &json!({"spec": {"mode": "Suspended"}})).await?;
    wait::object(&stage.api::<BackupPolicy>(), policy, "a Suspended policy", PATIENCE, |policy| {
        let policy = policy.context("the policy is gone")?;
        let status = policy.status.clone().unwrap_or_default();
        let seen = status.observed_generation == policy.metadata.generation && status.active.is_none();
        Ok((seen && status.mode == Some(crds::policy::PolicyMode::Suspended)).then_some(()))
    })
    .await
}

/// One execution: what came of it, and the status of its run.
pub struct Execution {
    pub result: DrillResult,
    pub drill: DrDrillStatus,
    pub run: RecoveryRunStatus,
}

impl Execution {
    /// It came to this, for this reason.
    pub fn is(&self, verdict: Verdict, reason: &str) -> Result<()> {
        let found = (self.result.verdict, self.result.reason.as_str());
        if found != (verdict, reason) {
            bail!("{found:?}: {}; the run says {}", self.result.message, json!(self.run.conditions));
        }
        let passed =
            wait::condition(&self.drill.conditions, "LastDrillPassed").context("no LastDrillPassed")?;
        ensure!((passed.status == "True") == (verdict == Verdict::Passed), "{passed:?}");
        // Bad news about data is no bad news about the drill.
        let ready = wait::condition(&self.drill.conditions, "Ready").context("no Ready")?;
        ensure!(ready.status == "True", "{ready:?}");
        Ok(())
    }
}

/// Applies a drill, asks for it now as users do, and waits until it has come to something.
pub async fn execute(stage: &Stage, drill: &Value) -> Result<Execution> {
    let name = drill["metadata"]["name"].as_str().context("a drill without a name")?;
    stage.apply(std::slice::from_ref(drill)).await?;
    again(stage, name).await
}

/// Asks for a drill now, and waits until it has come to something.
pub async fn again(stage: &Stage, name: &str) -> Result<Execution> {
    let now = Timestamp::now();
    let asked = json!({"metadata": {"annotations": {crds::reference::REQUESTED_AT: now.to_string()}}});
    stage.patch::<DrDrill>(name, &asked).await?;
    let drills = stage.api::<DrDrill>();
    let (result, drill) = wait::object(&drills, name, "the result of the drill", LIMIT, |drill| {
        let Some(status) = drill.and_then(|drill| drill.status.clone()) else { return Ok(None) };
        let answered = status.observed_requested_at.is_some_and(|seen| seen >= now);
        let newest = status.results.first().cloned().filter(|_| answered && status.running.is_none());
        Ok(newest.map(|newest| (newest, status)))
    })
    .await?;
    let run: RecoveryRun = stage.get(&result.run).await?;
    stage.say(format!("{name}: {:?}, {}: {}", result.verdict, result.reason, result.message));
    Ok(Execution { result, drill, run: run.status.unwrap_or_default() })
}

/// Waits until the sandbox of a run is as far as this. Returns its name.
pub async fn until(stage: &Stage, run: &str, state: SandboxState) -> Result<String> {
    let what = format!("a sandbox that is {state:?}");
    wait::object(&stage.api::<RecoveryRun>(), run, &what, PATIENCE, |run| {
        let known = run.and_then(|run| run.status.as_ref()).and_then(|status| status.sandbox.as_ref());
        Ok(known.filter(|known| known.state == state).map(|known| known.namespace.clone()))
    })
    .await
}

/// Waits until nothing is left of the sandbox of a run. Returns its name.
pub async fn swept(stage: &Stage, run: &str) -> Result<String> {
    let name = until(stage, run, SandboxState::Cleaned).await?;
    gone(stage, &name).await?;
    Ok(name)
}

/// Waits until neither a sandbox nor a volume of it is there.
pub async fn gone(stage: &Stage, sandbox: &str) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(stage.place.client.clone());
    wait::object(&namespaces, sandbox, "the sandbox to be gone", PATIENCE, |seen| {
        Ok(seen.is_none().then_some(()))
    })
    .await?;
    let volumes: Api<PersistentVolume> = Api::all(stage.place.client.clone());
    wait::answer("the sandbox's volumes to be gone", Duration::from_secs(60), || async {
        let left = volumes.list(&ListParams::default()).await?;
        let of = left.items.iter().filter(|volume| {
            let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            claim.and_then(|claim| claim.namespace.as_deref()) == Some(sandbox)
        });
        ensure!(of.count() == 0, "volumes of {sandbox} are left");
        Ok(())
    })
    .await
}

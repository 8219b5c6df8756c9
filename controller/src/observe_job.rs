//! What is known of a mover Job: from the Job, its pod, and the pod's termination message.

use crds::job::Report;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodCondition, PodStatus};
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt};
use plan::effect::JobState;

use crate::accounts;
use crate::context::Context;
use crate::error::Error;

/// Looks at the Job `name` that `object` owns. A Job of that name that belongs to somebody else counts as absent; making
/// ours then fails with [`Error::NameTaken`].
///
/// # Errors
/// When the API server can't be read.
pub async fn observe<K>(ctx: &Context, object: &K, name: &str) -> Result<JobState, Error>
where
    K: Resource<DynamicType = ()>,
{
    Ok(observe_turns(ctx, object, name).await?.0)
}

/// The same, with what those that ran before the last one in its pod have reported, and that one: see [`turns`].
///
/// # Errors
/// When the API server can't be read.
pub async fn observe_turns<K>(
    ctx: &Context,
    object: &K,
    name: &str,
) -> Result<(JobState, Vec<Option<Report>>), Error>
where
    K: Resource<DynamicType = ()>,
{
    let namespace = object.namespace().unwrap_or_default();
    let jobs: Api<Job> = Api::namespaced(ctx.client.clone(), &namespace);
    let job = jobs.get_opt(name).await.map_err(Error::api("get", format!("Job/{name}")))?;
    let Some(job) =
        job.filter(|job| job.owner_references().iter().any(|o| Some(&o.uid) == object.meta().uid.as_ref()))
    else {
        return Ok((JobState::Absent, Vec::new()));
    };
    let Some(uid) = job.uid() else {
        return Err(Error::Incomplete { object: format!("Job/{name}"), field: "uid" });
    };
    let pods: Api<Pod> = Api::namespaced(ctx.client.clone(), &namespace);
    // The uid and not the name: a Job of the same name made anew has other pods.
    let selector = ListParams::default().labels(&format!("batch.kubernetes.io/controller-uid={uid}"));
    let pods = pods.list(&selector).await.map_err(Error::api("list", format!("the pods of Job/{name}")))?;
    let state = made(ctx, &job, state(&job, &pods.items)).await?;
    Ok((state, turns(&pods.items)))
}

/// A Job that runs and lacks what it is made with is not made yet: whoever made it was stopped in between.
///
/// # Errors
/// When the API server can't be read.
pub async fn made(ctx: &Context, job: &Job, state: JobState) -> Result<JobState, Error> {
    match state {
        JobState::Running { .. } if !accounts::is_complete(ctx, job).await? => Ok(JobState::Absent),
        state => Ok(state),
    }
}

/// The state of a Job with these pods.
///
/// A Report is believed only once the Job is terminal: before, its pod may still be running. A Job that is terminal
/// without a readable Report says nothing about its result, whatever its exit code.
#[must_use]
pub fn state(job: &Job, pods: &[Pod]) -> JobState {
    match terminal(job) {
        None => JobState::Running { waiting: pods.iter().find_map(waiting) },
        Some(end) => {
            let ends: Vec<&ContainerStateTerminated> = pods.iter().filter_map(terminated).collect();
            match ends.iter().find_map(|end| report(end)) {
                Some(report) => JobState::Ended(report),
                None => JobState::Silent { why: why(end, pods, &ends) },
            }
        }
    }
}

/// Whether a pod says that it is ready.
#[must_use]
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// What the containers of a pod have reported that run one after the other, in their order; nothing for one that has not ended, or
/// ended without a Report.
#[must_use]
pub fn turns(pods: &[Pod]) -> Vec<Option<Report>> {
    let Some(status) = pods.first().and_then(|pod| pod.status.as_ref()) else { return Vec::new() };
    let before = status.init_container_statuses.iter().flatten();
    let all = before.chain(status.container_statuses.iter().flatten());
    all.map(|container| report(container.state.as_ref()?.terminated.as_ref()?)).collect()
}

fn report(end: &ContainerStateTerminated) -> Option<Report> {
    serde_json::from_str(end.message.as_deref()?).ok()
}

/// Whether the Job is terminal: none of its pods runs any more.
#[must_use]
pub fn has_ended(job: &Job) -> bool {
    terminal(job).is_some()
}

/// When the Job became terminal.
#[must_use]
pub fn ended_at(job: &Job) -> Option<Timestamp> {
    Some(terminal(job)?.last_transition_time.as_ref()?.0)
}

/// Whether it ended well, as Kubernetes sees it.
#[must_use]
pub fn completed(job: &Job) -> bool {
    terminal(job).is_some_and(|end| end.type_ == "Complete")
}

/// The condition that ended the Job.
fn terminal(job: &Job) -> Option<&JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|c| matches!(c.type_.as_str(), "Complete" | "Failed") && c.status == "True")
}

/// How the last container ended, or the one before it that failed.
fn terminated(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let status = pod.status.as_ref()?;
    let ended = |container: &ContainerStatus| container.state.clone()?.terminated;
    let last = status.container_statuses.iter().flatten();
    let failed = status.init_container_statuses.iter().flatten();
    let failed = failed.filter(|container| ended(container).is_some_and(|end| end.exit_code != 0));
    last.chain(failed).find_map(|container| container.state.as_ref()?.terminated.as_ref())
}

fn why(end: &JobCondition, pods: &[Pod], ends: &[&ContainerStateTerminated]) -> String {
    let (reason, message) =
        (end.reason.as_deref().unwrap_or_default(), end.message.as_deref().unwrap_or_default());
    // What became of the pod tells more than the Job's "has reached the specified backoff limit".
    for pod in pods {
        let status = pod.status.as_ref();
        if let Some(reason) = status.and_then(|s| s.reason.as_deref()) {
            let told = status.and_then(|s| s.message.as_deref()).unwrap_or_default();
            return sentence(&format!("pod {} was ended: {reason}", pod.name_any()), told);
        }
    }
    if reason == "DeadlineExceeded" {
        let stuck = pods.iter().find_map(waiting);
        return sentence("it did not end in its time", &stuck.unwrap_or_default());
    }
    if let Some(end) = ends.first() {
        let how = end.reason.as_deref().unwrap_or("ended");
        return format!("its container ended with code {} ({how}) and without a report", end.exit_code);
    }
    if pods.is_empty() {
        return sentence("its pod is gone", message);
    }
    sentence("its pod ended without a report", message)
}

pub(crate) fn sentence(what: &str, detail: &str) -> String {
    if detail.is_empty() { what.to_owned() } else { format!("{what}: {detail}") }
}

/// Why a pod does not run, when the cluster gives a reason that a human should see.
fn waiting(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let name = pod.name_any();
    if let Some((reason, message)) = held_up(status) {
        return Some(sentence(&format!("pod {name} waits: {reason}"), message));
    }
    let unscheduled = unscheduled(status)?;
    let reason = unscheduled.reason.as_deref().unwrap_or("Unschedulable");
    Some(sentence(&format!("pod {name} waits: {reason}"), unscheduled.message.as_deref().unwrap_or_default()))
}

/// Reason and message (may be empty) of the first container that waits for more than its turn.
pub(crate) fn held_up(status: &PodStatus) -> Option<(&str, &str)> {
    let before = status.init_container_statuses.iter().flatten();
    before.chain(status.container_statuses.iter().flatten()).find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().unwrap_or_default();
        let turn = matches!(reason, "" | "ContainerCreating" | "PodInitializing");
        (!turn).then(|| (reason, waiting.message.as_deref().unwrap_or_default()))
    })
}

/// The condition that says why no node takes the pod.
pub(crate) fn unscheduled(status: &PodStatus) -> Option<&PodCondition> {
    status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled" && c.status == "False")
}

#[cfg(test)]
mod tests;

//! BackupPolicy: observe its source, repository, points and capture; plan; record, write down, carry out.

use std::sync::Arc;

use crds::reference::{POLICY_LABEL, STOPPED_FINALIZER, WorkloadRef};
use crds::{BackupPolicy, RecoveryPoint, RecoveryRepository, RecoveryRun};
use kube::api::ListParams;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use plan::backup::{self, emergency};
use plan::effect::JobState;
use plan::workload::WorkloadSeen;

use crate::context::Context;
use crate::controllers::{action, measured};
use crate::error::Error;
use crate::fail_point::fail_point;
use crate::status::{self, Written};
use crate::{events, execute, observe, observe_job, points, snapshots, workloads};

/// One reconciliation.
///
/// # Errors
/// When the API server can't be read or refuses a write.
pub async fn reconcile(object: Arc<BackupPolicy>, ctx: Arc<Context>) -> Result<Action, Error> {
    measured(&ctx, object.as_ref(), step(object.as_ref(), &ctx)).await
}

async fn step(cached: &BackupPolicy, ctx: &Context) -> Result<Action, Error> {
    let (namespace, name) = (cached.namespace().unwrap_or_default(), cached.name_any());
    // Read again: a cache that lags behind our own last write would announce the same capture twice.
    let Some(mut object) = observe::get::<BackupPolicy>(ctx, &namespace, &name).await? else {
        return Ok(Action::await_change());
    };
    let namespace_terminating = observe::is_terminating(ctx, &namespace).await?;
    let terminating = namespace_terminating || object.metadata.deletion_timestamp.is_some();
    let finalizer = object.finalizers().iter().any(|known| known == STOPPED_FINALIZER);
    if terminating && !finalizer {
        return Ok(Action::await_change());
    }
    let repository: Option<RecoveryRepository> =
        observe::get(ctx, &namespace, &object.spec.repository_ref.name).await?;
    let named = &object.spec.component.workloads;
    let found = observe::workloads(ctx, &namespace, named).await?;
    let source = observe::source(ctx, &object, &found).await?;
    // Whom it concerns only where something is stopped, or may be, or has hooks.
    let capture = &object.spec.capture;
    let pods = match &source {
        Ok(source) if capture.offline.is_some() || capture.hooks.is_some() => {
            observe::using(ctx, &namespace, &source.claims).await?
        }
        _ => Vec::new(),
    };
    // What is stopped is owed its replicas also when the policy names it no more.
    let stopped = object.status.as_ref().and_then(|status| status.stopped.as_ref());
    let mut owed: Vec<WorkloadRef> = stopped
        .map(|stopped| stopped.workloads.iter().map(|owed| owed.workload.clone()).collect())
        .unwrap_or_default();
    owed.retain(|owed| !named.contains(owed));
    let owed = observe::workloads(ctx, &namespace, &owed).await?;
    let workloads: Vec<WorkloadSeen> = found
        .iter()
        .chain(&owed)
        .filter_map(|(reference, found)| Some(workloads::seen(reference, found.as_ref()?)))
        .collect();
    let policies: Vec<BackupPolicy> = observe::list(ctx, &namespace, &ListParams::default()).await?;
    let claims = source.as_ref().map(|source| source.claims.clone()).unwrap_or_default();
    let shared_with = observe::shared_with(&policies, &object, &claims);
    let runs: Vec<RecoveryRun> = observe::list(ctx, &namespace, &ListParams::default()).await?;
    let known: Vec<RecoveryPoint> = observe::list(ctx, &namespace, &ListParams::default()).await?;
    let (job, turns) = match object.status.as_ref().and_then(|status| status.active.as_ref()) {
        Some(active) => observe_job::observe_turns(ctx, &object, &backup::job_name(&object, active)).await?,
        None => (JobState::Absent, Vec::new()),
    };
    let hook_job = match object.status.as_ref().and_then(|status| status.hooked.as_ref()) {
        Some(hooked) => observe_job::observe(ctx, &object, &backup::hooks::job_name(&object, hooked)).await?,
        None => JobState::Absent,
    };
    let emergency_repository: Option<RecoveryRepository> =
        observe::get(ctx, &namespace, emergency::repository_of(&object)).await?;
    let emergency = observe::emergency(ctx, &object, &found, emergency_repository.as_ref()).await?;
    let now = (ctx.now)();
    let plan = backup::plan(&backup::Observed {
        policy: &object,
        terminating,
        namespace_terminating,
        finalizer,
        repository: repository.as_ref(),
        source,
        workloads: &workloads,
        pods: &pods,
        shared_with,
        circle: observe::circle_of(&policies, &object),
        snapshots: snapshots::observe(ctx, &object, &claims).await?,
        hooks_allowed: ctx.mover.hooks,
        hook_job,
        held_by: observe::held_by(&runs, &object),
        fresh: observe::fresh(&runs, &object),
        job,
        turns,
        emergency,
        ended_jobs: observe::ended_jobs(ctx, &object, POLICY_LABEL).await?,
        points: &known,
        now,
    });

    for point in plan.record.iter().chain(&plan.preserved) {
        fail_point("before", Some("RecordPoint"));
        if points::record(ctx, &namespace, point).await? {
            fail_point("after", Some("RecordPoint"));
        }
    }
    snapshots::remove(ctx, &namespace, &plan.sweep).await?;
    let before = object.status.replace(plan.status.clone());
    let api: Api<BackupPolicy> = Api::namespaced(ctx.client.clone(), &namespace);
    let object = match status::write(&api, &object, before.as_ref(), &plan.status).await? {
        Written::Changed(written) => *written,
        Written::Unchanged => object,
    };
    if let Some(held) = plan.finalizer {
        fail_point("before", Some("Finalizer"));
        execute::finalizer(ctx, &object, STOPPED_FINALIZER, held).await?;
        fail_point("after", Some("Finalizer"));
    }
    for scale in &plan.scale {
        fail_point("before", Some("Scale"));
        execute::scale(ctx, &namespace, scale).await?;
        fail_point("after", Some("Scale"));
    }
    for job in &plan.delete {
        execute::delete_job(ctx, &object, job).await?;
    }
    for clone in &plan.clones {
        snapshots::ensure_clone(ctx, &object, clone).await?;
    }
    for job in plan.hook.iter().chain(&plan.start).chain(&plan.emergency) {
        execute::ensure_job(ctx, &object, job).await?;
    }
    events::publish(ctx, &object, &plan.events).await;
    Ok(action(plan.next, now))
}

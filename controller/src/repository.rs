//! RecoveryRepository: observe its probe, plan, write it down, carry it out.

use std::sync::Arc;

use crds::reference::REPOSITORY_LABEL;
use crds::{BackupPolicy, RecoveryPoint, RecoveryRepository, RecoveryRun};
use kube::api::ListParams;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use plan::effect::JobState;
use plan::{recovery, repository};

use crate::context::Context;
use crate::controllers::{action, measured};
use crate::error::Error;
use crate::{coverage, events, execute, observe, observe_job, points, status};

/// One reconciliation.
///
/// # Errors
/// When the API server can't be read or refuses a write.
pub async fn reconcile(object: Arc<RecoveryRepository>, ctx: Arc<Context>) -> Result<Action, Error> {
    let result = measured(&ctx, object.as_ref(), step(object.as_ref(), &ctx)).await;
    if result.is_err() {
        // What was seen may not have been written down: the next time it is looked at again.
        coverage::forget(&ctx, &object.namespace().unwrap_or_default(), &object.name_any());
    }
    result
}

async fn step(cached: &RecoveryRepository, ctx: &Context) -> Result<Action, Error> {
    let (namespace, name) = (cached.namespace().unwrap_or_default(), cached.name_any());
    // Read again: a cache that lags behind our own last write would announce the same probe twice.
    let Some(mut object) = observe::get::<RecoveryRepository>(ctx, &namespace, &name).await? else {
        coverage::forget(ctx, &namespace, &name);
        return Ok(Action::await_change());
    };
    let terminating =
        object.metadata.deletion_timestamp.is_some() || observe::is_terminating(ctx, &namespace).await?;
    let status = object.status.clone().unwrap_or_default();
    let job_of = async |name: Option<String>| match name {
        Some(name) => observe_job::observe(ctx, &object, &name).await,
        None => Ok(JobState::Absent),
    };
    let probe = status.probe.map(|probe| repository::job_name(&object, probe.number));
    let catalogue = status.catalogue.map(|round| repository::catalogue::job_name(&object, &round));
    let marks = status.marks.map(|round| repository::marks::job_name(&object, &round));
    let maintenance = status.maintenance.map(|round| repository::maintenance::job_name(&object, &round));
    let (job, catalogue, marks, maintenance) =
        futures::try_join!(job_of(probe), job_of(catalogue), job_of(marks), job_of(maintenance))?;
    let runs: Vec<RecoveryRun> = observe::list(ctx, &namespace, &ListParams::default()).await?;
    let policies: Vec<BackupPolicy> = observe::list(ctx, &namespace, &ListParams::default()).await?;
    let known: Vec<RecoveryPoint> = observe::list(ctx, &namespace, &ListParams::default()).await?;
    let now = (ctx.now)();
    let plan = repository::plan(&repository::Observed {
        repository: &object,
        terminating,
        job,
        catalogue,
        marks,
        maintenance,
        ended_jobs: observe::ended_jobs(ctx, &object, REPOSITORY_LABEL).await?,
        run: runs.iter().find(|run| observe::is_active(run)).map(ResourceExt::name_any),
        sealing: recovery::sealing(&runs),
        coverage: coverage::look(ctx, &object, &policies).await,
        policies: &policies,
        points: &known,
        now,
    });

    for point in &plan.catalogue.record {
        points::record(ctx, &namespace, point).await?;
    }
    for point in known.iter().filter(|point| plan.maintain.forget.contains(&point.name_any())) {
        points::forget(ctx, &namespace, point).await?;
    }
    for (name, status) in &plan.judged {
        if let Some(point) = known.iter().find(|point| point.name_any() == *name) {
            points::judge(ctx, &namespace, point, status).await?;
        }
    }

    let before = object.status.replace(plan.status.clone());
    let api: Api<RecoveryRepository> = Api::namespaced(ctx.client.clone(), &namespace);
    status::write(&api, &object, before.as_ref(), &plan.status).await?;
    for finalizer in &plan.finalizers {
        let seen = known.iter().find(|point| point.name_any() == finalizer.point);
        if let Some(point) = seen {
            points::hold_object(ctx, point, finalizer.held).await?;
        }
    }
    for job in plan.delete.iter().chain(&plan.over) {
        execute::delete_job(ctx, &object, job).await?;
    }
    let starting =
        plan.start.iter().chain(&plan.catalogue.start).chain(&plan.maintain.start).chain(&plan.mark);
    for job in starting {
        execute::ensure_job(ctx, &object, job).await?;
    }
    events::publish(ctx, &object, &plan.events).await;
    Ok(action(plan.next, now))
}

//! RecoveryRepository: observe its probe, plan, write it down, carry it out.

use std::sync::Arc;

use crds::{RecoveryPoint, RecoveryRepository};
use kube::api::ListParams;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use plan::effect::JobState;
use plan::repository;

use crate::context::Context;
use crate::controllers::{action, measured};
use crate::error::Error;
use crate::{events, execute, observe, observe_job, status};

/// One reconciliation.
///
/// # Errors
/// When the API server can't be read or refuses a write.
pub async fn reconcile(object: Arc<RecoveryRepository>, ctx: Arc<Context>) -> Result<Action, Error> {
    measured(&ctx, object.as_ref(), step(object.as_ref(), &ctx)).await
}

async fn step(cached: &RecoveryRepository, ctx: &Context) -> Result<Action, Error> {
    let (namespace, name) = (cached.namespace().unwrap_or_default(), cached.name_any());
    // Read again: a cache that lags behind our own last write would announce the same probe twice.
    let Some(mut object) = observe::get::<RecoveryRepository>(ctx, &namespace, &name).await? else {
        return Ok(Action::await_change());
    };
    let terminating =
        object.metadata.deletion_timestamp.is_some() || observe::is_terminating(ctx, &namespace).await?;
    let job = match object.status.as_ref().and_then(|status| status.probe.as_ref()) {
        Some(probe) => {
            observe_job::observe(ctx, &object, &repository::job_name(&object, probe.number)).await?
        }
        None => JobState::Absent,
    };
    let points: Vec<RecoveryPoint> = observe::list(ctx, &namespace, &ListParams::default()).await?;
    let now = (ctx.now)();
    let seen = repository::Observed { repository: &object, terminating, job, points: &points, now };
    let plan = repository::plan(&seen);

    let before = object.status.replace(plan.status.clone());
    let api: Api<RecoveryRepository> = Api::namespaced(ctx.client.clone(), &namespace);
    status::write(&api, &object, before.as_ref(), &plan.status).await?;
    if let Some(job) = &plan.delete {
        execute::delete_job(ctx, &object, job).await?;
    }
    if let Some(job) = &plan.start {
        execute::ensure_job(ctx, &object, job).await?;
    }
    events::publish(ctx, &object, &plan.events).await;
    Ok(action(plan.next, now))
}

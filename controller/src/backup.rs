//! BackupPolicy: observe its source, repository, points and capture; plan; record, write down, carry out.

use std::sync::Arc;

use crds::reference::{MANAGED_BY, MANAGED_BY_LABEL, POLICY_LABEL};
use crds::{BackupPolicy, RecoveryPoint, RecoveryRepository, RecoveryRun};
use kube::api::{ListParams, ObjectMeta, PostParams};
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use plan::backup;
use plan::backup::points::NewPoint;
use plan::effect::{JobState, label_value};

use crate::context::Context;
use crate::controllers::{action, measured};
use crate::error::{Error, is_code};
use crate::fail_point::fail_point;
use crate::{events, execute, observe, observe_job, status};

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
    let terminating =
        object.metadata.deletion_timestamp.is_some() || observe::is_terminating(ctx, &namespace).await?;
    if terminating {
        return Ok(Action::await_change());
    }
    let repository: Option<RecoveryRepository> =
        observe::get(ctx, &namespace, &object.spec.repository_ref.name).await?;
    let source = observe::source(ctx, &object).await?;
    let shared_with = match &source {
        Ok(source) => {
            let policies: Vec<BackupPolicy> = observe::list(ctx, &namespace, &ListParams::default()).await?;
            observe::shared_with(&policies, &object, &source.located.claim)
        }
        Err(_) => None,
    };
    let runs: Vec<RecoveryRun> = observe::list(ctx, &namespace, &ListParams::default()).await?;
    let points: Vec<RecoveryPoint> = observe::list(ctx, &namespace, &ListParams::default()).await?;
    let job = match object.status.as_ref().and_then(|status| status.active.as_ref()) {
        Some(active) => observe_job::observe(ctx, &object, &backup::job_name(&object, active)).await?,
        None => JobState::Absent,
    };
    let now = (ctx.now)();
    let plan = backup::plan(&backup::Observed {
        policy: &object,
        terminating,
        repository: repository.as_ref(),
        source,
        shared_with,
        held_by: observe::held_by(&runs, &name),
        job,
        ended_jobs: observe::ended_jobs(ctx, &object).await?,
        points: &points,
        now,
    });

    if let Some(point) = &plan.record {
        fail_point("before", Some("RecordPoint"));
        record(ctx, &namespace, point).await?;
        fail_point("after", Some("RecordPoint"));
    }
    let before = object.status.replace(plan.status.clone());
    let api: Api<BackupPolicy> = Api::namespaced(ctx.client.clone(), &namespace);
    status::write(&api, &object, before.as_ref(), &plan.status).await?;
    for job in &plan.delete {
        execute::delete_job(ctx, &object, job).await?;
    }
    if let Some(job) = &plan.start {
        execute::ensure_job(ctx, &object, job).await?;
    }
    events::publish(ctx, &object, &plan.events).await;
    Ok(action(plan.next, now))
}

/// Records a point: the object, then its status. It has no owner reference: deleting a policy must not take the catalogue
/// of its points along.
async fn record(ctx: &Context, namespace: &str, point: &NewPoint) -> Result<(), Error> {
    let api: Api<RecoveryPoint> = Api::namespaced(ctx.client.clone(), namespace);
    let object = format!("RecoveryPoint/{}", point.name);
    let mut fresh = RecoveryPoint::new(&point.name, point.spec.clone());
    fresh.metadata = ObjectMeta {
        name: Some(point.name.clone()),
        namespace: Some(namespace.to_owned()),
        labels: Some(
            [
                (MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned()),
                (POLICY_LABEL.to_owned(), label_value(&point.spec.policy)),
            ]
            .into(),
        ),
        ..ObjectMeta::default()
    };
    let mut found = match api.create(&PostParams::default(), &fresh).await {
        Ok(created) => created,
        Err(error) if is_code(&error, 409) => {
            let found = api.get(&point.name).await.map_err(Error::api("get", &object))?;
            if found.spec.id != point.spec.id {
                return Err(Error::NameTaken {
                    object,
                    owner: format!("BackupPolicy/{}", point.spec.policy),
                });
            }
            found
        }
        Err(error) => return Err(Error::api("create", object)(error)),
    };
    // A status that is there already was written by us before, or says more by now.
    if found.status.as_ref().is_some_and(|status| status.phase.is_some()) {
        return Ok(());
    }
    let before = found.status.replace(point.status.clone());
    status::write(&api, &found, before.as_ref(), &point.status).await.map(|_| ())
}

//! RecoveryPoints as objects: made when a point was committed or found, deleted when it was removed, let go when no repository can remove
//! their points any more. All of it is safe to repeat.

use std::sync::Arc;

use crds::point::RecoveryPointStatus;
use crds::reference::{MANAGED_BY, MANAGED_BY_LABEL, POINT_FINALIZER, POLICY_LABEL};
use crds::{RecoveryPoint, RecoveryRepository};
use kube::api::{ObjectMeta, PostParams};
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use plan::backup::points::NewPoint;
use plan::effect::{Event, label_value};
use plan::repository::deletion;
use plan::verification::Stamp;

use crate::context::Context;
use crate::controllers::measured;
use crate::error::{Error, is_code};
use crate::fail_point::fail_point;
use crate::{events, execute, observe, status};

/// One reconciliation: of a point whose object is being deleted and whose repository is gone. Everything else about points is decided with
/// their repository or their policy.
///
/// # Errors
/// When the API server can't be read or refuses a write.
pub async fn reconcile(
    object: Arc<PartialObjectMeta<RecoveryPoint>>,
    ctx: Arc<Context>,
) -> Result<Action, Error> {
    if object.metadata.deletion_timestamp.is_none() {
        return Ok(Action::await_change());
    }
    measured(&ctx, object.as_ref(), let_go(object.as_ref(), &ctx)).await
}

async fn let_go(cached: &PartialObjectMeta<RecoveryPoint>, ctx: &Context) -> Result<Action, Error> {
    let (namespace, name) = (cached.namespace().unwrap_or_default(), cached.name_any());
    let Some(point) = observe::get::<RecoveryPoint>(ctx, &namespace, &name).await? else {
        return Ok(Action::await_change());
    };
    let repository =
        observe::get::<RecoveryRepository>(ctx, &namespace, &point.spec.repository_ref.name).await?;
    let is_there = repository.is_some_and(|found| found.metadata.deletion_timestamp.is_none());
    let terminating = observe::is_terminating(ctx, &namespace).await?;
    if deletion::is_orphaned(&point, is_there, terminating) {
        hold_object(ctx, &point, false).await?;
        if !terminating {
            let why = format!("RecoveryRepository {} is gone", point.spec.repository_ref.name);
            let told = format!("RecoveryPoint {name} was deleted; {why}, so its point stays in the bucket");
            events::publish(ctx, &point, &[Event::warning("PointKept", told)]).await;
        }
    }
    Ok(Action::await_change())
}

/// Holds the object of a point until its point is removed, or lets it go; a look that is outdated is refused with a conflict.
///
/// # Errors
/// When the API server refuses.
pub async fn hold_object(ctx: &Context, point: &RecoveryPoint, held: bool) -> Result<(), Error> {
    fail_point("before", Some("PointFinalizer"));
    match execute::finalizer(ctx, point, POINT_FINALIZER, held).await {
        // It was deleted meanwhile, which is what the finalizer was to hold up or to let happen.
        Err(Error::Api { source, .. }) if is_code(&source, 404) => Ok(()),
        done => done,
    }
}

/// Records a point: the object, then its status. It has no owner reference: deleting a policy must not take the catalogue
/// of its points along. Returns whether anything was written.
///
/// # Errors
/// When the API server refuses, or the name belongs to another point.
pub async fn record(ctx: &Context, namespace: &str, point: &NewPoint) -> Result<bool, Error> {
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
        return Ok(false);
    }
    let before = found.status.replace(point.status.clone());
    status::write(&api, &found, before.as_ref(), &point.status).await.map(|_| true)
}

/// Writes down what is known of a point's trust, over the version that was read.
///
/// # Errors
/// When the API server refuses.
pub async fn judge(
    ctx: &Context,
    namespace: &str,
    point: &RecoveryPoint,
    status: &RecoveryPointStatus,
) -> Result<(), Error> {
    let api: Api<RecoveryPoint> = Api::namespaced(ctx.client.clone(), namespace);
    let changed = RecoveryPoint { status: Some(status.clone()), ..point.clone() };
    fail_point("before", Some("JudgePoint"));
    match status::write(&api, &changed, point.status.as_ref(), status).await {
        Ok(_) => Ok(()),
        // It was deleted meanwhile.
        Err(Error::Api { source, .. }) if is_code(&source, 404) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Says on a point that it was verified. One that is gone has no stamp.
///
/// # Errors
/// When the API server refuses.
pub async fn stamp(ctx: &Context, namespace: &str, stamp: &Stamp) -> Result<(), Error> {
    let Some(point) = observe::get::<RecoveryPoint>(ctx, namespace, &stamp.name).await? else {
        return Ok(());
    };
    match plan::verification::stamped(&point, stamp, (ctx.now)()) {
        Some(status) => judge(ctx, namespace, &point, &status).await,
        None => Ok(()),
    }
}

/// Deletes the object of a point that was removed from the repository: that very object, not another one of its name.
///
/// # Errors
/// When the API server refuses.
pub async fn forget(ctx: &Context, namespace: &str, point: &RecoveryPoint) -> Result<(), Error> {
    let api: Api<RecoveryPoint> = Api::namespaced(ctx.client.clone(), namespace);
    fail_point("before", Some("ForgetPoint"));
    execute::delete_this(&api, point, None).await
}

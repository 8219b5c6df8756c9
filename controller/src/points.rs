//! RecoveryPoints as objects: made when a point was committed or found, deleted when it was removed. Both are safe to repeat.

use crds::RecoveryPoint;
use crds::reference::{MANAGED_BY, MANAGED_BY_LABEL, POLICY_LABEL};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use plan::backup::points::NewPoint;
use plan::effect::label_value;

use crate::context::Context;
use crate::error::{Error, is_code};
use crate::fail_point::fail_point;
use crate::{execute, status};

/// Records a point: the object, then its status. It has no owner reference: deleting a policy must not take the catalogue
/// of its points along.
///
/// # Errors
/// When the API server refuses, or the name belongs to another point.
pub async fn record(ctx: &Context, namespace: &str, point: &NewPoint) -> Result<(), Error> {
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

/// Deletes the object of a point that was removed from the repository: that very object, not another one of its name.
///
/// # Errors
/// When the API server refuses.
pub async fn forget(ctx: &Context, namespace: &str, point: &RecoveryPoint) -> Result<(), Error> {
    let api: Api<RecoveryPoint> = Api::namespaced(ctx.client.clone(), namespace);
    fail_point("before", Some("ForgetPoint"));
    execute::delete_this(&api, point, None).await
}

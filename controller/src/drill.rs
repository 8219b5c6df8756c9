//! DrDrill: observe the runs and policies of its namespace, plan, write it down, create and delete runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use crds::reference::{DRILL_LABEL, MANAGED_BY, MANAGED_BY_LABEL};
use crds::{BackupPolicy, DrDrill, RecoveryPoint, RecoveryRun};
use kube::api::{ListParams, ObjectMeta};
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use plan::drill::{self, Child};
use plan::effect::label_value;

use crate::context::Context;
use crate::controllers::{action, measured};
use crate::error::Error;
use crate::fail_point::fail_point;
use crate::{events, execute, observe, points, status};

/// One reconciliation.
///
/// # Errors
/// When the API server can't be read or refuses a write.
pub async fn reconcile(object: Arc<DrDrill>, ctx: Arc<Context>) -> Result<Action, Error> {
    measured(&ctx, object.as_ref(), step(object.as_ref(), &ctx)).await
}

async fn step(cached: &DrDrill, ctx: &Context) -> Result<Action, Error> {
    let (namespace, name) = (cached.namespace().unwrap_or_default(), cached.name_any());
    // Read again: a cache that lags behind our own last write would announce a second run.
    let Some(mut object) = observe::get::<DrDrill>(ctx, &namespace, &name).await? else {
        return Ok(Action::await_change());
    };
    let terminating =
        object.metadata.deletion_timestamp.is_some() || observe::is_terminating(ctx, &namespace).await?;
    let policies: Vec<BackupPolicy> = observe::list(ctx, &namespace, &ListParams::default()).await?;
    let runs: Vec<RecoveryRun> = observe::list(ctx, &namespace, &ListParams::default()).await?;
    let known: Vec<RecoveryPoint> = observe::list(ctx, &namespace, &ListParams::default()).await?;
    let now = (ctx.now)();
    let plan = drill::plan(&drill::Observed {
        drill: &object,
        terminating,
        policies: &policies,
        runs: &runs,
        points: &known,
        now,
    });

    let before = object.status.replace(plan.status.clone());
    let api: Api<DrDrill> = Api::namespaced(ctx.client.clone(), &namespace);
    status::write(&api, &object, before.as_ref(), &plan.status).await?;
    events::publish(ctx, &object, &plan.events).await;
    let of_namespace: Api<RecoveryRun> = Api::namespaced(ctx.client.clone(), &namespace);
    if let Some(child) = &plan.create {
        fail_point("before", Some("CreateDrillRun"));
        execute::ensure(&of_namespace, &run(&object, child)?, "RecoveryRun").await?;
        fail_point("after", Some("CreateDrillRun"));
    }
    for stamp in &plan.stamps {
        points::stamp(ctx, &namespace, stamp).await?;
    }
    for (name, uid) in &plan.remove {
        fail_point("before", Some("DeleteDrillRun"));
        execute::delete_of_uid(&of_namespace, (name, Some(uid.clone())), "RecoveryRun", None).await?;
    }
    Ok(action(plan.next, now))
}

/// The run of a drill, which goes with it.
fn run(drill: &DrDrill, child: &Child) -> Result<RecoveryRun, Error> {
    let mut run = RecoveryRun::new(&child.name, child.spec.clone());
    run.metadata = ObjectMeta {
        name: Some(child.name.clone()),
        namespace: drill.namespace(),
        labels: Some(BTreeMap::from([
            (MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned()),
            (DRILL_LABEL.to_owned(), label_value(&drill.name_any())),
        ])),
        owner_references: Some(vec![execute::owner(drill)?]),
        ..ObjectMeta::default()
    };
    Ok(run)
}

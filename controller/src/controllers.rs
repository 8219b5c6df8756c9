//! The reconcilers and what wakes each of them. Timers exist for time only (schedules, objectives, backoff); everything
//! else is a watch, each with its reason.

use std::sync::Arc;
use std::time::Duration;

use crds::reference::{
    MANAGED_BY, MANAGED_BY_LABEL, POLICY_LABEL, REPOSITORY_LABEL, WorkloadKind, WorkloadRef,
};
use crds::{BackupPolicy, DrDrill, RecoveryPoint, RecoveryRepository, RecoveryRun};
use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::Controller;
use kube::runtime::controller::{self, Action};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::{self, Config};
use kube::{Api, Resource, ResourceExt};
use plan::effect::{Event, Next};

use crate::context::Context;
use crate::error::{Category, Error, is_code};
use crate::metrics::{ErrorLabel, KindLabel, Watched};
use crate::{backup, drill, events, observe, points, repository, run, snapshots};

/// Runs every reconciler until the process ends.
pub async fn run_all(ctx: Arc<Context>) {
    let repositories = repositories(&ctx);
    let policies = policies(&ctx);
    let (runs, drills) = (run::controller(&ctx), drills(&ctx));
    ctx.metrics.watch(Watched {
        policies: policies.store(),
        repositories: repositories.store(),
        runs: runs.store(),
        drills: drills.store(),
    });
    let repositories = repositories.run(repository::reconcile, error_policy, Arc::clone(&ctx));
    let policies = policies.run(backup::reconcile, error_policy, Arc::clone(&ctx));
    let points = points(&ctx).run(points::reconcile, error_policy, Arc::clone(&ctx));
    let drills = drills.run(drill::reconcile, error_policy, Arc::clone(&ctx));
    futures::join!(drain(repositories), drain(policies), drain(points), drain(drills), run::carry(runs, ctx));
}

fn repositories(ctx: &Context) -> Controller<RecoveryRepository> {
    let client = || ctx.client.clone();
    let controller = Controller::new(Api::<RecoveryRepository>::all(client()), Config::default());
    let store = controller.store();
    controller
        // The end of a probe.
        .owns(Api::<Job>::all(client()), ours())
        // A probe's pod that can't start changes nothing in its Job.
        .watches(Api::<Pod>::all(client()), ours(), |pod: Pod| by_label(&pod, REPOSITORY_LABEL))
        // A point that was recorded since the last probe counts.
        .watches(Api::<RecoveryPoint>::all(client()), Config::default(), |point: RecoveryPoint| {
            let repository = &point.spec.repository_ref.name;
            Some(ObjectRef::new(repository).within(&point.namespace().unwrap_or_default()))
        })
        // Maintenance waits for the end of a run, which may need any point.
        .watches(Api::<RecoveryRun>::all(client()), Config::default(), move |run: RecoveryRun| {
            let beside = store.state().into_iter().filter(move |r| r.namespace() == run.namespace());
            beside.map(|repository| ObjectRef::from_obj(repository.as_ref())).collect::<Vec<_>>()
        })
}

fn policies(ctx: &Context) -> Controller<BackupPolicy> {
    let client = || ctx.client.clone();
    let controller = Controller::new(Api::<BackupPolicy>::all(client()), Config::default());
    let store = controller.store();
    let naming = move |namespace: Option<String>, wanted: &dyn Fn(&BackupPolicy) -> bool| {
        let found = store.state().into_iter().filter(|p| p.namespace() == namespace && wanted(p));
        found.map(|policy| ObjectRef::from_obj(policy.as_ref())).collect::<Vec<_>>()
    };
    let (by_repository, by_run, by_policy) = (naming.clone(), naming.clone(), naming.clone());
    let (by_set, by_deployment, by_cron_job, by_pod) =
        (naming.clone(), naming.clone(), naming.clone(), naming);
    controller
        // The end of a capture.
        .owns(Api::<Job>::all(client()), ours())
        // A mover's pod that can't start changes nothing in its Job.
        .watches(Api::<Pod>::all(client()), ours(), |pod: Pod| by_label(&pod, POLICY_LABEL))
        // A point deleted by hand changes the count, the newest point and so the RPO.
        .watches(Api::<RecoveryPoint>::all(client()), Config::default(), |point: RecoveryPoint| {
            Some(ObjectRef::new(&point.spec.policy).within(&point.namespace().unwrap_or_default()))
        })
        // A repository that heals lets the parked captures go.
        .watches(
            Api::<RecoveryRepository>::all(client()),
            Config::default(),
            move |repository: RecoveryRepository| {
                let name = repository.name_any();
                by_repository(repository.namespace(), &|policy| {
                    policy.spec.repository_ref.name == name || policy.spec.emergency_repository() == name
                })
            },
        )
        // A run holds its policies while it lasts.
        .watches(Api::<RecoveryRun>::all(client()), Config::default(), move |run: RecoveryRun| {
            by_run(run.namespace(), &|policy| observe::names(&run, policy))
        })
        // A workload that comes up makes the source Ready; its status changes with the readiness of its pods.
        .watches(Api::<StatefulSet>::all(client()), Config::default(), move |set: StatefulSet| {
            let wanted = WorkloadRef { kind: WorkloadKind::StatefulSet, name: set.name_any() };
            by_set(set.namespace(), &|policy| policy.spec.component.workloads.contains(&wanted))
        })
        .watches(Api::<Deployment>::all(client()), Config::default(), move |deployment: Deployment| {
            let wanted = WorkloadRef { kind: WorkloadKind::Deployment, name: deployment.name_any() };
            by_deployment(deployment.namespace(), &|policy| policy.spec.component.workloads.contains(&wanted))
        })
        .watches(every::<CronJob>(&ctx.client), Config::default(), move |job: PartialObjectMeta<CronJob>| {
            let wanted = WorkloadRef { kind: WorkloadKind::CronJob, name: job.name_any() };
            by_cron_job(job.metadata.namespace, &|policy| policy.spec.component.workloads.contains(&wanted))
        })
        // The last pod of a workload that is stopped for a capture went. Metadata only: everything is read anew.
        .watches(every::<Pod>(&ctx.client), Config::default(), move |pod: PartialObjectMeta<Pod>| {
            by_pod(pod.metadata.namespace, &|policy| {
                policy.status.as_ref().is_some_and(|status| status.stopped.is_some())
            })
        })
        // A snapshot that can be read is read. Metadata only: everything is read anew.
        .watches_with(
            Api::<PartialObjectMeta<DynamicObject>>::all_with(client(), &snapshots::snapshot_resource()),
            snapshots::snapshot_resource(),
            ours(),
            |snapshot: PartialObjectMeta<DynamicObject>| by_label(&snapshot, POLICY_LABEL),
        )
        // An older policy that goes frees the claim for the newer one; and a circle of dependsOn is told by each of its members, and by
        // none of them when one opens it: what changes in one wakes those that depend on it.
        .watches(Api::<BackupPolicy>::all(client()), Config::default(), move |changed: BackupPolicy| {
            let (freed, name) = (claims_of(&changed), changed.name_any());
            by_policy(changed.namespace(), &|policy| {
                policy.uid() != changed.uid()
                    && (claims_of(policy).iter().any(|claim| freed.contains(claim))
                        || policy.spec.depends_on.iter().any(|needed| needed.name == name))
            })
        })
}

/// Metadata only: there may be many, and only those that are being deleted are looked at.
fn points(ctx: &Context) -> Controller<PartialObjectMeta<RecoveryPoint>> {
    let controller = Controller::new(every::<RecoveryPoint>(&ctx.client), Config::default());
    let store = controller.store();
    // A repository that goes leaves its points without anybody to remove them.
    controller.watches(
        every::<RecoveryRepository>(&ctx.client),
        Config::default(),
        move |repository: PartialObjectMeta<RecoveryRepository>| {
            let beside = store.state().into_iter().filter(move |point| {
                point.metadata.deletion_timestamp.is_some()
                    && point.namespace() == repository.metadata.namespace
            });
            beside.map(|point| ObjectRef::from_obj(point.as_ref())).collect::<Vec<_>>()
        },
    )
}

fn drills(ctx: &Context) -> Controller<DrDrill> {
    let controller = Controller::new(Api::<DrDrill>::all(ctx.client.clone()), Config::default());
    let store = controller.store();
    let beside = move |namespace: Option<String>, wanted: &dyn Fn(&DrDrill) -> bool| {
        let found = store.state().into_iter().filter(|drill| drill.namespace() == namespace && wanted(drill));
        found.map(|drill| ObjectRef::from_obj(drill.as_ref())).collect::<Vec<_>>()
    };
    let by_policy = beside.clone();
    controller
        // A run of it ended, or another one for which it waits.
        .watches(
            every::<RecoveryRun>(&ctx.client),
            Config::default(),
            move |run: PartialObjectMeta<RecoveryRun>| beside(run.metadata.namespace, &|_| true),
        )
        // What a drill lacks was applied. Every capture changes a policy, so nobody else is woken.
        .watches(
            every::<BackupPolicy>(&ctx.client),
            Config::default(),
            move |policy: PartialObjectMeta<BackupPolicy>| {
                by_policy(policy.metadata.namespace, &|drill| {
                    let conditions = drill.status.as_ref().map(|status| status.conditions.as_slice());
                    let ready = crds::condition::get(conditions.unwrap_or_default(), "Ready");
                    ready.is_some_and(|ready| ready.reason == "PolicyNotFound")
                })
            },
        )
}

/// All objects of a kind, their metadata only.
pub(crate) fn every<K>(client: &kube::Client) -> Api<PartialObjectMeta<K>>
where
    K: Resource<DynamicType = ()>,
{
    Api::all(client.clone())
}

/// Only what the controller made; so it holds no list of everybody's pods.
fn ours() -> Config {
    Config::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY}"))
}

fn claims_of(policy: &BackupPolicy) -> &[String] {
    let resolved = policy.status.as_ref().and_then(|status| status.resolved.as_ref());
    resolved.map_or(&[], |resolved| resolved.claims.as_slice())
}

/// The object of kind `K` that a label of `child` names.
fn by_label<K>(child: &impl ResourceExt, label: &str) -> Option<ObjectRef<K>>
where
    K: Resource<DynamicType = ()>,
{
    let name = child.labels().get(label)?;
    Some(ObjectRef::new(name).within(&child.namespace().unwrap_or_default()))
}

/// Runs a stream of reconciliations to its end. Their errors were told by [`error_policy`]; what is left are those of the
/// watches, which are begun again by themselves.
async fn drain<K>(
    results: impl Stream<Item = Result<(ObjectRef<K>, Action), controller::Error<Error, watcher::Error>>>,
) where
    K: Resource<DynamicType = ()>,
{
    results
        .for_each(async |result| match result {
            Ok(_) | Err(controller::Error::ReconcilerFailed(..) | controller::Error::ObjectNotFound(_)) => {}
            // Snapshots are no kind of Kubernetes' own: where a cluster has none, they may still come.
            Err(controller::Error::QueueError(error)) if is_missing(&error) => {
                tracing::debug!(%error, "nothing to watch");
            }
            Err(error) => tracing::warn!(%error, "a watch was interrupted"),
        })
        .await;
}

/// Whether the cluster doesn't know the kind that is watched.
fn is_missing(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) => {
            is_code(error, 404)
        }
        _ => false,
    }
}

/// When to look again, as the runtime wants it. An hour at most: a safety net under watches that may miss something.
#[must_use]
pub fn action(next: Next, now: Timestamp) -> Action {
    const NET: Duration = Duration::from_secs(3600);
    match next {
        Next::OnChange => Action::requeue(NET),
        Next::At(time) => {
            let wait = Duration::try_from(time.duration_since(now)).unwrap_or(Duration::ZERO);
            // Never at once: what is due now was done now, and a clock that runs backwards must not make a hot loop.
            Action::requeue(wait.clamp(Duration::from_millis(200), NET))
        }
    }
}

/// What to do after an error: wait for a change when only that can help, else try again, ever more slowly.
pub fn error_policy<K>(object: Arc<K>, error: &Error, ctx: Arc<Context>) -> Action
where
    K: Resource<DynamicType = ()>,
{
    let kind = static_kind::<K>();
    ctx.metrics.errors.get_or_create(&ErrorLabel { kind, category: error.category().as_str() }).inc();
    let key = key(object.as_ref());
    if error.is_permanent() {
        tracing::error!(object = key, error = error.chain(), "stopped until something changes");
        return Action::await_change();
    }
    let wait = ctx.failed(&key);
    tracing::warn!(object = key, error = error.chain(), wait = ?wait, "will be tried again");
    Action::requeue(wait)
}

/// Wraps a reconciliation with what is measured about each.
///
/// # Errors
/// Those of the reconciliation.
pub async fn measured<K, F>(ctx: &Context, object: &K, reconcile: F) -> Result<Action, Error>
where
    K: Resource<DynamicType = ()>,
    F: Future<Output = Result<Action, Error>>,
{
    let label = KindLabel { kind: static_kind::<K>() };
    ctx.metrics.reconciliations.get_or_create(&label).inc();
    let started = tokio::time::Instant::now();
    let result = reconcile.await;
    ctx.metrics.duration.get_or_create(&label).observe(started.elapsed().as_secs_f64());
    match &result {
        Ok(_) => ctx.succeeded(&key(object)),
        // Nobody but the API server knows why it refuses: a quota, an admission policy, a size. Whoever looks at the object reads it there.
        Err(error) if matches!(error.category(), Category::Forbidden | Category::Invalid) => {
            events::publish(ctx, object, &[Event::warning("Refused", error.chain())]).await;
        }
        Err(_) => {}
    }
    result
}

fn key<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!("{}/{}/{}", K::kind(&()), object.namespace().unwrap_or_default(), object.name_any())
}

/// Label values are static, so that no name of a kind is copied at every reconciliation.
fn static_kind<K: Resource<DynamicType = ()>>() -> &'static str {
    match K::kind(&()).as_ref() {
        "RecoveryRepository" => "RecoveryRepository",
        "BackupPolicy" => "BackupPolicy",
        "RecoveryPoint" => "RecoveryPoint",
        "RecoveryRun" => "RecoveryRun",
        "DrDrill" => "DrDrill",
        _ => "other",
    }
}

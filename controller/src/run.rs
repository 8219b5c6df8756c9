//! Recovery runs: observe, plan, write down, execute, until there is nothing to do but wait. It decides nothing; what
//! happens next is told by `plan::recovery`.

mod audit;
mod captures;
mod check_job;
mod execute;
mod isolation;
mod looked_at;
mod observe;
mod probe;
mod read;
mod rotations;
mod sandbox;
mod surroundings;
mod usage;

use std::sync::Arc;

use crds::reference::SANDBOX_LABEL;
use crds::run::QuarantinedVolume;
use crds::{BackupPolicy, RecoveryPoint, RecoveryRepository, RecoveryRun};
use futures::StreamExt;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use plan::recovery::{self, Notice, Plan};

use crate::context::Context;
use crate::controllers::{action, error_policy, every, measured};
use crate::error::{Category, Error};
use crate::events;
use crate::fail_point::fail_point;
use crate::status::{self, Written};

/// Most looks in one reconciliation. Each ends in a write or in waiting, so this bounds nothing but a mistake.
const MOST_LOOKS: u32 = 64;

/// What watches the runs.
pub(crate) fn controller(ctx: &Context) -> Controller<RecoveryRun> {
    Controller::new(Api::<RecoveryRun>::all(ctx.client.clone()), watcher::Config::default())
}

/// Carries every run, until the process ends.
pub(crate) async fn carry(controller: Controller<RecoveryRun>, ctx: Arc<Context>) {
    let client = &ctx.client;
    let store = controller.store();
    let neighbours = |store: &Store<RecoveryRun>| {
        let store = store.clone();
        move |namespace: Option<String>| unfinished(&store, namespace.as_deref())
    };
    // All but Jobs by metadata only: whatever changed, everything is read anew.
    controller
        // A mover ended.
        .owns(Api::<Job>::all(client.clone()), watcher::Config::default())
        // The same in a sandbox, where nothing has an owner outside.
        .watches(every::<Job>(client), sandboxed(), by_namespace(neighbours(&store)))
        // A sandbox is there, or is gone at last.
        .watches(every::<Namespace>(client), sandboxed(), by_name(neighbours(&store)))
        // The last pod of a stopped workload went.
        .watches(every::<Pod>(client), watcher::Config::default(), by_namespace(neighbours(&store)))
        // A claim was bound, or is gone at last; also one that kept a replaced volume.
        .watches(
            every::<PersistentVolumeClaim>(client),
            watcher::Config::default(),
            by_namespace(keepers(&store, |kept| kept.keep_until.is_some())),
        )
        // What a replaced volume is kept for was captured.
        .watches(
            every::<RecoveryPoint>(client),
            watcher::Config::default(),
            by_namespace(keepers(&store, |kept| kept.kept_because.is_some())),
        )
        // A volume became Available. It has no namespace and its claim is no metadata: every unfinished run looks.
        .watches(
            every::<PersistentVolume>(client),
            watcher::Config::default(),
            by_namespace(neighbours(&store)),
        )
        // A workload became ready, or somebody scaled it.
        .watches(every::<StatefulSet>(client), watcher::Config::default(), by_namespace(neighbours(&store)))
        .watches(every::<Deployment>(client), watcher::Config::default(), by_namespace(neighbours(&store)))
        // A NetworkPolicy that a breach removes or puts back is gone, or there.
        .watches(every::<NetworkPolicy>(client), watcher::Config::default(), by_namespace(neighbours(&store)))
        // A repository became usable.
        .watches(
            every::<RecoveryRepository>(client),
            watcher::Config::default(),
            by_namespace(neighbours(&store)),
        )
        .watches(every::<BackupPolicy>(client), watcher::Config::default(), by_namespace(neighbours(&store)))
        // The run that this one waits for ended.
        .watches(every::<RecoveryRun>(client), watcher::Config::default(), by_namespace(neighbours(&store)))
        .run(
            |run, ctx| async move { measured(&ctx, run.as_ref(), reconcile(&run, &ctx)).await },
            error_policy::<RecoveryRun>,
            Arc::clone(&ctx),
        )
        .for_each(|result| async move {
            if let Err(error) = result {
                tracing::debug!(%error, "a run is looked at again later");
            }
        })
        .await;
}

fn by_namespace<K>(
    runs: impl Fn(Option<String>) -> Vec<ObjectRef<RecoveryRun>>,
) -> impl Fn(PartialObjectMeta<K>) -> Vec<ObjectRef<RecoveryRun>> {
    move |object| runs(object.metadata.namespace)
}

/// What is in a sandbox, or is one.
fn sandboxed() -> watcher::Config {
    watcher::Config::default().labels(SANDBOX_LABEL)
}

fn by_name<K>(
    runs: impl Fn(Option<String>) -> Vec<ObjectRef<RecoveryRun>>,
) -> impl Fn(PartialObjectMeta<K>) -> Vec<ObjectRef<RecoveryRun>> {
    move |object| runs(object.metadata.name)
}

/// The runs that have not ended or have something left to remove, in this namespace or everywhere. What happens in a sandbox concerns its run.
fn unfinished(store: &Store<RecoveryRun>, namespace: Option<&str>) -> Vec<ObjectRef<RecoveryRun>> {
    store
        .state()
        .iter()
        .filter(|run| {
            namespace.is_none()
                || run.metadata.namespace.as_deref() == namespace
                || is_sandbox(run, namespace)
        })
        .filter(|run| {
            !run.status.as_ref().is_some_and(|status| recovery::ended(status) && recovery::is_swept(status))
        })
        .map(|run| ObjectRef::from_obj(run.as_ref()))
        .collect()
}

/// Whether a run rehearses in this namespace.
fn is_sandbox(run: &RecoveryRun, namespace: Option<&str>) -> bool {
    let sandbox = run.status.as_ref().and_then(|status| status.sandbox.as_ref());
    sandbox.is_some_and(|known| Some(known.namespace.as_str()) == namespace)
}

/// The runs of a namespace that have not ended, and those that keep a replaced volume of which this is true.
fn keepers(
    store: &Store<RecoveryRun>,
    concerned: fn(&QuarantinedVolume) -> bool,
) -> impl Fn(Option<String>) -> Vec<ObjectRef<RecoveryRun>> + use<> {
    let store = store.clone();
    move |namespace| {
        let mut runs = unfinished(&store, namespace.as_deref());
        let keeps = |run: &RecoveryRun| {
            let kept = run.status.iter().flat_map(|status| &status.quarantine);
            kept.into_iter().any(|kept| kept.released.is_none() && concerned(kept))
        };
        let ended = store.state().into_iter().filter(|run| run.metadata.namespace == namespace);
        runs.extend(ended.filter(|run| keeps(run)).map(|run| ObjectRef::from_obj(run.as_ref())));
        runs
    }
}

/// Carries `run` as far as it goes now.
///
/// # Errors
/// When the API server can't be read or written; the next reconciliation starts from what is stored.
pub async fn reconcile(run: &RecoveryRun, ctx: &Context) -> Result<Action, Error> {
    let (namespace, name) = (run.namespace().unwrap_or_default(), run.name_any());
    let runs: Api<RecoveryRun> = Api::namespaced(ctx.client.clone(), &namespace);
    for _ in 0..MOST_LOOKS {
        let Some(object) =
            runs.get_opt(&name).await.map_err(Error::api("get", format!("RecoveryRun/{name}")))?
        else {
            return Ok(Action::await_change());
        };
        let stored = object.status.clone().unwrap_or_default();
        if stored.epoch > ctx.epoch {
            return Err(Error::Superseded { ours: ctx.epoch, theirs: stored.epoch });
        }
        // What has ended and left nothing behind needs no look.
        if recovery::ended(&stored)
            && object.metadata.deletion_timestamp.is_some()
            && object.finalizers().is_empty()
        {
            return Ok(Action::await_change());
        }
        let seen = observe::observe(ctx, &object).await?;
        let Plan { effects, status, events, notices, next } = recovery::plan(&seen);
        let before = object.status.clone();
        let mark = mark(before.as_ref(), &status);
        if before.as_ref() != Some(&status) {
            fail_point("before", mark.as_deref());
        }
        let mut after = object.clone();
        after.status = Some(status.clone());
        match retry_on_conflict(status::write(&runs, &after, before.as_ref(), &status).await)? {
            None => continue,
            Some(Written::Changed(_)) => {
                fail_point("after", mark.as_deref());
                events::publish(ctx, &object, &events).await;
                let told: Vec<_> = notices.iter().map(Notice::event).collect();
                events::publish(ctx, &object, &told).await;
                continue;
            }
            Some(Written::Unchanged) => {}
        }
        if effects.is_empty() {
            return Ok(action(next, (ctx.now)()));
        }
        for effect in &effects {
            tracing::info!(run = %format!("{namespace}/{name}"), effect = effect.mark(), "carries out");
            if retry_on_conflict(execute::execute(ctx, &object, effect).await)?.is_none() {
                break;
            }
        }
    }
    tracing::warn!(run = %format!("{namespace}/{name}"), "still something to do after {MOST_LOOKS} looks");
    Ok(Action::requeue(std::time::Duration::from_secs(1)))
}

/// Somebody wrote in between: nothing when so, the next look sees what.
fn retry_on_conflict<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.category() == Category::Conflict => Ok(None),
        Err(error) => Err(error),
    }
}

/// The fail point of a status write. One that tells of nothing but a new term has none: every controller begins with it.
fn mark(
    before: Option<&crds::run::RecoveryRunStatus>,
    after: &crds::run::RecoveryRunStatus,
) -> Option<String> {
    use crds::run::StepPhase::Running;
    let same_term =
        before.map(|before| crds::run::RecoveryRunStatus { epoch: after.epoch, ..before.clone() });
    if same_term.as_ref() == Some(after) {
        return None;
    }
    let was = |name: &str| {
        before
            .into_iter()
            .flat_map(|status| &status.steps)
            .any(|step| step.name == name && step.phase == Running)
    };
    let begun = after.steps.iter().find(|step| step.phase == Running && !was(&step.name));
    Some(match begun {
        Some(step) => format!("StatusWritten/{}", step.name.split('/').next().unwrap_or_default()),
        None => "StatusWritten".to_owned(),
    })
}

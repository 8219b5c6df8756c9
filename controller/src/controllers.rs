//! The reconcilers and what wakes each of them. Timers exist for time only (schedules, objectives, backoff); everything
//! else is a watch, each with its reason.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use plan::effect::Next;

use crate::context::Context;
use crate::error::Error;
use crate::metrics::{ErrorLabel, KindLabel};

/// Runs every reconciler until the process ends.
pub async fn run(_ctx: Arc<Context>) {
    futures::stream::pending::<()>().for_each(|()| async {}).await;
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
    if result.is_ok() {
        ctx.succeeded(&key(object));
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
        _ => "other",
    }
}

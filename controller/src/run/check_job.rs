//! Makes a Job of a CronJob's template, as `kubectl create job --from` does, for a check of a recovery or to replace a credential.

use crds::reference::{MANAGED_BY, MANAGED_BY_LABEL, POLICY_LABEL, RUN_LABEL};
use crds::{RecoveryRun, Span};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::{Api, ResourceExt};
use plan::effect::label_value;

use crate::context::Context;
use crate::error::Error;
use crate::execute::{child, ensure, owner};

/// Makes it unless it is there. It is the run's, and goes with it.
///
/// # Errors
/// When the API server refuses.
pub(super) async fn make(
    ctx: &Context,
    run: &RecoveryRun,
    (name, policy): (&str, Option<&str>),
    (cron_job, timeout): (&str, Span),
) -> Result<(), Error> {
    let namespace = run.namespace().unwrap_or_default();
    let of: Api<CronJob> = Api::namespaced(ctx.client.clone(), &namespace);
    let found = of.get(cron_job).await.map_err(Error::api("get", format!("CronJob/{cron_job}")))?;
    let template = found.spec.map(|spec| spec.job_template).unwrap_or_default();
    let told = template.metadata.unwrap_or_default();
    let mut labels = told.labels.unwrap_or_default();
    labels.extend([
        (RUN_LABEL.to_owned(), label_value(&run.name_any())),
        (MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned()),
    ]);
    labels.extend(policy.map(|policy| (POLICY_LABEL.to_owned(), label_value(policy))));
    let mut job = Job { metadata: child(run, name, labels)?, spec: template.spec, status: None };
    // What it comes to wakes the run.
    job.metadata.owner_references = Some(vec![owner(run)?]);
    job.metadata.annotations = Some(told.annotations.unwrap_or_default()).filter(|all| !all.is_empty());
    let spec = job.spec.get_or_insert_default();
    let limit = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
    spec.active_deadline_seconds = Some(spec.active_deadline_seconds.unwrap_or(limit).min(limit));
    // Gone before somebody looked, it would be made again.
    spec.ttl_seconds_after_finished = None;
    ensure(&Api::<Job>::namespaced(ctx.client.clone(), &namespace), &job, "Job").await.map(drop)
}

//! What the Jobs of a repository have in common: how they are called, what they may do, and which are over.

use std::collections::BTreeMap;

use crds::job::Request;
use crds::reference::REPOSITORY_LABEL;
use crds::repository::RecoveryRepositoryStatus;
use crds::{RecoveryRepository, Span, names};
use jiff::Timestamp;

use super::{catalogue, job_name, maintenance, marks};
use crate::backoff;
use crate::effect::{MoverJob, RepositoryKeys, label_value};

/// The name of the Job with this number for a step.
pub(super) fn name(repository: &RecoveryRepository, step: &str, number: u32) -> String {
    let meta = &repository.metadata;
    names::job(
        meta.name.as_deref().unwrap_or_default(),
        meta.uid.as_deref().unwrap_or_default(),
        step,
        number,
    )
}

/// A Job that has to do with the bucket alone.
pub(super) fn job(
    repository: &RecoveryRepository,
    name: String,
    request: Request,
    keys: RepositoryKeys,
    deadline: Span,
) -> MoverJob {
    let of = repository.metadata.name.as_deref().unwrap_or_default();
    MoverJob {
        labels: BTreeMap::from([(REPOSITORY_LABEL.to_owned(), label_value(of))]),
        keys: Some(keys),
        ..MoverJob::bare(name, request, deadline)
    }
}

/// When a round that failed is tried again, if that is still to come. `name` is that of its last Job.
pub(super) fn tried_again(
    failures: u32,
    finished: Option<Timestamp>,
    name: &str,
    now: Timestamp,
) -> Option<Timestamp> {
    let due = finished.filter(|_| failures > 0)? + backoff::after(failures, name);
    (due > now).then_some(due)
}

/// The Jobs of `ended` whose results stand in this status: no round that is under way reads them.
pub(super) fn over(
    repository: &RecoveryRepository,
    status: &RecoveryRepositoryStatus,
    ended: &[String],
) -> Vec<String> {
    let probe = status.probe.iter().filter(|probe| probe.finished.is_none());
    let catalogue = status.catalogue.iter().filter(|round| round.finished.is_none());
    let marks = status.marks.iter().filter(|round| round.finished.is_none());
    let maintenance = status.maintenance.iter().filter(|round| round.finished.is_none());
    let read: Vec<String> = probe
        .map(|probe| job_name(repository, probe.number))
        .chain(catalogue.map(|round| catalogue::job_name(repository, round)))
        .chain(marks.map(|round| marks::job_name(repository, round)))
        .chain(maintenance.map(|round| maintenance::job_name(repository, round)))
        .collect();
    ended.iter().filter(|job| !read.contains(job)).cloned().collect()
}

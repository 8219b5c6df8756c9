//! Captures the ChromaDB of a policy.

use std::collections::BTreeMap;

use crds::job::{CaptureSource, FailureReason, Report, RepositoryAccess};

use super::{Desk, writable};
use crate::body::Policy;
use crate::capture::Capture;
use crate::failure::{Failure, Result};
use crate::places::data_dir;
use crate::report;

pub(super) async fn capture(
    desk: &Desk,
    access: &RepositoryAccess,
    attempt: String,
    source: CaptureSource,
) -> Result<Report> {
    writable(access, "no capture is taken")?;
    let volume = desk.places.source();
    data_dir(&volume, &source.data_path)?;
    let max_writer_pause = source.max_writer_pause.try_into().map_err(|_| {
        let why = format!("maxWriterPause {} must not be negative", source.max_writer_pause);
        Failure::new(FailureReason::InvalidRequest, why)
    })?;
    // Opened before the lock is taken: a wrong key must not hold writers for nothing.
    let repository = desk.open_locking(access).await?;
    if let Some(point) = repository.find_by_attempt(&attempt).await? {
        desk.telling.say(format!("attempt {attempt} was committed before, as point {}", point.id));
        return super::confirm::committed(desk, &repository, &point).await;
    }
    let capture = Capture {
        volume,
        data_path: source.data_path,
        scratch: desk.places.scratch(),
        max_writer_pause,
        image: source.image,
        component: source.policy.clone(),
        tags: BTreeMap::from([("namespace".to_owned(), source.namespace.clone())]),
        policy: Some(Policy {
            name: source.policy,
            namespace: source.namespace,
            claim: source.claim,
            spec: source.policy_spec,
        }),
        started: (desk.environment.clock)(),
        attempt: Some(attempt),
    };
    let committed = crate::capture::capture(&repository, capture, &desk.telling).await?;
    report::captured(&committed.point)
}

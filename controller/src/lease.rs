//! Leader election by one Lease. Only the leader reconciles; every term has a number that grows (`leaseTransitions`),
//! the epoch that runs record in their status.
//!
//! Every write replaces the Lease with the resourceVersion that was read, so that of two candidates racing for it the
//! API server lets one win (409 for the other). A holder counts as gone when its record did not change for the record's
//! own duration *as seen from here*: clocks of other machines are never compared with ours. It refuses to run leaders in
//! parallel knowingly, but an API server that is slow to answer can't be told from a dead one: every effect must
//! therefore bear a late writer (uid and resourceVersion preconditions).

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, ResourceExt};
use tokio::time::{Instant, MissedTickBehavior};

use crate::error::{Error, is_code};

/// How long a silent holder keeps the Lease.
pub const DURATION: Duration = Duration::from_secs(15);
/// How often the holder renews, and candidates look.
const PERIOD: Duration = Duration::from_secs(2);
/// A holder that could not renew for this long stops, well before anybody may take over.
const GIVE_UP: Duration = Duration::from_secs(10);

/// A candidate for a Lease, and its holder later.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    now: fn() -> Timestamp,
    /// The foreign record last seen and when it was seen first.
    seen: Option<(String, Instant)>,
    /// The Lease as we wrote it last.
    held: Option<Lease>,
}

impl Candidate {
    /// A candidate that calls itself `identity`. The same identity must never run twice at once: a pod's uid is good,
    /// since its container is only started again after the old one is gone, and takes over without waiting.
    #[must_use]
    pub fn new(api: Api<Lease>, name: String, identity: String, now: fn() -> Timestamp) -> Self {
        Self { api, name, identity, now, seen: None, held: None }
    }

    /// Waits until the Lease is ours; returns the number of the term.
    pub async fn lead(&mut self) -> i64 {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match tokio::time::timeout(GIVE_UP / 2, self.attempt(Instant::now())).await {
                Ok(Ok(Some(epoch))) => return epoch,
                Ok(Ok(None)) => {}
                Ok(Err(error)) => tracing::warn!(error = error.chain(), "the Lease could not be taken"),
                Err(_) => tracing::warn!("the API server did not answer about the Lease"),
            }
        }
    }

    /// Renews until the Lease is lost; returns why. The caller must stop acting at once.
    pub async fn keep(&mut self) -> String {
        let mut renewed = Instant::now();
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // The deadline also covers a request that hangs.
            let deadline = renewed + GIVE_UP;
            let sent = tokio::time::timeout_at(deadline, async {
                ticks.tick().await;
                (Instant::now(), self.renew().await)
            });
            match sent.await {
                Ok((at, Ok(true))) => renewed = at,
                Ok((_, Ok(false))) => return format!("another controller took the Lease {}", self.name),
                Ok((_, Err(error))) => {
                    tracing::warn!(error = error.chain(), "the Lease could not be renewed")
                }
                Err(_) => return format!("the Lease {} could not be renewed for {GIVE_UP:?}", self.name),
            }
        }
    }

    /// Gives the Lease back, so that the next leader need not wait. Best effort.
    pub async fn release(mut self) {
        if let Some(mut lease) = self.held.take() {
            if let Some(spec) = &mut lease.spec {
                spec.holder_identity = None;
                spec.lease_duration_seconds = Some(1);
            }
            if let Err(error) = self.api.replace(&self.name, &PostParams::default(), &lease).await {
                tracing::info!(%error, "the Lease was not given back; it runs out by itself");
            }
        }
    }

    /// Tries once to take the Lease; the term's number when it is ours now.
    ///
    /// # Errors
    /// When the API server can't be reached or refuses; losing a race is no error.
    pub async fn attempt(&mut self, at: Instant) -> Result<Option<i64>, Error> {
        let found = self.api.get_opt(&self.name).await.map_err(Error::api("get", self.object()))?;
        let Some(found) = found else {
            let fresh =
                self.record(ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() }, None);
            return self.taken(self.api.create(&PostParams::default(), &fresh).await);
        };
        let version = found.resource_version().ok_or_else(|| Error::Incomplete {
            object: self.object(),
            // Without it a write would overwrite whatever a rival wrote meanwhile.
            field: "resourceVersion",
        })?;
        let spec = found.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        if !holder.is_empty() && holder != self.identity {
            let since = match &self.seen {
                Some((seen, since)) if *seen == version => *since,
                _ => {
                    self.seen = Some((version, at));
                    at
                }
            };
            let patience =
                spec.lease_duration_seconds.map_or(DURATION, |s| Duration::from_secs(s.max(1) as u64));
            if at.duration_since(since) < patience {
                return Ok(None);
            }
        }
        let next = self.record(found.metadata, Some(&spec));
        self.taken(self.api.replace(&self.name, &PostParams::default(), &next).await)
    }

    async fn renew(&mut self) -> Result<bool, Error> {
        let Some(held) = &self.held else { return Ok(false) };
        let mut next = held.clone();
        if let Some(spec) = &mut next.spec {
            spec.renew_time = Some(MicroTime((self.now)()));
        }
        match self.api.replace(&self.name, &PostParams::default(), &next).await {
            Ok(lease) => {
                self.held = Some(lease);
                Ok(true)
            }
            // Our own write may have been the one that changed the version, with its answer lost. Look before giving up.
            Err(error) if is_code(&error, 409) => {
                let found = self.api.get(&self.name).await.map_err(Error::api("get", self.object()))?;
                let ours = same_term(&found, held);
                if ours {
                    self.held = Some(found);
                }
                Ok(ours)
            }
            Err(error) if is_code(&error, 404) => Ok(false),
            Err(error) => Err(Error::api("renew", self.object())(error)),
        }
    }

    fn taken(&mut self, answer: kube::Result<Lease>) -> Result<Option<i64>, Error> {
        match answer {
            Ok(lease) => {
                let epoch = lease.spec.as_ref().and_then(|s| s.lease_transitions).unwrap_or_default();
                self.held = Some(lease);
                Ok(Some(i64::from(epoch)))
            }
            Err(error) if is_code(&error, 409) => Ok(None),
            Err(error) => Err(Error::api("take", self.object())(error)),
        }
    }

    fn record(&self, metadata: ObjectMeta, before: Option<&LeaseSpec>) -> Lease {
        let now = (self.now)();
        // A Lease made anew (another release, a deleted namespace) must not begin a smaller term than the one that runs
        // recorded: the first number is the minute of its making.
        let floor = i32::try_from(now.as_second() / 60).unwrap_or(i32::MAX - 1_000_000);
        let last = before.and_then(|spec| spec.lease_transitions).unwrap_or_default();
        Lease {
            metadata,
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: Some(DURATION.as_secs() as i32),
                acquire_time: Some(MicroTime(now)),
                renew_time: Some(MicroTime(now)),
                lease_transitions: Some(last.saturating_add(1).max(floor)),
                ..LeaseSpec::default()
            }),
        }
    }

    fn object(&self) -> String {
        format!("Lease/{}", self.name)
    }
}

fn same_term(a: &Lease, b: &Lease) -> bool {
    let term = |lease: &Lease| {
        lease.spec.as_ref().map(|spec| (spec.holder_identity.clone(), spec.lease_transitions))
    };
    term(a).is_some() && term(a) == term(b)
}

#[cfg(test)]
mod tests;

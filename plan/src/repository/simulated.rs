//! What both simulations of a repository's rounds have: Jobs that movers work off, and a controller that dies after so many
//! writes.

use crds::RecoveryRepository;
use crds::job::Report;
use serde_json::json;

use crate::effect::{JobState, MoverJob};

/// A repository that can be used.
pub(super) fn ready() -> RecoveryRepository {
    serde_json::from_value(json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRepository",
        "metadata": {"name": "primary", "namespace": "arxiv", "uid": "u-1", "generation": 1, "creationTimestamp": "2026-11-23T09:00:00Z"},
        "spec": {
            "s3": {"bucket": "yourorg-dr", "credentials": {"writer": {"secretRef": {"name": "s3"}}}},
            "encryption": {"keySecretRef": {"name": "key"}, "escrow": {"acknowledged": {"fingerprint": "7c1f-09aa-52d3"}}}
        },
        "status": {
            "uniqueID": "repo-1", "keyFingerprint": "7c1f-09aa-52d3", "keySlots": 1,
            "conditions": [{"type": "Ready", "status": "True", "reason": "Armed", "message": "", "lastTransitionTime": "2026-11-23T09:40:00Z"}]
        }
    }))
    .unwrap()
}

/// The writes that a controller has left.
pub(super) struct Writes(pub(super) usize);

impl Writes {
    /// Whether one more comes through.
    pub(super) fn come_through(&mut self) -> bool {
        let left = self.0 > 0;
        self.0 = self.0.saturating_sub(1);
        left
    }
}

/// The Jobs of a cluster.
#[derive(Default)]
pub(super) struct Jobs {
    there: Vec<(MoverJob, JobState)>,
    /// What the next mover does instead of its work.
    pub(super) fails: Option<JobState>,
    /// Names of all that were ever started.
    pub(super) started: Vec<String>,
}

impl Jobs {
    pub(super) fn is_empty(&self) -> bool {
        self.there.is_empty()
    }

    fn is_there(&self, name: &str) -> bool {
        self.there.iter().any(|(job, _)| job.name == name)
    }

    pub(super) fn state(&self, name: Option<String>) -> JobState {
        let found = self.there.iter().find(|(job, _)| Some(&job.name) == name.as_ref());
        found.map_or(JobState::Absent, |(_, state)| state.clone())
    }

    pub(super) fn ended(&self) -> Vec<String> {
        let ended = self.there.iter().filter(|(_, state)| !matches!(state, JobState::Running { .. }));
        ended.map(|(job, _)| job.name.clone()).collect()
    }

    /// Deletes and starts Jobs as far as the controller comes.
    pub(super) fn carry_out(&mut self, over: &[String], start: Option<MoverJob>, writes: &mut Writes) {
        for name in over {
            if self.is_there(name) && writes.come_through() {
                self.there.retain(|(job, _)| job.name != *name);
            }
        }
        if let Some(job) = start
            && !self.is_there(&job.name)
            && writes.come_through()
        {
            self.started.push(job.name.clone());
            self.there.push((job, JobState::Running { waiting: None }));
        }
    }

    /// The movers do their work.
    pub(super) fn work(&mut self, mut answer: impl FnMut(&MoverJob) -> Report) {
        for (job, state) in self.there.iter_mut().filter(|(_, s)| matches!(s, JobState::Running { .. })) {
            let said = answer(job);
            *state = self.fails.take().unwrap_or(JobState::Ended(said));
        }
    }
}

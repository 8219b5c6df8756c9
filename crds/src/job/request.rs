//! What a mover is asked.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::{Deserialize, Serialize};

use super::asked::{Answer, ComponentRules, HeldPoint, PointTrust, RunMark, TestMail, VerifiedPoint};
use super::{
    AuditRequest, CaptureSource, HeldDatabase, LossRequest, RepositoryAccess, RepositoryPlace, Revoked,
    Rotation, Snapshots, Turn,
};
use crate::policy::{ChromaCount, ChromaQuery, Cut, Endpoint, Hook, ServerAuth};
use crate::reference::WorkloadRef;

/// One thing for a mover to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Request {
    /// Open the repository, creating it when the place is empty and no id is expected, and say what it can do.
    Probe {
        /// The repository.
        repository: RepositoryAccess,
    },
    /// Capture the volumes mounted below [`SOURCE_DIR`](super::SOURCE_DIR), and the objects of [`OBJECT_ENV`](super::OBJECT_ENV) or mounted
    /// below [`OBJECTS_DIR`](super::OBJECTS_DIR).
    Capture {
        /// The repository.
        repository: RepositoryAccess,
        /// Unique name of this attempt; the commit record carries it, so that [`Request::Confirm`] can look for it.
        attempt: String,
        /// What is captured.
        source: CaptureSource,
        /// It is one of several that a pod takes, one after the other, its containers sharing their scratch space.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        turn: Option<Turn>,
        /// The volumes are clones of snapshots that were cut so: nobody writes to them. They are mounted below
        /// [`TREE_VOLUMES`](super::TREE_VOLUMES), and stored from there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cut: Option<Cut>,
    },
    /// Capture what can still be read of the volumes mounted read-only below [`SOURCE_DIR`](super::SOURCE_DIR), the objects as in
    /// [`Request::Capture`], and what an earlier container of the pod left below [`EVIDENCE_DIR`](super::EVIDENCE_DIR). Files are read
    /// plainly: no lock is taken, no server asked, no database opened in place. What can't be read is recorded, and is no failure.
    Preserve {
        /// The repository.
        repository: RepositoryAccess,
        /// Unique name of this attempt, as in [`Request::Capture`].
        attempt: String,
        /// What is captured.
        source: CaptureSource,
        /// Nothing writes to the volumes meanwhile: their workloads are stopped.
        stopped: bool,
    },
    /// Ask the cluster for a snapshot of each volume, and wait until the storage has cut them all; beside a ChromaDB while its writers are
    /// held.
    Cut {
        /// The snapshots.
        snapshots: Snapshots,
        /// The ChromaDB whose only volume is mounted below [`SOURCE_DIR`](super::SOURCE_DIR); absent for anything else, whose volumes are
        /// cut one after the other as a power failure would.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        chroma_db: Option<HeldDatabase>,
        /// Longest wait for the storage where no writer is held.
        patience: SignedDuration,
    },
    /// Run a command in pods, one after the other.
    Hook {
        /// Namespace of the pods.
        namespace: String,
        /// The pods. One that is gone needs no command any more.
        pods: Vec<String>,
        /// The command.
        hook: Hook,
        /// The first pod in which it fails is the last; otherwise every pod has its turn.
        all_or_none: bool,
        /// One that is gone is a failure all the same: what was asked for was not done.
        #[serde(default)]
        needed: bool,
    },
    /// Look from here whether endpoints answer: resolve each name, and connect.
    Diagnose {
        /// The endpoints, [`MAX_ENDPOINTS`](super::MAX_ENDPOINTS) at most.
        endpoints: Vec<Endpoint>,
        /// None is to answer from here, and a network may be a moment late with a pod that is new: so long is waited until none does. Absent: one
        /// look will do.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        patience: Option<SignedDuration>,
    },
    /// Connect to endpoints from a pod that an isolation does not except, before and after: see
    /// [`IsolationProbed`](super::IsolationProbed). The API server is probed first, at the address that every pod is told.
    ProbeIsolation {
        /// Endpoints besides the API server, [`MAX_ENDPOINTS`](super::MAX_ENDPOINTS) with it at most.
        endpoints: Vec<Endpoint>,
        /// Connect first, hold one connection open, and then listen on this port: from then on the isolation may begin. Absent: it has begun.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ready_on: Option<u16>,
        /// How long to wait until nothing connects any more.
        patience: SignedDuration,
    },
    /// Say what points there are, the newest first.
    Catalogue {
        /// The repository.
        repository: RepositoryAccess,
        /// Ids of points that are known, and left out.
        known: Vec<String>,
    },
    /// Say which points no rule keeps. Changes nothing.
    Judge {
        /// The repository.
        repository: RepositoryAccess,
        /// What is kept of each component; of one that is not named everything is.
        rules: Vec<ComponentRules>,
        /// Ids of points that are kept whatever the rules say.
        held: Vec<String>,
    },
    /// Remove these points, and what no point needs any more.
    Prune {
        /// The repository.
        repository: RepositoryAccess,
        /// Their ids. One that is gone already is no failure.
        remove: Vec<String>,
    },
    /// Write down in the bucket which points are on hold, and which are no more; which are trusted, and which are not.
    Mark {
        /// The repository.
        repository: RepositoryAccess,
        /// Points that are held, with the reasons.
        hold: Vec<HeldPoint>,
        /// Ids of points that were released.
        release: Vec<String>,
        /// What is said of the trust of points.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        trust: Vec<PointTrust>,
        /// Points that were restored and found as captured.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        verified: Vec<VerifiedPoint>,
    },
    /// Write down in the bucket which values are void: those of these that lie in the Secret which keeps what was replaced, and are not what the
    /// Secret holds now. Both are mounted below [`OBJECTS_DIR`](super::OBJECTS_DIR); only keyed digests are written.
    Revoke {
        /// The repository.
        repository: RepositoryAccess,
        /// Name of the Secret that keeps them.
        keeper: String,
        /// Which.
        values: Vec<Revoked>,
        /// Who says so: `run/breach-2026-11-23`.
        by: String,
    },
    /// Seal the repository by a mark in the bucket, or unseal it by another one.
    Seal {
        /// The repository.
        repository: RepositoryAccess,
        /// Whether it is to be sealed.
        seal: bool,
        /// Who says so: `run/breach-2026-11-23`.
        by: String,
        /// Why, for people.
        reason: String,
    },
    /// Write the report of the run that stands in the [`OBJECT_ENV`](super::OBJECT_ENV)s, a piece of its JSON in each, as documents of the repository.
    WriteReport {
        /// The repository. A sealed one takes it.
        repository: RepositoryAccess,
        /// What the names of the documents begin with, see [`ReportStatus::path`](crate::run::ReportStatus::path).
        path: String,
    },
    /// Look for the commit record of a capture whose Report was lost.
    Confirm {
        /// The repository.
        repository: RepositoryAccess,
        /// The attempt to look for.
        attempt: String,
    },
    /// Check the volume mounted read-only below [`SOURCE_DIR`](super::SOURCE_DIR) and say what is broken. Reads only; opens no database
    /// in place (SQLite would roll back a hot journal), but a copy in [`SCRATCH_DIR`](super::SCRATCH_DIR).
    CheckIntegrity {
        /// Name of the claim.
        claim: String,
        /// Path of the data below the mount, without a leading slash; empty for the mount itself.
        data_path: String,
    },
    /// Check what was preserved of the volumes of a component, never the volumes themselves: the point is restored into
    /// [`SCRATCH_DIR`](super::SCRATCH_DIR) and looked at there. Where indices of a database are broken, whether building them anew from what
    /// they index makes it whole is tried with that copy.
    CheckPreserved {
        /// The repository.
        repository: RepositoryAccess,
        /// Id of the point, an emergency capture.
        point: String,
        /// Path of a ChromaDB's data below the mount of its only volume, without a leading slash; absent for an application.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        data_path: Option<String>,
    },
    /// Restore points into [`SCRATCH_DIR`](super::SCRATCH_DIR), one after the other, and hold each against its record: every hash, and of a
    /// ChromaDB the offline structure check and every collection's fingerprint. Writes nothing to the repository.
    VerifyPoints {
        /// The repository.
        repository: RepositoryAccess,
        /// Their ids, the most important first, [`MAX_VERIFIED`](super::MAX_VERIFIED) at most.
        points: Vec<String>,
        /// How long it may take: no point but the first is begun that would probably take longer.
        within: SignedDuration,
    },
    /// Write the objects of a point and the policy that it was captured for into [`RECREATE_DIR`](super::RECREATE_DIR), for a container of the
    /// same pod that has no key.
    Extract {
        /// The repository.
        repository: RepositoryAccess,
        /// Id of the point.
        point: String,
        /// The run on whose behalf: recorded as in [`Request::Restore`].
        run: RunMark,
    },
    /// Create those of the objects in [`RECREATE_DIR`](super::RECREATE_DIR) that do not exist, and change none that does. Workloads of the
    /// component are created stopped. A claim whose volume the point holds is created under the name that a recovery restores into.
    Recreate {
        /// Namespace.
        namespace: String,
        /// Uid of the run.
        run: String,
        /// Labels of the claims that are created to restore into.
        labels: BTreeMap<String, String>,
        /// StorageClass of these claims; absent: the one that the lost claim had.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        storage_class: Option<String>,
        /// The sandbox that everything but the claims to restore into is created in, tamed: nothing in it is reached from outside, runs by
        /// itself or touches its node. Absent: all is created in the namespace.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sandbox: Option<String>,
    },
    /// Write what people need to see of a component besides its volumes and objects into [`EVIDENCE_DIR`](super::EVIDENCE_DIR), for a container
    /// of the same pod that has a key: the logs of its pods, and what the cluster says. Nodes and volumes come in
    /// [`OBJECT_ENV`](super::OBJECT_ENV), for no account of a mover sees beyond its namespace. What can't be read is told, and is no failure.
    Collect {
        /// Namespace.
        namespace: String,
        /// Whose pods they are, whether or not these workloads still exist.
        workloads: Vec<WorkloadRef>,
        /// So are pods that mount one of these.
        claims: Vec<String>,
        /// How far back logs go.
        logs_since: SignedDuration,
        /// How long it may take; what was not collected by then is told.
        within: SignedDuration,
        /// What is known already not to be captured, a sentence each: it is told with the rest.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        missing: Vec<String>,
    },
    /// Replace values of Secrets, each once: the Secret is marked with the rotation in the same write, and what is marked is done. What they were
    /// is kept first, in a Secret of its own. `from` Secrets are mounted below [`OBJECTS_DIR`](super::OBJECTS_DIR).
    Rotate {
        /// Namespace.
        namespace: String,
        /// Uid of the run.
        run: String,
        /// Name of the Secret that keeps what was replaced.
        keeper: String,
        /// What it goes with.
        owner: OwnerReference,
        /// What is replaced, [`MAX_ROTATIONS`](crate::run::MAX_ROTATIONS) at most.
        rotations: Vec<Rotation>,
    },
    /// Write the names of the namespace's ConfigMaps and Secrets into [`EVIDENCE_DIR`](super::EVIDENCE_DIR), never what they hold, for a container of
    /// the same pod that has a key. What can't be listed is told, and is no failure.
    Inventory {
        /// Namespace.
        namespace: String,
        /// How long it may take.
        within: SignedDuration,
    },
    /// Hold what emergency captures took of components against their last known good, and store all that an audit found in the repository. Volumes are
    /// looked at in copies in [`SCRATCH_DIR`](super::SCRATCH_DIR). What can't be looked at is told, and is no failure.
    Audit(Box<AuditRequest>),
    /// Count the records that a replaced volume has and the restored point does not, and store their ids in the repository. The volume is read plainly; both
    /// states are looked at as copies in [`SCRATCH_DIR`](super::SCRATCH_DIR).
    CountLoss(Box<LossRequest>),
    /// Restore volumes of a point into those mounted below [`TARGET_DIR`](super::TARGET_DIR), which hold nothing but what an earlier attempt
    /// of the same step left.
    Restore {
        /// The repository.
        repository: RepositoryAccess,
        /// Id of the point.
        point: String,
        /// The claims whose volumes are restored. A single one gets the only volume of the point, whatever that was called.
        claims: Vec<String>,
        /// The run on whose behalf data is restored: recorded in the repository before the first byte is written, so that
        /// the same run can't be carried out again from another cluster or after its namespace was deleted.
        run: RunMark,
    },
    /// Hold the volumes mounted below [`TARGET_DIR`](super::TARGET_DIR) against the point: every file's digest, and of a ChromaDB the
    /// offline structure check and every collection's fingerprint. Changes nothing.
    VerifyOffline {
        /// The repository.
        repository: RepositoryAccess,
        /// Id of the point.
        point: String,
        /// The claims whose volumes were restored, as in [`Request::Restore`].
        claims: Vec<String>,
        /// Path of a ChromaDB's data below its mount, without a leading slash; absent for an application.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        data_path: Option<String>,
    },
    /// Hold a running ChromaDB against the point through its API.
    Validate {
        /// The repository.
        repository: RepositoryAccess,
        /// Id of the point.
        point: String,
        /// Base URL of the server, e.g. `http://chromadb.arxiv.svc:8000`.
        url: String,
        /// How it is asked; what is in the Secret comes in [`SERVER_TOKEN_ENV`](super::SERVER_TOKEN_ENV), or in
        /// [`SERVER_USER_ENV`](super::SERVER_USER_ENV) and [`SERVER_PASSWORD_ENV`](super::SERVER_PASSWORD_ENV).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        auth: Option<ServerAuth>,
        /// What the credential was before it was replaced has to be refused; it comes in
        /// [`REVOKED_TOKEN_ENV`](super::REVOKED_TOKEN_ENV) and so on, from this Secret.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revoked: Option<String>,
        /// Collections that have to have so many records, and the names of these checks.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        counts: Vec<(String, ChromaCount)>,
        /// How well the indices have to find what is near, and the names of these checks.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        queries: Vec<(String, ChromaQuery)>,
        /// Services that have to answer.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        answers: Vec<Answer>,
        /// Mails that have to be taken.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        mails: Vec<TestMail>,
        /// What the component needs from outside: whether it can be reached is told.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        endpoints: Vec<Endpoint>,
    },
    /// See whether Services answer, and whether endpoints can be reached.
    Check {
        /// The Services.
        answers: Vec<Answer>,
        /// Mails that have to be taken.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        mails: Vec<TestMail>,
        /// The endpoints.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        endpoints: Vec<Endpoint>,
    },
}

impl Request {
    /// The repository that is opened, where one is.
    #[must_use]
    pub fn repository(&self) -> Option<&RepositoryAccess> {
        match self {
            Self::Probe { repository }
            | Self::Capture { repository, .. }
            | Self::Preserve { repository, .. }
            | Self::Catalogue { repository, .. }
            | Self::Judge { repository, .. }
            | Self::Prune { repository, .. }
            | Self::Mark { repository, .. }
            | Self::Revoke { repository, .. }
            | Self::Seal { repository, .. }
            | Self::WriteReport { repository, .. }
            | Self::Confirm { repository, .. }
            | Self::CheckPreserved { repository, .. }
            | Self::VerifyPoints { repository, .. }
            | Self::Extract { repository, .. }
            | Self::Restore { repository, .. }
            | Self::VerifyOffline { repository, .. }
            | Self::Validate { repository, .. } => Some(repository),
            Self::Audit(asked) => Some(&asked.repository),
            Self::CountLoss(asked) => Some(&asked.repository),
            Self::Cut { .. }
            | Self::Hook { .. }
            | Self::Diagnose { .. }
            | Self::ProbeIsolation { .. }
            | Self::CheckIntegrity { .. }
            | Self::Recreate { .. }
            | Self::Rotate { .. }
            | Self::Collect { .. }
            | Self::Inventory { .. }
            | Self::Check { .. } => None,
        }
    }

    /// The claim of the volume on which its repository is.
    #[must_use]
    pub fn repository_claim(&self) -> Option<&str> {
        match &self.repository()?.place {
            RepositoryPlace::Volume { claim } => Some(claim),
            RepositoryPlace::S3 { .. } => None,
        }
    }

    /// Whether the Kubernetes API is talked to.
    #[must_use]
    pub fn asks_the_cluster(&self) -> bool {
        matches!(self, Self::Cut { .. } | Self::Hook { .. } | Self::Recreate { .. } | Self::Rotate { .. })
            || self.leaves_evidence()
    }

    /// Whether it looks at the cluster for a container of its pod that has a key.
    #[must_use]
    pub fn leaves_evidence(&self) -> bool {
        matches!(self, Self::Collect { .. } | Self::Inventory { .. })
    }
}

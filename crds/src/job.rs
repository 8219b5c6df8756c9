//! What the controller and a mover Job say to each other: a [`Request`] in, a [`Report`] out.
//!
//! The Request travels as JSON in the environment variable [`REQUEST_ENV`] of the Job's only container; it never
//! holds a secret. Credentials and keys are mounted by Kubernetes at the paths named here, so the controller needs
//! no right to read them. The Report is the container's termination message, [`REPORT_LIMIT`] bytes at most: every
//! list in it is bounded, what is larger stays in the repository. A Job that ended without a Report says nothing
//! about its result: see [`Request::Confirm`].

mod access;
mod asked;
mod audit;
mod failure;
mod losses;
mod message;
mod report;
mod request;
mod rotation;
mod source;
mod verified;

pub use access::{RepositoryAccess, RepositoryPlace};
pub use asked::{Answer, ComponentRules, HeldPoint, PointTrust, RunMark, TestMail, VerifiedPoint};
pub use audit::{AuditRequest, Audited, AuditedComponent};
pub use failure::{Failure, FailureReason};
pub use losses::LossRequest;
pub use report::{
    Captured, CapturedChroma, CapturedFiles, Catalogued, CataloguedPoint, CheckResult, Checked, Collected,
    CollectionSummary, Content, Diagnosed, Emergency, EndpointSeen, Finding, IsolationProbed, Judged,
    LockTried, Probed, Pruned, Recreated, Report, Restored, Torn, UnreadableRange, Verified,
};
pub use request::Request;
pub use rotation::{Change, NotRotated, Revoked, Rotated, Rotation};
pub use source::{CaptureSource, HeldDatabase, Snapshots, SourceContent, Turn};
pub use verified::{PointVerified, PointsVerified};

/// Environment variable that carries the [`Request`] as JSON.
pub const REQUEST_ENV: &str = "HOLDFAST_REQUEST";
/// Environment variables that carry an object to capture each, as JSON: `HOLDFAST_OBJECT_0` and so on. None holds a secret.
pub const OBJECT_ENV: &str = "HOLDFAST_OBJECT_";
/// Environment variable with the token that a running ChromaDB wants, from a Secret.
pub const SERVER_TOKEN_ENV: &str = "HOLDFAST_SERVER_TOKEN";
/// Environment variable with the user that it wants, from a Secret.
pub const SERVER_USER_ENV: &str = "HOLDFAST_SERVER_USER";
/// Environment variable with that user's password, from a Secret.
pub const SERVER_PASSWORD_ENV: &str = "HOLDFAST_SERVER_PASSWORD";
/// Environment variables with what those were before a run replaced them, from the Secret that keeps it.
pub const REVOKED_TOKEN_ENV: &str = "HOLDFAST_REVOKED_TOKEN";
/// See [`REVOKED_TOKEN_ENV`].
pub const REVOKED_USER_ENV: &str = "HOLDFAST_REVOKED_USER";
/// See [`REVOKED_TOKEN_ENV`].
pub const REVOKED_PASSWORD_ENV: &str = "HOLDFAST_REVOKED_PASSWORD";
/// Name of the check that a ChromaDB refuses the credential which a run has replaced.
pub const REVOKED_REFUSED: &str = "old-credential-refused";
/// Name of the check that asked-for credentials were replaced, of the whole run.
pub const CREDENTIALS_ROTATED: &str = "credentials-rotated";
/// Name of the check that a ChromaDB which is asked with a credential refuses whoever has none.
pub const CREDENTIAL_WANTED: &str = "credential-wanted";
/// What Kubernetes keeps of a termination message, in bytes.
pub const REPORT_LIMIT: usize = 4096;
/// Captures that one pod takes, one after the other, at most. The kubelet keeps 12 KiB of all messages of a pod and gives each container
/// the same share, also those that have nothing to say yet.
pub const MAX_TURNS: u32 = 8;
/// What it keeps of the message of one of them, in bytes.
pub const TURN_REPORT_LIMIT: usize = 12 * 1024 / MAX_TURNS as usize;
/// Directory where the repository's key Secret is mounted; its file is [`KEY_FILE`].
pub const KEY_DIR: &str = "/var/run/holdfast/key";
/// Directory where the escrow key Secret is mounted, when the repository names one; its file is [`KEY_FILE`].
pub const ESCROW_DIR: &str = "/var/run/holdfast/escrow";
/// Key of a repository key Secret, and so the name of the mounted file. One trailing newline is not part of the key.
pub const KEY_FILE: &str = "password";
/// Directory where the CA bundle ConfigMap is mounted, when the repository names one; its file is [`CA_FILE`].
pub const CA_DIR: &str = "/var/run/holdfast/ca";
/// Key of a CA bundle ConfigMap, PEM.
pub const CA_FILE: &str = "ca.crt";
/// Where the volume of a repository is mounted.
pub const REPOSITORY_DIR: &str = "/var/run/holdfast/repository";
/// Where volumes to capture or to look at are mounted, each at a directory of its claim's name.
pub const SOURCE_DIR: &str = "/var/run/holdfast/source";
/// Where clones of snapshots are mounted, each at a directory of its claim's name: beside [`TREE_OBJECTS`], so that both are stored as they
/// lie.
pub const TREE_VOLUMES: &str = "/var/run/holdfast/tree/volumes";
/// Where the objects of such a capture are written, an emptyDir.
pub const TREE_OBJECTS: &str = "/var/run/holdfast/tree/objects";
/// Where ConfigMaps and Secrets to capture are mounted, each at `<kind>/<name>`: `Secret/env`.
pub const OBJECTS_DIR: &str = "/var/run/holdfast/objects";
/// Where an earlier container of the pod leaves what goes into an emergency capture besides volumes and objects, an emptyDir.
pub const EVIDENCE_DIR: &str = "/var/run/holdfast/evidence";
/// Where volumes to restore to, or restored volumes to check, are mounted, each at a directory of the name of the claim that they are for.
pub const TARGET_DIR: &str = "/var/run/holdfast/target";
/// Where objects lie between the container that reads them from the repository and the one that creates them, an emptyDir in memory.
pub const RECREATE_DIR: &str = "/var/run/holdfast/recreate";
/// Scratch space for the mirror, an emptyDir on the node's disk.
pub const SCRATCH_DIR: &str = "/var/run/holdfast/scratch";

/// Port on which an isolation's probe listens once it has connected, so that its pod is ready.
pub const PROBE_PORT: u16 = 8119;

/// Most collections named in a Report; the point's own record in the repository has all of them.
pub const MAX_COLLECTIONS: usize = 8;
/// Most checks in a Report.
pub const MAX_CHECKS: usize = 12;
/// Most points named in a Report.
pub const MAX_POINTS: usize = 64;
/// Most points that one verification looks at, and its Report names.
pub const MAX_VERIFIED: usize = 16;
/// Most objects named in a Report.
pub const MAX_OBJECTS: usize = 6;
/// Most credentials that could not be replaced, named in a Report.
pub const MAX_NOT_ROTATED: usize = 4;
/// Most things that could not be collected, named in a Report.
pub const MAX_NOT_COLLECTED: usize = 4;
/// Most unstable files named in a Report.
pub const MAX_UNSTABLE: usize = 4;
/// Most ranges of unreadable bytes named in a Report.
pub const MAX_UNREADABLE: usize = 4;
/// Most of what an emergency capture has not at all, named in a Report.
pub const MAX_MISSED: usize = 2;
/// Most findings of an audit in a Report.
pub const MAX_AUDITED: usize = 8;
/// Most databases of an audit in a Report.
pub const MAX_AUDITED_DATA: usize = 4;
/// Most findings named in a Report.
pub const MAX_FINDINGS: usize = 4;
/// Most endpoints, and lines on the pod's own network, in a Report.
pub const MAX_ENDPOINTS: usize = 8;
/// Longest free text in a Report, in bytes; longer text is cut at a character and ends in "...".
pub const MAX_TEXT: usize = 600;
/// Longest name or short value in a Report, in bytes.
pub const MAX_WORD: usize = 96;

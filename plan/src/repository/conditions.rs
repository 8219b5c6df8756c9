//! The conditions of a repository: what each result of a probe says, in the user's words.

use crds::RecoveryRepository;
use crds::condition::{self, Status};
use crds::job::{Failure, FailureReason, LockTried, Probed, Pruned};
use crds::repository::{
    Escrow, Lock, PlaceRef, RecoveryRepositorySpec, RecoveryRepositoryStatus, RepositoryMode, S3, SealMark,
    Strength,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::Observed;
use crate::size;

/// Keys that open a repository which outlives the loss of one.
const ESCROWED: u32 = 2;
/// Silent probes in a row after which a repository that was Ready no longer is.
const SILENT: u32 = 3;

struct Board<'a> {
    conditions: &'a mut Vec<Condition>,
    generation: i64,
    now: jiff::Timestamp,
}

impl Board<'_> {
    fn set(&mut self, kind: &str, status: impl Into<Status>, reason: &str, message: impl Into<String>) {
        condition::set(self.conditions, kind, status.into(), reason, message, self.generation, self.now);
    }

    fn clear(&mut self, kind: &str) {
        condition::clear(self.conditions, kind);
    }
}

fn board<'a>(seen: &Observed<'_>, status: &'a mut RecoveryRepositoryStatus) -> Board<'a> {
    Board {
        conditions: &mut status.conditions,
        generation: seen.repository.metadata.generation.unwrap_or_default(),
        now: seen.now,
    }
}

/// Whether somebody must act.
pub(super) fn is_stalled(status: &RecoveryRepositoryStatus) -> bool {
    condition::is_true(&status.conditions, "Stalled")
}

/// Whether a probe has yet to add the second key, whose Secret comes without any event reaching us.
pub(super) fn awaits_second_key(spec: &RecoveryRepositorySpec, status: &RecoveryRepositoryStatus) -> bool {
    let wanted = spec.encryption.escrow.as_ref().is_some_and(|escrow| escrow.key_secret_ref.is_some());
    let writable = spec.mode == RepositoryMode::ReadWrite && status.seal.is_none();
    wanted && writable && status.key_slots.is_some_and(|slots| slots < ESCROWED)
}

/// What was asked for by the annotation could not be read, or could.
pub(super) fn requested(
    seen: &Observed<'_>,
    status: &mut RecoveryRepositoryStatus,
    unreadable: Option<&String>,
) {
    let mut board = board(seen, status);
    match unreadable {
        Some(message) => board.set("RequestAccepted", false, "InvalidTime", message),
        None => board.clear("RequestAccepted"),
    }
}

/// `bucket yourorg-dr at https://s3.example.com`, `the volume of claim emergency-storage`.
fn place(repository: &RecoveryRepository) -> String {
    match repository.spec.place() {
        PlaceRef::S3(S3 { bucket, endpoint: Some(endpoint), .. }) => format!("bucket {bucket} at {endpoint}"),
        PlaceRef::S3(S3 { bucket, region, .. }) => format!("bucket {bucket} in {region}"),
        PlaceRef::Volume(claim) => format!("the volume of claim {claim}"),
    }
}

/// The same with the prefix, which tells a repository from others in its bucket.
fn whole_place(repository: &RecoveryRepository) -> String {
    match repository.spec.place() {
        PlaceRef::S3(s3) => format!("{}, prefix \"{}\"", place(repository), s3.prefix),
        PlaceRef::Volume(_) => place(repository),
    }
}

/// A probe was started. Only the first one of a spec is told: the hourly ones change nothing for anybody.
pub(super) fn begun(seen: &Observed<'_>, status: &mut RecoveryRepositoryStatus) {
    let generation = seen.repository.metadata.generation.unwrap_or_default();
    let ready = condition::get(&status.conditions, "Ready").cloned();
    let place = place(seen.repository);
    let mut board = board(seen, status);
    match ready {
        Some(ready) if ready.observed_generation == Some(generation) => {}
        known => {
            if known.is_none() {
                board.set(
                    "Ready",
                    Status::Unknown,
                    "Progressing",
                    format!("{place} is being probed for the first time"),
                );
            }
            board.set("Reconciling", true, "Progressing", format!("{place} is being probed"));
        }
    }
}

/// The probe's pod does not run yet, and the cluster says why. Told only while nothing better is known.
pub(super) fn waiting(seen: &Observed<'_>, status: &mut RecoveryRepositoryStatus, why: Option<&str>) {
    let Some(why) = why else { return };
    if condition::get(&status.conditions, "Ready").is_some_and(|ready| ready.status == "Unknown") {
        board(seen, status).set(
            "Ready",
            Status::Unknown,
            "Progressing",
            format!("the first probe waits: {why}"),
        );
    }
    if condition::is_true(&status.conditions, "Reconciling") {
        board(seen, status).set("Reconciling", true, "Progressing", format!("the probe waits: {why}"));
    }
}

/// The repository was opened.
pub(super) fn probed(seen: &Observed<'_>, status: &mut RecoveryRepositoryStatus, probed: &Probed) {
    let repository = seen.repository;
    let place = place(repository);
    let rights = match repository.spec.place() {
        PlaceRef::S3(_) => "the credentials may read and list what a repository needs",
        PlaceRef::Volume(_) => "a volume needs no credentials, and the mover may read and list it",
    };
    let mut board = board(seen, status);
    board.set("BackendReachable", true, "ProbePassed", format!("{place} answers"));
    board.set("CredentialsValid", true, "ProbePassed", rights);
    board.set(
        "KeyVerified",
        true,
        "KeyMatches",
        format!("the key {} opens the repository", probed.key_fingerprint),
    );
    match probed.conditional_writes {
        // It was not tried, as where nothing may be written: nothing is known.
        None => board.clear("ConditionalWrites"),
        Some(true) => board.set(
            "ConditionalWrites",
            true,
            "ProbePassed",
            "of writers racing for one object exactly one wins",
        ),
        Some(false) => board.set(
            "ConditionalWrites",
            false,
            "ConditionalWriteMissing",
            format!("{place} lets two writers create one object; concurrent captures are unsafe. Enable conditional writes or use a store that has them"),
        ),
    }
    match immutability(repository.spec.lock(), probed.lock.as_ref()) {
        // It was not tried: nothing is known.
        None => board.clear("ImmutabilityEnforced"),
        Some((holds, reason, message)) => board.set("ImmutabilityEnforced", holds, reason, message),
    }
    board.clear("Reconciling");
}

/// Whether the repository is armed, by what the last good probe found out about its keys and by what the spec says of them
/// now: to acknowledge a key changes nothing that could be probed.
pub(super) fn escrowed(seen: &Observed<'_>, status: &mut RecoveryRepositoryStatus) {
    let repository = seen.repository;
    let (Some(ours), Some(slots)) = (status.key_fingerprint.clone(), status.key_slots) else { return };
    let escrow = escrow(repository.spec.encryption.escrow.as_ref(), &ours, slots);
    let place = whole_place(repository);
    let mode = super::mode(repository, status);
    let mut board = board(seen, status);
    match escrow {
        Ok((reason, message)) => {
            board.set("KeyEscrowed", true, reason, message);
            let can = match mode {
                RepositoryMode::ReadWrite => "keeps points in",
                RepositoryMode::ReadOnly => "restores points from, and writes none to,",
                RepositoryMode::Sealed => "is sealed: restores points from, and removes none from,",
            };
            board.set("Ready", true, "Armed", format!("{can} {place}"));
            board.clear("Stalled");
        }
        Err((reason, message)) => {
            board.set("KeyEscrowed", false, reason, message.clone());
            board.set("Ready", false, reason, message.clone());
            board.set("Stalled", true, reason, message);
        }
    }
}

/// Whether anything may be removed or captured. That a repository never was sealed is no news, and no condition.
pub(super) fn sealed(seen: &Observed<'_>, status: &mut RecoveryRepositoryStatus) {
    let what = "nothing is removed, no key is added, and nothing but evidence is captured";
    let (seal, spec) = (status.seal.clone(), seen.repository.spec.mode == RepositoryMode::Sealed);
    let known = condition::get(&status.conditions, "Sealed").is_some();
    let mut board = board(seen, status);
    match seal {
        Some(SealMark { by, reason, since }) => board.set(
            "Sealed",
            true,
            "SealedByMark",
            format!(
                "by {by}, {since:.0} ({reason}): {what}, whatever spec.mode says. A later mark lifts it: holdfast repo unseal, with the repository's key"
            ),
        ),
        None if spec => board.set(
            "Sealed",
            true,
            "SealedBySpec",
            format!("spec.mode is Sealed: {what}. Set spec.mode: ReadWrite once nothing in it is evidence"),
        ),
        None if known => board.set("Sealed", false, "NotSealed", "no mark and no spec.mode seals it"),
        None => {}
    }
}

/// Whether what points need stays, whoever has credentials: nothing if that was asked for and not tried.
fn immutability(wanted: Option<Lock>, tried: Option<&LockTried>) -> Option<(bool, &'static str, String)> {
    let Some(wanted) = wanted else {
        let message = "spec.objectLock is not set: whoever may delete in the bucket can delete points";
        return Some((false, "NotRequested", message.to_owned()));
    };
    let seen = match tried? {
        LockTried::Enforced => "a locked object could not be deleted",
        LockTried::Shown => {
            "the bucket shows the lock of an object (deleting it could not be tried: the credentials may delete nothing)"
        }
        LockTried::NotEnforced(why) => {
            let message =
                format!("spec.objectLock asks for {wanted}, and captures are refused without it: {why}");
            return Some((false, "LockNotEnforced", message));
        }
    };
    let who = match wanted.strength {
        Strength::Governance => "nobody without the right s3:BypassGovernanceRetention",
        Strength::Compliance => "nobody",
    };
    let message =
        format!("{seen}; {who} can delete what a point needs for {} from its capture on", wanted.retain_for);
    Some((true, "ProbePassed", message))
}

/// The lock as a column shows it. What is asked for and not yet tried counts, because captures refuse to go without.
pub(super) fn lock_in_force(seen: &Observed<'_>, status: &mut RecoveryRepositoryStatus) {
    let known = condition::get(&status.conditions, "ImmutabilityEnforced");
    let broken = known.is_some_and(|known| known.reason == "LockNotEnforced");
    status.lock = Some(match seen.repository.spec.lock() {
        None => "None".to_owned(),
        Some(_) if broken => "NotEnforced".to_owned(),
        Some(wanted) => wanted.to_string(),
    });
}

/// Whether the points stay readable when the cluster and the key in it are lost.
fn escrow(
    escrow: Option<&Escrow>,
    ours: &str,
    slots: u32,
) -> Result<(&'static str, String), (&'static str, String)> {
    let acknowledged = escrow.and_then(|escrow| escrow.acknowledged.as_ref());
    if let Some(told) = acknowledged.filter(|told| told.fingerprint != ours) {
        return Err((
            "FingerprintMismatch",
            format!(
                "spec.encryption.escrow.acknowledged.fingerprint is \"{}\", the repository's key is \"{ours}\"; the key kept outside this cluster is another one. Store the right one and write its fingerprint",
                told.fingerprint
            ),
        ));
    }
    if acknowledged.is_some() {
        return Ok(("Acknowledged", format!("acknowledged: the key {ours} is kept outside this cluster")));
    }
    if slots >= ESCROWED {
        return Ok(("SecondSlot", "a second key opens the repository".to_owned()));
    }
    if let Some(secret) = escrow.and_then(|escrow| escrow.key_secret_ref.as_ref()) {
        return Err((
            "KeyNotEscrowed",
            format!(
                "the second key of Secret {} was not added to the repository; put it under the Secret's key \"password\" and set mode: ReadWrite while it is added",
                secret.name
            ),
        ));
    }
    Err((
        "KeyNotEscrowed",
        format!(
            "the only key is in this cluster; lost together, the points are worthless. Store it elsewhere and write encryption.escrow.acknowledged.fingerprint: \"{ours}\", or add a second key"
        ),
    ))
}

/// How a round of maintenance ended: how many points were to go and what was done, or a reason and why.
pub(super) fn maintenance(
    seen: &Observed<'_>,
    status: &mut RecoveryRepositoryStatus,
    ended: Result<(usize, &Pruned), (&str, String)>,
) {
    let now = seen.now;
    let mut board = board(seen, status);
    match ended {
        Ok((asked, pruned)) => {
            let removed = asked.saturating_sub(pruned.left.len());
            let mut message = format!(
                "at {}: {removed} points removed that no retention rule keeps, {} left; {} deleted, {} to be deleted by a later round",
                now.strftime("%Y-%m-%dT%H:%M:%SZ"),
                pruned.points,
                size::bytes(pruned.bytes_swept),
                size::bytes(pruned.bytes_condemned),
            );
            if let Some(until) = pruned.locked_until {
                let until = until.strftime("%Y-%m-%dT%H:%M:%SZ");
                message.push_str(&format!(
                    "; the lock of the bucket keeps {} points, the first lock ends {until}",
                    pruned.left.len()
                ));
            }
            board.set("MaintenanceHealthy", true, "Swept", message);
        }
        Err((reason, why)) => board.set(
            "MaintenanceHealthy",
            false,
            reason,
            format!("nothing that was needed was removed, and it is tried again: {why}"),
        ),
    }
}

/// Whether every point of the bucket is recorded here: how many were found, or a reason and a sentence.
pub(super) fn catalogue(
    seen: &Observed<'_>,
    status: &mut RecoveryRepositoryStatus,
    ended: Result<u32, (&str, String)>,
) {
    let current = ended.map(|found| {
        format!(
            "every point of a ChromaDB in the bucket is recorded here; {found} were found by the last look"
        )
    });
    told(seen, status, "CatalogueCurrent", "Current", current);
}

/// True with a sentence, or False for a reason.
fn told(
    seen: &Observed<'_>,
    status: &mut RecoveryRepositoryStatus,
    kind: &'static str,
    good: &str,
    what: Result<String, (&str, String)>,
) {
    let mut board = board(seen, status);
    match what {
        Ok(message) => board.set(kind, true, good, message),
        Err((reason, why)) => board.set(kind, false, reason, why),
    }
}

/// Whether the bucket knows what is on hold and what is said of trust, and of how many points.
pub(super) fn marks(
    seen: &Observed<'_>,
    status: &mut RecoveryRepositoryStatus,
    ended: Result<(usize, usize), (&str, String)>,
) {
    let recorded = ended.map(|(held, said)| {
        format!("the bucket holds {held} points, and knows what is said of the trust of {said}, whatever becomes of this cluster")
    });
    told(seen, status, "MarksRecorded", "Recorded", recorded);
}

/// A schedule of maintenance that was mended is not complained of until the next round.
pub(super) fn maintenance_is_scheduled(status: &mut RecoveryRepositoryStatus) {
    let complains = |of: &Condition| of.type_ == "MaintenanceHealthy" && of.reason == "InvalidSpec";
    status.conditions.retain(|condition| !complains(condition));
}

/// The failure to report when another repository stands in the place of ours.
pub(super) fn replaced(
    repository: &RecoveryRepository,
    status: &RecoveryRepositoryStatus,
    found: &str,
) -> Failure {
    Failure {
        reason: FailureReason::RepositoryReplaced,
        message: format!(
            "{} holds repository {found}, but this object was armed with {}; somebody replaced it. Put the old one back, or make a new RecoveryRepository for this one",
            whole_place(repository),
            status.unique_id.as_deref().unwrap_or("another one"),
        ),
    }
}

/// The message of a failure, with the Secret concerned: a mover knows what is mounted, not what it is called.
fn about_secret(repository: &RecoveryRepository, failure: &Failure) -> String {
    let spec = &repository.spec;
    let secret = match failure.reason {
        FailureReason::KeyMissing | FailureReason::KeyMismatch | FailureReason::KeyUnsafe => {
            Some(&spec.encryption.key_secret_ref)
        }
        FailureReason::CredentialsMissing | FailureReason::AccessDenied => {
            spec.s3.as_ref().map(|s3| &s3.credentials.writer.secret_ref)
        }
        _ => None,
    };
    match secret {
        Some(secret) => format!("Secret {}: {}", secret.name, failure.message),
        None => failure.message.clone(),
    }
}

/// The probe failed, for the `failures`-th time in a row.
pub(super) fn failed(
    seen: &Observed<'_>,
    status: &mut RecoveryRepositoryStatus,
    failure: &Failure,
    failures: u32,
) {
    let reason = format!("{:?}", failure.reason);
    let was_ready = condition::is_true(&status.conditions, "Ready");
    let message = &about_secret(seen.repository, failure);
    let mut board = board(seen, status);
    match failure.reason {
        FailureReason::BucketUnreachable | FailureReason::Throttled => {
            board.set("BackendReachable", false, &reason, message);
        }
        FailureReason::CredentialsMissing => board.set("CredentialsValid", false, &reason, message),
        FailureReason::AccessDenied => {
            board.set("BackendReachable", true, "ProbePassed", "the store answers");
            board.set("CredentialsValid", false, &reason, message);
        }
        FailureReason::KeyMissing | FailureReason::KeyMismatch | FailureReason::KeyUnsafe => {
            board.set("KeyVerified", false, &reason, message);
        }
        _ => {}
    }
    // An evicted probe says nothing about the repository; only several of them do.
    let silent = failure.reason == FailureReason::MoverFailed;
    if silent && was_ready && failures < SILENT {
        return;
    }
    board.set("Ready", if silent { Status::Unknown } else { Status::False }, &reason, message);
    if failure.reason.is_transient() {
        board.clear("Stalled");
        board.set(
            "Reconciling",
            true,
            "WaitingForRepository",
            format!("is tried again by itself: {message}"),
        );
    } else {
        board.clear("Reconciling");
        board.set("Stalled", true, &reason, message);
    }
}

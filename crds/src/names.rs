//! Names of everything the controller creates: a function of the owner's uid and what the object is for, so that a
//! restarted controller finds its own objects and creates none twice. Long names are hashed, never cut.

use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// Longest name of a Job: its pods carry it in a label value.
const MAX_JOB: usize = 52;
/// How the name of every account begins that looks around.
pub const COLLECTOR: &str = "hf-collect-";
/// How the name of every account begins that lists names for an audit.
pub const AUDITOR: &str = "hf-audit-";

/// A Job's name from its owner, the step and the attempt: `<owner>-<step>-<attempt>-<hash>`.
///
/// The hash covers the owner's uid, so that an object deleted and made anew under the same name never adopts the
/// Jobs of its predecessor; it is always there, so that a readable part that had to be shortened stays unique.
#[must_use]
pub fn job(owner_name: &str, owner_uid: &str, step: &str, attempt: u32) -> String {
    let hash = short_hash(&[owner_uid, step, &attempt.to_string()]);
    let step = step.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    fit(&format!("{owner_name}-{step}-{attempt}"), &hash, MAX_JOB)
}

/// The name of a point: `<policy>-<UTC of consistency>`, made from what the repository holds, so that a rebuilt
/// catalogue has the same names. `id` is appended by the caller's choice when two points share a second.
#[must_use]
pub fn point(policy: &str, consistency_time: Timestamp) -> String {
    format!("{policy}-{}", consistency_time.strftime("%Y%m%d-%H%M%S"))
}

/// The name of a point whose plain name is taken by another point of the same second.
#[must_use]
pub fn point_with_id(policy: &str, consistency_time: Timestamp, id: &str) -> String {
    let suffix: String = id.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    format!("{}-{}", point(policy, consistency_time), suffix.to_lowercase())
}

/// What a capture cuts and reads instead of `claim`: the VolumeSnapshot and the claim that is cloned from it have this name.
#[must_use]
pub fn snapshot(claim: &str, policy_uid: &str, slot: &str, attempt: u32) -> String {
    let hash = short_hash(&[policy_uid, claim, slot, &attempt.to_string()]);
    // Room for the number of a try.
    fit(&format!("{claim}-{slot}-{attempt}"), &hash, 240)
}

/// The same of a later try of one attempt, which is numbered: what an earlier one has cut is torn, and its name taken.
#[must_use]
pub fn snapshot_of_try(snapshot: &str, number: u32) -> String {
    match number {
        0 | 1 => snapshot.to_owned(),
        number => format!("{snapshot}-{number}"),
    }
}

/// The ServiceAccount and the RoleBinding by which the movers of a policy may ask for snapshots.
#[must_use]
pub fn snapshotter(policy: &str, policy_uid: &str) -> String {
    fit(&format!("{policy}-snapshots"), &short_hash(&[policy_uid]), 253)
}

/// The ServiceAccount and the RoleBinding by which a policy's hooks run. A function that an admission policy can compute, too
/// (`admission/hooks.yaml` of the chart).
#[must_use]
pub fn hooker(policy_uid: &str) -> String {
    format!("hf-hooks-{policy_uid}")
}

/// The ServiceAccount and the RoleBinding of the checks of a run that run commands. A function that an admission policy can compute, too
/// (`admission/exec.yaml` of the chart).
#[must_use]
pub fn checker(run_uid: &str) -> String {
    format!("hf-checks-{run_uid}")
}

/// The ServiceAccount and the RoleBinding by which a run creates what is missing. A function that an admission policy can compute, too
/// (`admission/recreate.yaml` of the chart).
#[must_use]
pub fn recreator(run_uid: &str) -> String {
    format!("hf-recreate-{run_uid}")
}

/// The ServiceAccount and the RoleBinding by which a run replaces credentials. A function that an admission policy can compute, too
/// (`admission/rotate.yaml` of the chart).
#[must_use]
pub fn rotator(run_uid: &str) -> String {
    format!("hf-rotate-{run_uid}")
}

/// The Secret that keeps what a run has replaced until the run has ended. A function that an admission policy can compute, too.
#[must_use]
pub fn revoked(run_uid: &str) -> String {
    format!("hf-revoked-{run_uid}")
}

/// Its key for what was the value of `key` of `secret`.
#[must_use]
pub fn revoked_key(secret: &str, key: &str) -> String {
    short_hash(&[secret, key])
}

/// What the ServiceAccount is called by which a policy or run, or the RoleBinding by which a Job of it, may look around: by the uid of either. A
/// function that an admission policy can compute, too (`admission/grants.yaml` of the chart).
#[must_use]
pub fn collector(uid: &str) -> String {
    format!("{COLLECTOR}{uid}")
}

/// What the ServiceAccount is called by which a run, or the RoleBinding by which a Job of it, may list the names of ConfigMaps and Secrets: by the
/// uid of either. A function that an admission policy can compute, too (`admission/grants.yaml` of the chart).
#[must_use]
pub fn auditor(uid: &str) -> String {
    format!("{AUDITOR}{uid}")
}

/// The run of a drill, by the slot that it is started for: `<drill>-<YYYYMMDD-HHMMSS>`, UTC.
#[must_use]
pub fn drill_run(drill: &str, slot: Timestamp) -> String {
    let name = format!("{drill}-{}", slot.strftime("%Y%m%d-%H%M%S"));
    if name.len() <= 253 { name } else { fit(&name, &short_hash(&[&name]), 253) }
}

/// The claim that a point is restored into, before it takes the name of `claim`.
#[must_use]
pub fn restore_claim(claim: &str, run_uid: &str) -> String {
    fit(&format!("{claim}-restore"), &short_hash(&[run_uid, claim]), 253)
}

/// The claim under which the replaced volume of `claim` is kept.
#[must_use]
pub fn quarantine_claim(claim: &str, run_uid: &str) -> String {
    fit(&format!("{claim}-quarantine"), &short_hash(&[run_uid, claim]), 253)
}

/// The claim under which the restored volume of `claim` is kept when its run was cancelled after it was in place.
#[must_use]
pub fn restored_claim(claim: &str, run_uid: &str) -> String {
    fit(&format!("{claim}-restored"), &short_hash(&[run_uid, claim]), 253)
}

/// The object that remembers that the run `name` was carried out. A function of the name alone: a run's name is used once.
#[must_use]
pub fn executed(run_name: &str) -> String {
    fit(&format!("{run_name}-executed"), &short_hash(&[run_name]), 253)
}

/// The object that remembers what the claims of a run looked like before they were exchanged.
#[must_use]
pub fn memory(run_name: &str, run_uid: &str) -> String {
    fit(&format!("{run_name}-claims"), &short_hash(&[run_uid]), 253)
}

/// The record of the NetworkPolicies that a run removes, by the number of the record.
#[must_use]
pub fn isolation_record(run_name: &str, run_uid: &str, number: u32) -> String {
    fit(&format!("{run_name}-network-{number}"), &short_hash(&[run_uid, &number.to_string()]), 253)
}

/// The RoleBinding by which the controller may isolate the namespace of a run. A function that an admission policy can compute, too
/// (`admission/grants.yaml` of the chart).
#[must_use]
pub fn isolator(run_uid: &str) -> String {
    format!("hf-isolate-{run_uid}")
}

/// A NetworkPolicy by which a run isolates its namespace, by what it does: `deny`, `movers`, `inside`.
#[must_use]
pub fn isolation_policy(purpose: &str, run_uid: &str) -> String {
    format!("holdfast-{purpose}-{run_uid}")
}

/// The RoleBinding by which the controller may deny all in the sandbox of a run. A function that an admission policy can compute, too
/// (`admission/grants.yaml` of the chart).
#[must_use]
pub fn sandboxer(run_uid: &str) -> String {
    format!("hf-sandbox-{run_uid}")
}

/// The namespace in which a run rehearses: the sandbox of a run of `namespace`.
#[must_use]
pub fn sandbox(namespace: &str, run_uid: &str) -> String {
    fit(&format!("{namespace}-drill"), &short_hash(&[namespace, run_uid]), 63)
}

/// Eight hex digits over `parts`, each part delimited, so that no two lists of parts collide by concatenation.
#[must_use]
pub fn short_hash(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().iter().take(4).map(|b| format!("{b:02x}")).collect()
}

fn fit(readable: &str, hash: &str, limit: usize) -> String {
    let room = limit - hash.len() - 1;
    let kept = readable.get(..room).unwrap_or(readable).trim_end_matches(['-', '.']);
    format!("{kept}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_stay_unique_and_within_the_limit() {
        let long = "a".repeat(200);
        let one = job(&long, "uid-1", "Restore/chromadb", 1);
        let two = job(&long, "uid-1", "Restore/chromadb", 2);
        assert_ne!(one, two);
        assert!(one.len() <= MAX_JOB, "{one}");
        assert_ne!(job("db", "uid-1", "Capture", 1), job("db", "uid-2", "Capture", 1));
    }

    #[test]
    fn a_name_is_a_function_of_its_arguments() {
        assert_eq!(job("db", "u", "VerifyOffline/chromadb", 1), job("db", "u", "VerifyOffline/chromadb", 1));
        let name = job("db", "u", "VerifyOffline/chromadb", 1);
        assert!(name.starts_with("db-verifyoffline-chromadb-1-"), "{name}");
    }

    #[test]
    fn a_point_is_named_by_policy_and_second() {
        let time: Timestamp = "2026-11-23T09:00:03.9Z".parse().unwrap();
        assert_eq!(point("chromadb", time), "chromadb-20261123-090003");
        assert_eq!(point_with_id("chromadb", time, "AB12cd34ef"), "chromadb-20261123-090003-ab12cd34");
    }
}

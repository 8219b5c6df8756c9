//! What a RecoveryRun is refused for when it is created.

use serde_json::json;

use super::Refusal;

pub(super) fn refused_on_creation() -> Vec<Refusal> {
    let case = |kind, input, field, sentence| Refusal { kind, input, field, sentence };
    vec![
        case(
            "RecoveryRun",
            json!({"scenario": "SecurityBreach", "incident": {"summary": "a stranger"}}),
            "spec.incident.suspectedSince",
            "required: points after it are not restored. Unknown? Give the time of the first sign",
        ),
        case(
            "RecoveryRun",
            json!({"scenario": "SecurityBreach", "point": {"latest": {}}, "incident": {"suspectedSince": "2026-11-21T03:00:00Z"}}),
            "spec.point",
            "latest may hold the intruder's changes; use lastKnownGood: {} or named",
        ),
        case(
            "RecoveryRun",
            json!({"scenario": "NetworkFailure"}),
            "spec.target",
            "NetworkFailure restores nothing; leave out point and target",
        ),
        case(
            "RecoveryRun",
            json!({"scenario": "NetworkFailure", "target": null, "point": {"latest": {}}}),
            "spec.point",
            "NetworkFailure restores nothing; leave out point and target",
        ),
        case(
            "RecoveryRun",
            json!({"scenario": "BackupVerification"}),
            "spec.scenario",
            "BackupVerification restores nothing into the cluster; leave out point and target, and write mode: Run or DryRun",
        ),
        case(
            "RecoveryRun",
            json!({"scenario": "StorageFailure"}),
            "spec.target.inPlace.storageClassName",
            "required: StorageFailure restores onto other storage than what fails; name another StorageClass (kubectl get storageclass)",
        ),
        case(
            "RecoveryRun",
            json!({"target": null}),
            "spec.target",
            "required: volumes are replaced; write target: {inPlace: {confirm: NAMESPACE}} with the namespace typed out",
        ),
        case(
            "RecoveryRun",
            json!({"point": {}}),
            "spec.point",
            "set exactly one of latest, named, asOf, lastKnownGood",
        ),
        case(
            "RecoveryRun",
            json!({"point": {"lastKnownGood": {}}, "incident": {"detectedAt": "2026-11-23T09:28:00Z"}}),
            "spec.point.lastKnownGood",
            "before what? Write before: TIME, or incident.suspectedSince: TIME; what was stored from then on is passed over",
        ),
        case(
            "RecoveryRun",
            json!({"incident": {"detectedAt": "2026-11-23T09:28:00Z", "suspectedSince": "2026-11-23T10:28:01+01:00"}}),
            "spec.incident.suspectedSince",
            "later than detectedAt: write the time of the first sign, at or before the time at which it was noticed",
        ),
        case(
            "RecoveryRun",
            json!({"point": {"latest": {}, "named": {"name": "chromadb-20261123-090003"}}}),
            "spec.point",
            "set exactly one of latest, named, asOf, lastKnownGood",
        ),
        case(
            "RecoveryRun",
            json!({"target": {"inPlace": null}}),
            "spec.target",
            "set exactly one of inPlace: {confirm: NAMESPACE}, sandbox: {}",
        ),
        case(
            "RecoveryRun",
            json!({"target": {"sandbox": {}}}),
            "spec.target",
            "set exactly one of inPlace: {confirm: NAMESPACE}, sandbox: {}",
        ),
        case(
            "RecoveryRun",
            json!({"scenario": "StorageFailure", "target": {"inPlace": null, "sandbox": {}}}),
            "spec.target.sandbox",
            "a failing disk can't be rehearsed in a sandbox: rehearse DatabaseCorruption or CompleteFailure, with sandbox.storageClassName of the other storage",
        ),
        case(
            "RecoveryRun",
            json!({"scenario": "SecurityBreach", "target": {"inPlace": null, "sandbox": {}}, "incident": {"suspectedSince": "2026-11-21T03:00:00Z"},
                "credentialRotations": [{"name": "api", "secretRef": {"name": "env"}, "generate": {"key": "TOKEN"}}]}),
            "spec.credentialRotations",
            "a rehearsal in a sandbox replaces no credentials; leave it out",
        ),
    ]
}

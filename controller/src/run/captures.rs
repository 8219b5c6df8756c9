//! What becomes of captures of a component, as its policy and its repository say it.

use crds::policy::{Origin, PolicyMode};
use crds::repository::RepositoryMode;
use crds::{BackupPolicy, RecoveryRepository, condition};
use plan::recovery::seen::CaptureSeen;

/// Looks. `repository` is the one that the policy names.
pub(super) fn of(policy: &BackupPolicy, repository: Option<&RecoveryRepository>) -> CaptureSeen {
    let status = policy.status.clone().unwrap_or_default();
    let name = &policy.spec.repository_ref.name;
    let suspended = (policy.spec.mode == PolicyMode::Suspended)
        .then(|| "spec.mode of its policy is Suspended, so nothing is captured".to_owned());
    let closed = repository.map(|repository| repository.spec.mode).and_then(|mode| match mode {
        RepositoryMode::ReadWrite => None,
        RepositoryMode::ReadOnly | RepositoryMode::Sealed => {
            Some(format!("repository {name} is {mode:?}, so nothing is captured"))
        }
    });
    let seal = repository.and_then(|repository| repository.status.as_ref()?.seal.as_ref());
    let told = |kind: &str, but: &[&str]| {
        let found = condition::get(&status.conditions, kind).filter(|found| found.status == "False")?;
        let other = !but.contains(&found.reason.as_str());
        other.then(|| (found.reason.clone(), found.message.clone()))
    };
    CaptureSeen {
        refused: suspended.or(closed),
        sealed: seal
            .map(|seal| format!("repository {name} is sealed by {}, so nothing is captured", seal.by)),
        begun: status.active.as_ref().is_some_and(|active| active.origin == Origin::Run),
        waits: told("Ready", &["HeldByRun"]).map(|(reason, message)| format!("{reason}: {message}")),
        failed: told("LastCaptureSucceeded", &[]),
        answer: status.run_capture,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn policy(mode: &str, status: &Value) -> BackupPolicy {
        serde_json::from_value(json!({
            "apiVersion": "holdfast.dev/v1alpha1", "kind": "BackupPolicy", "metadata": {"name": "chromadb"},
            "spec": {"component": {"chromaDB": {}, "workloads": []}, "repositoryRef": {"name": "primary"}, "mode": mode},
            "status": status,
        }))
        .unwrap()
    }

    fn repository(mode: &str, status: &Value) -> RecoveryRepository {
        serde_json::from_value(json!({
            "apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRepository", "metadata": {"name": "primary"},
            "spec": {
                "s3": {"bucket": "dr", "credentials": {"writer": {"secretRef": {"name": "s3"}}}},
                "encryption": {"keySecretRef": {"name": "key"}}, "mode": mode,
            },
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn whose_will_it_is_that_nothing_is_captured_and_what_stands_in_its_way_are_told_apart() {
        let condition = |kind: &str, reason: &str| json!({"type": kind, "status": "False", "reason": reason, "message": "m", "lastTransitionTime": "2026-11-23T09:00:00Z"});
        let open = repository("ReadWrite", &json!({}));
        let held = json!({"conditions": [condition("Ready", "HeldByRun")]});
        assert_eq!(of(&policy("Active", &held), Some(&open)), CaptureSeen::default());
        assert_eq!(
            of(&policy("Active", &json!({})), None),
            CaptureSeen::default(),
            "not there is not refused"
        );
        let refused = |policy, repository| of(&policy, Some(&repository)).refused.unwrap();
        assert!(refused(policy("Suspended", &json!({})), open.clone()).contains("is Suspended"));
        for mode in ["ReadOnly", "Sealed"] {
            assert!(refused(policy("Active", &json!({})), repository(mode, &json!({}))).contains(mode));
        }
        let mark = json!({"seal": {"by": "run/breach", "reason": "x", "since": "2026-11-23T09:00:00Z"}});
        let seen = of(&policy("Active", &json!({})), Some(&repository("ReadWrite", &mark)));
        assert!(seen.sealed.unwrap().contains("run/breach") && seen.refused.is_none());
        let failing = json!({
            "conditions": [condition("Ready", "SourceNotReady"), condition("LastCaptureSucceeded", "Locked")],
            "active": {"slot": "f1", "attempt": 1, "origin": "Run", "started": "2026-11-23T09:00:00Z"},
            "runCapture": {"run": "u", "requestedAt": "2026-11-23T09:00:00Z", "reason": "Locked"},
        });
        let seen = of(&policy("Active", &failing), Some(&open));
        assert_eq!(seen.waits.as_deref(), Some("SourceNotReady: m"));
        assert_eq!(seen.failed, Some(("Locked".to_owned(), "m".to_owned())));
        assert!(seen.begun && seen.answer.unwrap().reason == "Locked");
    }
}

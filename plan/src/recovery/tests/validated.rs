//! What a validation says of a server that is asked with a credential.

use crds::job::{CREDENTIAL_WANTED, CheckResult};
use crds::run::RunPhase;

use super::*;
use crate::effect::EventKind;

#[test]
fn a_server_that_lost_its_authentication_is_warned_of_and_recovered_all_the_same() {
    let mut cluster = Cluster::new();
    let check = |name: &str, verdict, observed: &str| CheckResult {
        name: name.into(),
        verdict,
        expected: "refused without the credential".into(),
        observed: observed.into(),
    };
    let checks = vec![
        check("corruption", Verdict::Passed, "3 of 3"),
        check(CREDENTIAL_WANTED, Verdict::Skipped, "everybody is answered"),
    ];
    cluster.answers.insert("Validate", vec![JobState::Ended(Report::Validated { checks })]);
    let mut warnings = Vec::new();
    for _ in 0..400 {
        let Plan { effects, status, events, .. } = cluster.plan();
        warnings.extend(events.into_iter().filter(|event| event.reason == "CredentialNotWanted"));
        cluster.seen.run.status = status;
        effects.iter().for_each(|effect| cluster.apply(effect));
        cluster.settle();
    }
    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert_eq!(warning.kind, EventKind::Warning);
    for word in ["policy chromadb", "everybody is answered", "NetworkPolicy", "spec.component.chromaDB.auth"]
    {
        assert!(warning.message.contains(word), "{warning:?}");
    }
    assert_eq!(phase(&cluster), Some(RunPhase::Succeeded));
    assert_eq!(reason(&cluster, "Validated"), "AllRequiredPassed");
    let said = message(&cluster, "Validated");
    assert!(said.ends_with("1 skipped; credential-wanted: everybody is answered"), "{said}");
}

#[test]
fn a_refused_credential_is_no_proof_of_anything_and_not_tried_again() {
    let mut cluster = Cluster::new();
    let refused = vec![failed(FailureReason::ServerAccessDenied)];
    cluster.answers.insert("Validate", refused);
    cluster.run(1000);
    assert_eq!(cluster.status().verdict, Some(Verdict::Inconclusive));
    assert_eq!(reason(&cluster, "Failed"), "ValidationFailed");
    let step = cluster.status().steps.iter().find(|step| step.name == "Validate/chromadb").unwrap();
    assert_eq!(step.attempts, 1, "{step:?}");
}

//! Whether what was replaced is dead: the line `credentials-rotated` of the checklist, and where that can be proved.

use crds::job::{CREDENTIALS_ROTATED, CheckResult, REVOKED_REFUSED};
use crds::names;
use crds::run::{CheckStatus, CredentialRotation, RotationState, Scenario, Verdict};

use super::seen::Component;
use super::{Draft, checklist, texts};

/// Secrets and keys that the database of a component is asked with.
pub(crate) fn counts(component: &Component) -> impl Iterator<Item = (&str, &str)> {
    let auth = component.auth.iter();
    auth.flat_map(|auth| {
        let token = auth.token_secret_ref.iter().map(|token| (token.name.as_str(), token.key.as_str()));
        let basic = auth.basic_secret_ref.iter();
        token.chain(basic.flat_map(|basic| ["username", "password"].map(|key| (basic.name.as_str(), key))))
    })
}

/// The Secret that keeps what the database of `component` has to refuse, where that was replaced.
pub(crate) fn kept(draft: &Draft<'_>, component: &Component) -> Option<String> {
    let is_rotated = |asked: &&CredentialRotation| {
        let state = draft.status.rotations.iter().find(|known| known.name == asked.name);
        state.is_some_and(|known| known.state == RotationState::Rotated)
    };
    let counts_here = |asked: &CredentialRotation| {
        let of = |key: &str| asked.job.is_some() || asked.keys().iter().any(|own| own == key);
        counts(component).any(|(secret, key)| asked.secret_ref.name == secret && of(key))
    };
    let mut all = draft.seen.run.spec.credential_rotations.iter().filter(is_rotated);
    all.any(counts_here).then(|| names::revoked(&draft.seen.run.uid))
}

/// Puts the line into the checklist, in the place of what it said before.
pub(crate) fn line(draft: &mut Draft<'_>) {
    let check = checked(draft);
    draft.status.checks.retain(|known| known.name != CREDENTIALS_ROTATED);
    draft.status.checks.push(checklist::whole(check));
}

fn checked(draft: &Draft<'_>) -> CheckResult {
    let run = &draft.seen.run;
    let said = |verdict, expected: String, observed: String| CheckResult {
        name: CREDENTIALS_ROTATED.to_owned(),
        verdict,
        expected,
        observed,
    };
    let asked = run.spec.credential_rotations.len();
    if run.spec.scenario != Scenario::SecurityBreach {
        return said(Verdict::Skipped, "rotated".to_owned(), "only after a breach".to_owned());
    }
    if asked == 0 {
        let observed = "spec.credentialRotations names none: rotate by hand what may have been read";
        return said(Verdict::Inconclusive, "rotated".to_owned(), observed.to_owned());
    }
    let expected = format!("{asked} rotated");
    let known = draft.status.rotations.iter();
    let rotated = known.filter(|known| known.state == RotationState::Rotated).count();
    if rotated < asked {
        return said(Verdict::Failed, expected, format!("{rotated} rotated"));
    }
    let proofs: Vec<&CheckStatus> = draft
        .status
        .checks
        .iter()
        .filter(|check| check.name.rsplit('/').next() == Some(REVOKED_REFUSED))
        .collect();
    let bad = |verdict| proofs.iter().find(|proof| proof.verdict == verdict);
    match bad(Verdict::Failed).or(bad(Verdict::Inconclusive)) {
        Some(proof) => said(proof.verdict, expected, format!("{rotated} rotated; {}", proof.observed)),
        None if proofs.is_empty() => {
            let observed = format!("{rotated} rotated, not proved: nothing tells where they count");
            said(Verdict::Passed, expected, observed)
        }
        None => {
            let by = texts::count(proofs.len() as u64, "ChromaDB");
            let observed = format!("{rotated} rotated, and what was there is refused by {by}");
            said(Verdict::Passed, expected, observed)
        }
    }
}

//! What a run asks for that can't be: more than its status holds, one volume twice, storage or credentials that are no way out.

use std::collections::BTreeSet;

use crds::run::{MAX_CLAIMS, MAX_COMPONENTS};

use super::seen::Observed;
use super::{preserve, provision, rotate};

/// The first of it, as a reason and a sentence.
pub(crate) fn exceeded(seen: &Observed) -> Option<(&'static str, String)> {
    too_many(seen)
        .or_else(|| shared_claim(seen))
        .or_else(|| provision::no_such_class(seen))
        .or_else(|| preserve::no_other_storage(seen))
        .or_else(|| Some(("InvalidSpec", rotate::refusal(seen)?)))
}

/// More than the status of one run can hold.
fn too_many(seen: &Observed) -> Option<(&'static str, String)> {
    let components = seen.components.len();
    let claims = seen
        .restored()
        .flat_map(|component| &component.source)
        .map(|source| source.claims.len())
        .sum::<usize>();
    let (what, most) = match (components > MAX_COMPONENTS, claims > MAX_CLAIMS) {
        (true, _) => (format!("{components} components"), format!("{MAX_COMPONENTS}")),
        (false, true) => (format!("{claims} claims"), format!("{MAX_CLAIMS}")),
        (false, false) => return None,
    };
    Some((
        "InvalidSpec",
        format!(
            "this run is about {what}, and one can be about {most} at most; create several, each with some of them in spec.policies"
        ),
    ))
}

fn shared_claim(seen: &Observed) -> Option<(&'static str, String)> {
    let mut claims = BTreeSet::new();
    for component in seen.restored() {
        for claim in component.source.iter().flat_map(|source| &source.claims) {
            if !claims.insert(claim) {
                return Some((
                    "InvalidSpec",
                    format!(
                        "claim {claim} is named by two policies of this run, {} among them; recover one of them",
                        component.policy
                    ),
                ));
            }
        }
    }
    None
}

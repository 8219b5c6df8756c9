//! Claims are bound soon, whatever becomes of the first try.

use crds::reference::BINDING;
use jiff::SignedDuration;

use super::*;

/// Carries `cluster` to the moment when the new claims were made and nothing has bound them.
fn claims_made(cluster: &mut Cluster) {
    while !cluster.seen.claims.contains_key(&quarantine_claim()) {
        cluster.reconcile(1);
        cluster.settle();
    }
}

fn annotated(cluster: &Cluster) -> usize {
    cluster.log.marks.iter().filter(|mark| *mark == "AnnotateClaim").count()
}

fn swap_took(cluster: &Cluster) -> SignedDuration {
    let swap = cluster.status().steps.iter().find(|step| step.name == "Swap/chromadb").unwrap();
    swap.end.unwrap().duration_since(swap.start.unwrap())
}

#[test]
fn a_binding_that_was_refused_is_taken_up_after_a_second() {
    for binder in [Binder::Refused, Binder::RefusedEarly] {
        for writes in [1, 2, 3, 1000] {
            let mut cluster = Cluster::bound_by(binder);
            cluster.run(writes);
            recovered(&cluster);
            let mut prompt = Cluster::new();
            prompt.run(writes);
            let (took, least) = (swap_took(&cluster), swap_took(&prompt));
            assert!(
                took <= least + SignedDuration::from_secs(2),
                "{binder:?} {writes}: {took} instead of {least}"
            );
        }
    }
}

#[test]
fn a_claim_that_binds_by_itself_is_left_alone_until_its_annotation_goes() {
    let mut cluster = Cluster::new();
    cluster.run(1000);
    recovered(&cluster);
    assert_eq!(annotated(&cluster), 2, "once for each claim: {:?}", cluster.log.marks);
}

#[test]
fn a_claim_that_cannot_be_bound_is_urged_ever_more_rarely() {
    let mut cluster = Cluster::bound_by(Binder::Never);
    claims_made(&mut cluster);
    let start = cluster.seen.now;
    let mut last = start;
    let mut waits = Vec::new();
    while cluster.seen.now < start + SignedDuration::from_hours(1) {
        let before = annotated(&cluster);
        cluster.reconcile(1000);
        cluster.settle();
        if annotated(&cluster) > before {
            waits.push(cluster.seen.now.duration_since(last).as_secs());
            last = cluster.seen.now;
        }
        let crate::effect::Next::At(at) = cluster.plan().next else { panic!("nothing would wake it") };
        assert!(at > cluster.seen.now, "no hot loop");
        cluster.seen.now = at;
    }
    assert_eq!(waits[..9], [1, 1, 2, 4, 8, 16, 32, 60, 60]);
    assert!(annotated(&cluster) < 150, "{}", annotated(&cluster));
    assert!(!ended(cluster.status()), "a run does not end between two volumes");
    cluster.binder = Binder::Prompt;
    cluster.run(1000);
    assert_eq!(cluster.status().left_as.as_ref().map(|left| left.claims.as_str()), None);
    recovered(&cluster);
}

#[test]
fn what_the_annotation_says_never_stops_the_haste() {
    for text in ["", "yesterday", "2026-11-23T09:31:14Z", "2126-01-01T00:00:00Z/2126-01-01T00:00:00Z"] {
        let mut cluster = Cluster::bound_by(Binder::Refused);
        claims_made(&mut cluster);
        for name in [CLAIM.to_owned(), quarantine_claim()] {
            cluster.seen.claims.get_mut(&name).unwrap().annotations.insert(BINDING.into(), text.into());
        }
        cluster.run(1000);
        recovered(&cluster);
    }
}

#[test]
fn a_claim_that_is_put_back_is_bound_soon_and_left_as_it_was() {
    for binder in [Binder::Prompt, Binder::Refused, Binder::RefusedEarly] {
        let mut cluster = Cluster::bound_by(binder);
        cluster.set_mut().deletes_claims = true;
        cluster.answers.insert("Restore", vec![failed(FailureReason::PointUnreadable)]);
        cluster.run(1);
        assert_eq!(reason(&cluster, "Failed"), "PointUnreadable");
        let claim = &cluster.seen.claims[CLAIM];
        assert!(claim.bound && claim.volume.as_deref() == Some("pv-old"));
        assert!(!claim.annotations.contains_key(BINDING), "{:?}", claim.annotations);
    }
}

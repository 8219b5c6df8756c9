//! Runs that a human ends: cancelled after every write, killed after every write on the way back, in one lane and in many.

use std::collections::BTreeSet;

use crds::reference::QUARANTINE_LABEL;
use crds::run::{DesiredState, Direction};

use super::*;

fn restored_claim(claim: &str) -> String {
    crds::names::restored_claim(claim, RUN_UID)
}

/// What a run does before somebody cancels it: so many writes, one at a time.
fn after(mut cluster: Cluster, writes: usize) -> Cluster {
    for _ in 0..writes {
        cluster.reconcile(1);
        cluster.settle();
        cluster.seen.now += jiff::SignedDuration::from_millis(250);
    }
    cluster
}

fn cancel(cluster: &mut Cluster) {
    cluster.seen.run.spec.desired_state = DesiredState::Cancelled;
}

/// The run up to the first look at which `wanted` holds.
fn until(mut cluster: Cluster, wanted: impl Fn(&Cluster) -> bool) -> Cluster {
    for _ in 0..400 {
        if wanted(&cluster) {
            return cluster;
        }
        cluster = after(cluster, 1);
    }
    panic!("it never comes to that: {:#?}", cluster.status().steps);
}

fn step_is(cluster: &Cluster, name: &str, phase: StepPhase) -> bool {
    cluster.status().steps.iter().any(|step| step.name == name && step.phase == phase)
}

fn validating(cluster: &Cluster) -> bool {
    step_is(cluster, "Validate/chromadb", StepPhase::Running)
}

/// As it was before the run, but for what is kept of what was restored. Returns the claims that were given their old volumes again.
fn given_back(cluster: &Cluster) -> Vec<String> {
    assert_eq!(phase(cluster), Some(RunPhase::Cancelled), "{}", message(cluster, "Ready"));
    assert!(message(cluster, "Failed").contains("cancelled at"), "{}", message(cluster, "Failed"));
    let (seen, before) = (&cluster.seen, &cluster.recorded);
    assert!(cluster.status().fenced.is_empty() && !seen.run.finalizer && seen.jobs.is_empty());
    assert!(seen.memory.is_none());
    for component in &seen.components {
        for workload in &component.workloads {
            assert_eq!(workload.replicas, 1, "{}", workload.workload.name);
        }
    }
    let mut back = Vec::new();
    for (name, was) in &before.claims {
        let now = &seen.claims[name];
        assert!(now.bound && !now.deleting);
        assert_eq!((&now.volume, &now.class, &now.size), (&was.volume, &was.class, &was.size), "{name}");
        assert_eq!(now.labels, was.labels);
        assert!(!seen.claims.contains_key(&crds::names::quarantine_claim(name, RUN_UID)));
        let old = &seen.volumes[was.volume.as_ref().unwrap()];
        let Some(kept) = seen.claims.get(&restored_claim(name)) else { continue };
        back.push(name.clone());
        assert_eq!(old.reclaim, "Retain");
        assert!(kept.bound && kept.labels.contains_key(QUARANTINE_LABEL));
        let restored = kept.volume.as_ref().unwrap();
        assert_eq!(seen.volumes[restored].reclaim, "Retain", "nothing is destroyed");
        let told = cluster.status().quarantine.iter().find(|told| told.claim == kept.name).unwrap();
        assert_eq!(&told.volume, restored);
    }
    assert_eq!(cluster.status().quarantine.len(), back.len(), "{:?}", cluster.status().quarantine);
    let (reason, other) = if back.is_empty() { ("Cancelled", "Undone") } else { ("Undone", "Cancelled") };
    assert_eq!(self::reason(cluster, "Cancelled"), reason, "and not {other}");
    let left = cluster.status().left_as.clone().unwrap();
    assert_eq!(
        (left.data.as_str(), left.claims.as_str(), left.workloads.as_str()),
        ("Untouched", "Original", "Running")
    );
    back
}

/// Cancelled after every number of writes of `new`, and killed after every `killed` writes from then on.
fn cancelled_everywhere(new: fn() -> Cluster, most: usize, killed: usize) -> BTreeSet<&'static str> {
    let mut ends = BTreeSet::new();
    for writes in 0..most {
        let mut cluster = after(new(), writes);
        let was_through = ended(cluster.status());
        cancel(&mut cluster);
        cluster.run(killed);
        if was_through {
            assert_eq!(phase(&cluster), Some(RunPhase::Succeeded));
            ends.insert("through");
            continue;
        }
        let back = given_back(&cluster);
        ends.insert(if back.is_empty() { "cancelled" } else { "undone" });
        for (_, replicas) in &cluster.log.scaled {
            assert!(*replicas <= 1, "more than ran before");
        }
    }
    ends
}

#[test]
fn i5_cancelled_after_any_write_and_killed_after_any_write_a_run_gives_back_everything() {
    for killed in [1, 2, 1000] {
        let ends = cancelled_everywhere(Cluster::new, 90, killed);
        assert_eq!(ends.into_iter().collect::<Vec<_>>(), ["cancelled", "through", "undone"]);
    }
}

#[test]
fn i5_so_do_many_components_side_by_side_also_where_some_are_exchanged_and_others_are_not() {
    let mut mixed = 0;
    for writes in 0..220 {
        let mut cluster = after(Cluster::of(arxiv()), writes);
        let was_through = ended(cluster.status());
        cancel(&mut cluster);
        cluster.run(1 + writes % 3);
        if was_through {
            assert_eq!(phase(&cluster), Some(RunPhase::Succeeded));
            continue;
        }
        let back = given_back(&cluster).len();
        mixed += usize::from(back == 1 || back == 2);
    }
    assert!(mixed > 0, "no cancel fell between two exchanges");
}

#[test]
fn a_stateful_set_that_deletes_its_claims_loses_neither_volume() {
    let new = || {
        let mut cluster = Cluster::new();
        cluster.set_mut().deletes_claims = true;
        cluster
    };
    for killed in [1, 1000] {
        let ends = cancelled_everywhere(new, 90, killed);
        assert!(ends.contains("undone"), "{ends:?}");
    }
}

#[test]
fn what_is_undone_is_stopped_first_and_says_where_everything_is() {
    let mut cluster = until(Cluster::new(), validating);
    let restored = cluster.seen.claims[CLAIM].volume.clone().unwrap();
    cancel(&mut cluster);
    cluster.run(1);
    assert_eq!(given_back(&cluster), [CLAIM]);
    assert_eq!(replicas(&cluster), [0, 1, 0, 1]);
    assert!(step_is(&cluster, "Swap/chromadb", StepPhase::Undone));
    let told = message(&cluster, "Cancelled");
    assert!(told.contains(&format!("{CLAIM} is again pv-old; the restored volume {restored}")), "{told}");
    let told = message(&cluster, "Failed");
    assert!(told.contains("is the old volume again, the restored one is kept as"), "{told}");
    let removal = &cluster.status().next_actions;
    assert!(removal.iter().any(|action| action.command.contains(&restored_claim(CLAIM))), "{removal:?}");
    for kind in ["DataRestored", "ApplicationReady", "Validated"] {
        let found = get(&cluster.status().conditions, kind);
        assert!(found.is_none_or(|found| found.status != "True"), "{kind} is true of what serves no more");
    }
    assert!(cluster.status().measured.is_empty(), "nothing was recovered");
    assert_eq!(cluster.status().swaps[0].direction, Direction::Back);
}

#[test]
fn a_rival_that_scales_up_on_the_way_back_finds_a_whole_claim() {
    for when in 0..60 {
        let mut cluster = until(Cluster::new(), validating);
        cancel(&mut cluster);
        for round in 0..600 {
            if round == when && !ended(cluster.status()) {
                cluster.set_mut().replicas = 1;
            }
            let wrote = cluster.reconcile(1);
            let moved = cluster.settle();
            if wrote == 0 && !moved && round > when && ended(cluster.status()) {
                break;
            }
        }
        assert_eq!(given_back(&cluster), [CLAIM], "{when}");
    }
}

#[test]
fn a_pod_of_which_nothing_is_known_holds_the_way_back_up() {
    let mut cluster = until(Cluster::new(), validating);
    cluster.seen.pods.iter_mut().find(|pod| pod.name == "chromadb-0").unwrap().lost_on =
        Some("node-2".into());
    cancel(&mut cluster);
    for _ in 0..50 {
        cluster.reconcile(100);
        cluster.settle();
    }
    assert!(!ended(cluster.status()));
    let restored = cluster.status().swaps[0].restored_volume().unwrap().to_owned();
    assert_eq!(cluster.seen.claims[CLAIM].volume.as_ref(), Some(&restored), "a claim was taken off its pod");
    cluster.seen.pods.retain(|pod| pod.lost_on.is_none());
    cluster.run(1);
    assert_eq!(given_back(&cluster), [CLAIM]);
}

fn goes_on(mut cluster: Cluster, why: &str) {
    cancel(&mut cluster);
    cluster.run(1);
    let told = message(&cluster, "Cancelled");
    assert_eq!(reason(&cluster, "Cancelled"), "TooLate", "{told}");
    assert!(told.contains(why), "{told}");
    assert_ne!(phase(&cluster), Some(RunPhase::Cancelled));
    assert!(cluster.status().swaps.iter().all(|swap| swap.direction == Direction::Forth));
}

#[test]
fn what_can_not_be_taken_back_is_said_and_the_run_goes_on_to_its_end() {
    let mut released = until(Cluster::new(), validating);
    released.seen.claims.remove(&quarantine_claim());
    goes_on(released, "do not hold volumes");

    let mut gone = until(Cluster::new(), validating);
    gone.seen.claims.remove(&quarantine_claim());
    gone.seen.volumes.remove("pv-old");
    goes_on(gone, "pv-old, which claim data-chromadb-0 had before, does not exist any more");

    goes_on(
        until(nothing_left::nothing_left(), validating),
        "the volume that claim data-chromadb-0 had before was lost",
    );
}

#[test]
fn nobody_brings_back_by_a_cancel_what_an_intruder_may_have_changed() {
    let mut cluster = until(isolation::breached(), |cluster| {
        cluster
            .status()
            .steps
            .iter()
            .any(|step| step.name.starts_with("Swap/") && step.phase == StepPhase::Done)
    });
    cancel(&mut cluster);
    for _ in 0..100 {
        cluster.reconcile(1);
        cluster.settle();
    }
    assert_eq!(reason(&cluster, "Cancelled"), "TooLate");
    assert!(message(&cluster, "Cancelled").contains("whatever an intruder left"));
    assert!(cluster.status().swaps.iter().all(|swap| swap.direction == Direction::Forth));
}

#[test]
fn a_fence_that_no_longer_holds_leaves_the_restored_volume_in_place_and_stopped() {
    let mut cluster = until(Cluster::new(), validating);
    let deleted = cluster.log.claims_deleted.len();
    cluster.fence_works = false;
    cancel(&mut cluster);
    cluster.run(1);
    assert_eq!((phase(&cluster), reason(&cluster, "Failed").as_str()), (Some(RunPhase::Failed), "NotUndone"));
    assert_eq!(cluster.log.claims_deleted.len(), deleted);
    let cancelled = get(&cluster.status().conditions, "Cancelled").unwrap();
    assert_eq!((cancelled.reason.as_str(), cancelled.status.as_str()), ("NotUndone", "False"));
    let left = cluster.status().left_as.clone().unwrap();
    assert_eq!((left.claims.as_str(), left.workloads.as_str()), ("Swapped", "Stopped"));
    assert!(cluster.status().next_actions.iter().any(|action| action.command.contains("--replicas=1")));
}

#[test]
fn a_claim_that_somebody_makes_on_the_way_back_is_not_touched_and_no_volume_is_lost() {
    let mut cluster = until(Cluster::new(), validating);
    cancel(&mut cluster);
    let mut cluster = until(cluster, |cluster| !cluster.seen.claims.contains_key(CLAIM));
    let rival = crate::recovery::seen::ClaimSeen {
        name: CLAIM.into(),
        uid: "rival".into(),
        ..crate::recovery::seen::ClaimSeen::default()
    };
    cluster.seen.claims.insert(CLAIM.into(), rival);
    cluster.run(1);
    assert_eq!(reason(&cluster, "Failed"), "NotUndone");
    assert_eq!(cluster.seen.claims[CLAIM].uid, "rival");
    assert!(cluster.seen.volumes.values().filter(|volume| volume.reclaim == "Retain").count() >= 2);
    assert_eq!(cluster.status().left_as.as_ref().unwrap().claims, "Between");
}

#[test]
fn one_that_is_deleted_on_the_way_back_goes_only_with_whole_claims() {
    for when in 0..60 {
        let mut cluster = until(Cluster::new(), validating);
        cancel(&mut cluster);
        cluster = after(cluster, when);
        cluster.seen.run.deleting = true;
        for _ in 0..200 {
            if !cluster.seen.run.finalizer {
                break;
            }
            cluster.reconcile(1);
            cluster.settle();
        }
        assert!(!cluster.seen.run.finalizer, "{when}: the run stays for ever");
        let claim = &cluster.seen.claims[CLAIM];
        assert!(claim.bound && !claim.deleting, "{when}");
        assert_eq!(cluster.seen.volumes["pv-old"].reclaim, "Retain");
    }
}

#[test]
fn a_look_at_a_cancelled_run_after_its_end_changes_nothing() {
    let mut cluster = until(Cluster::new(), validating);
    cancel(&mut cluster);
    cluster.run(1000);
    let Plan { effects, status, .. } = cluster.plan();
    assert!(status == *cluster.status() && effects.is_empty(), "{effects:?}");
}

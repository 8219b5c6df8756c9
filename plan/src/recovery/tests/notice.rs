//! What people who wait are told, how often, and that nobody hears anything twice.

use crds::run::{DataLossRisk, Gate, GateName, Incident};
use jiff::SignedDuration;

use super::*;
use crate::effect::EventKind;
use crate::recovery::{Notice, NoticeKind};

/// Runs to the end, `pause` between two looks; returns what was told.
fn told(cluster: &mut Cluster, pause: SignedDuration) -> Vec<Notice> {
    let mut told = Vec::new();
    for _ in 0..400 {
        let plan = cluster.plan();
        let changed = plan.status != *cluster.status();
        assert!(changed || plan.notices.is_empty(), "told without its mark");
        if changed {
            assert!(plan.effects.is_empty());
            cluster.seen.run.status = plan.status;
            told.extend(plan.notices);
            continue;
        }
        plan.effects.iter().for_each(|effect| cluster.apply(effect));
        let moved = cluster.settle();
        if plan.effects.is_empty() && !moved && crate::recovery::ended(cluster.status()) {
            return told;
        }
        cluster.seen.now += pause;
    }
    panic!("no end: {:#?}", cluster.status().steps);
}

fn incident() -> Incident {
    Incident {
        summary: Some("papers-cs answers 500".into()),
        impact: Some("search fails".into()),
        users_affected: Some(120),
        data_loss_risk: Some(DataLossRisk::Yes),
        commander: Some("ops".into()),
        technical_lead: Some("tech-lead".into()),
        ..Incident::default()
    }
}

#[test]
fn people_hear_at_once_what_happened_and_at_the_end_what_came_of_it() {
    let mut cluster = Cluster::new();
    cluster.seen.run.spec.incident = Some(incident());
    let told = told(&mut cluster, SignedDuration::from_secs(1));
    let [first, last] = told.as_slice() else { panic!("{told:#?}") };
    assert_eq!(
        (first.kind, first.number, last.kind, last.number),
        (NoticeKind::Initial, 1, NoticeKind::Final, 2)
    );
    for said in [
        "DatabaseCorruption of arxiv, severity High, since 2026-11-23T09:",
        "papers-cs answers 500. Impact: search fails; users affected: 120; root cause: not known yet; services affected: chromadb",
        "data loss risk: Yes",
        "steps, promised by 2026-11-23T11:",
        "Incident commander: ops, technical lead: tech-lead, recovery coordinator: nobody named.",
        "Next update by 2026-11-23T",
    ] {
        assert!(first.text.contains(said), "{said}: {}", first.text);
    }
    assert_eq!((first.event().kind, first.event().reason.as_str()), (EventKind::Warning, "Incident"));
    assert!(last.text.contains("update 2: Succeeded after "), "{}", last.text);
    assert!(last.text.contains(&message(&cluster, "Ready")) && !last.urgent, "{}", last.text);
    assert_eq!(last.event().kind, EventKind::Normal);
    assert_eq!(cluster.status().notices.as_ref().unwrap().next, None);
}

#[test]
fn while_it_goes_on_there_is_an_update_every_half_hour() {
    let mut cluster = Cluster::new();
    cluster.seen.run.spec.deadline = Some(crds::Span::from_hours(100));
    let told = told(&mut cluster, SignedDuration::from_mins(16));
    let updates: Vec<&Notice> = told.iter().filter(|notice| notice.kind == NoticeKind::Progress).collect();
    assert!(updates.len() > 2, "{told:#?}");
    for (number, notice) in (2..).zip(&updates) {
        assert_eq!(notice.number, number);
        let said = format!("DatabaseCorruption of arxiv, update {number}: ");
        assert!(
            notice.text.starts_with(&said) && notice.text.contains(" %). In progress: "),
            "{}",
            notice.text
        );
        assert!(notice.text.contains("Blocked by: nothing."), "{}", notice.text);
    }
}

#[test]
fn a_gate_that_nobody_answers_is_told_again_and_again_and_so_is_a_failure() {
    let mut cluster = Cluster::new();
    cluster.seen.run.spec.gates = vec![Gate { name: GateName::Start }];
    let told = told(&mut cluster, SignedDuration::from_mins(16));
    let updates: Vec<&Notice> = told.iter().filter(|notice| notice.kind == NoticeKind::Progress).collect();
    assert!(updates.len() > 2, "{told:#?}");
    // At the deadline it has failed, and that is told as well.
    let said = |notice: &&Notice, what: &str| notice.urgent && notice.text.contains(what);
    let (waiting, over): (Vec<&Notice>, Vec<&Notice>) =
        updates.into_iter().partition(|notice| said(notice, "gate Start waits for a decision since 2026"));
    assert!(waiting.len() > 2 && over.iter().all(|notice| said(notice, "Stop failed")), "{told:#?}");
    let last = told.last().unwrap();
    assert!(
        last.urgent
            && last.text.contains("Failed after ")
            && last.text.contains("nobody decided at gate Start"),
        "{}",
        last.text
    );
}

#[test]
fn nobody_is_told_of_a_look_or_of_what_was_refused_and_no_text_is_too_long() {
    let mut dry = Cluster::new();
    dry.seen.run.spec.mode = RunMode::DryRun;
    let mut refused = Cluster::new();
    refused.seen.points.clear();
    refused.seen.run.spec.point = Some(crds::run::PointChoice {
        latest: None,
        named: Some(crds::reference::NameRef::new("nowhere")),
        ..crds::run::PointChoice::default()
    });
    for mut cluster in [dry, refused] {
        let told = told(&mut cluster, SignedDuration::from_secs(1));
        assert!(told.is_empty(), "{told:#?}");
    }
    let mut long = Cluster::new();
    let text = Some("ä".repeat(512));
    long.seen.run.spec.incident =
        Some(Incident { summary: text.clone(), impact: text.clone(), root_cause: text, ..incident() });
    for notice in told(&mut long, SignedDuration::from_secs(1)) {
        assert!(notice.text.len() <= 1024, "{}", notice.text.len());
        assert!(
            notice.kind == NoticeKind::Final || notice.text.contains("Next update by"),
            "{}",
            notice.text
        );
    }
}

//! Recovery time and data loss as they are measured.

use crds::condition::is_true;
use crds::run::RunPhase;

use super::*;

#[test]
fn the_parts_of_the_recovery_time_add_up_to_it() {
    for detected in [Some("2026-11-23T09:28:00Z"), Some("2026-11-23T09:31:12.9Z"), None] {
        let mut cluster = Cluster::new();
        let incident = detected.map(|time| serde_json::json!({"detectedAt": time}));
        cluster.seen.run.spec =
            spec(serde_json::json!({"incident": incident.unwrap_or(serde_json::json!({}))}));
        cluster.run(3);
        let measured = &cluster.status().measured[0];
        let end =
            cluster.status().steps.iter().find(|step| step.name == "Validate/chromadb").unwrap().end.unwrap();
        let start = detected.map_or(cluster.seen.run.created, at);
        let rto = end.duration_since(start);
        assert_eq!(
            i128::from(measured.breakdown.iter().map(|part| part.millis).sum::<i64>()),
            rto.as_millis()
        );
        assert!(measured.breakdown.iter().all(|part| part.millis >= 0));
        assert_eq!(measured.rto, crds::Span::floor(rto).to_string());
        assert!(measured.breakdown.len() <= 32 && !measured.not_measured.is_empty());
    }
}

#[test]
fn data_loss_is_measured_from_the_declared_failure_to_the_cut_of_the_point() {
    let mut cluster = Cluster::new();
    cluster.run(1000);
    assert_eq!(cluster.status().measured[0].rpo.as_deref(), Some("27m57s"));
    assert_eq!(cluster.status().display.as_ref().unwrap().rpo.as_deref(), Some("27m57s/30m"));
    assert!(is_true(&cluster.status().conditions, "ObjectivesMet"));
    let mut cluster = Cluster::new();
    cluster.seen.components[0].objectives.rpo = crds::Span::from_mins(5);
    cluster.run(1000);
    assert_eq!(reason(&cluster, "ObjectivesMet"), "RPOMissed");
    assert_eq!(phase(&cluster), Some(RunPhase::Succeeded));
}

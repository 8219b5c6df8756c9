//! What is told of the nodes and of the network, and fails no recovery.

use crds::job::CheckResult;
use crds::run::CheckGroup;

use super::checks::line;
use super::*;
use crate::recovery::seen::NodeUsage;

fn node(name: &str, cpu: &str, memory: &str) -> NodeUsage {
    NodeUsage {
        name: name.into(),
        cpu: cpu.into(),
        memory: memory.into(),
        allocatable_cpu: "2".into(),
        allocatable_memory: "1000Mi".into(),
    }
}

/// A whole recovery with these nodes: whether NodeBusy was told, and the lines.
fn recovered(usage: Option<Result<Vec<NodeUsage>, String>>) -> (usize, Cluster) {
    let mut cluster = Cluster::new();
    cluster.seen.usage = usage;
    let mut told = 0;
    for _ in 0..400 {
        let planned = cluster.plan();
        told += planned.events.iter().filter(|event| event.reason == "NodeBusy").count();
        cluster.seen.run.status = planned.status;
        planned.effects.iter().for_each(|effect| cluster.apply(effect));
        cluster.settle();
    }
    assert_eq!(phase(&cluster), Some(RunPhase::Succeeded), "{}", message(&cluster, "Ready"));
    (told, cluster)
}

#[test]
fn the_busiest_node_decides_about_cpu_and_memory_and_is_told_once() {
    let (low, high) = (node("a", "100m", "1Mi"), node("b", "1599m", "799Mi"));
    for (nodes, told, cpu, memory) in [
        (vec![low.clone(), high.clone()], 0, (Verdict::Passed, "79% of b"), (Verdict::Passed, "79% of b")),
        (
            vec![node("b", "1600m", "1Mi"), low.clone()],
            1,
            (Verdict::Failed, "80% of b"),
            (Verdict::Passed, "0% of b"),
        ),
        (
            vec![low.clone(), node("b", "1", "990Mi")],
            1,
            (Verdict::Passed, "50% of b"),
            (Verdict::Failed, "99% of b"),
        ),
        (
            vec![low.clone(), node("b", "", "1Mi")],
            0,
            (Verdict::Inconclusive, "what node b uses could not be read"),
            (Verdict::Passed, "0% of b"),
        ),
        (
            vec![],
            0,
            (Verdict::Inconclusive, "no node was told of"),
            (Verdict::Inconclusive, "no node was told of"),
        ),
    ] {
        let (seen, cluster) = recovered(Some(Ok(nodes)));
        for (name, (verdict, observed)) in [("cpu", cpu), ("memory", memory)] {
            let check = line(&cluster, name);
            assert_eq!((check.verdict, check.observed.as_str()), (verdict, observed), "{name}");
            assert_eq!(check.group, CheckGroup::SystemResources);
        }
        assert_eq!(seen, told);
    }
}

#[test]
fn where_nothing_tells_the_lines_say_so_and_are_skipped() {
    let (_, cluster) = recovered(Some(Err("metrics.k8s.io is not installed".into())));
    for name in ["cpu", "memory"] {
        let check = line(&cluster, name);
        assert_eq!(
            (check.verdict, check.observed.as_str()),
            (Verdict::Skipped, "metrics.k8s.io is not installed")
        );
    }
}

#[test]
fn a_silent_endpoint_is_told_and_fails_no_recovery() {
    let mut cluster = Cluster::new();
    let said = |name: &str, verdict| CheckResult {
        name: name.into(),
        verdict,
        expected: "1 reached by name".into(),
        observed: "export.arxiv.org:443 the name does not resolve".into(),
    };
    let checks = vec![said("corruption", Verdict::Passed), said("network", Verdict::Failed)];
    cluster.answers.insert("Validate", vec![JobState::Ended(Report::Validated { checks })]);
    let mut told = Vec::new();
    for _ in 0..400 {
        let planned = cluster.plan();
        told.extend(planned.events.into_iter().filter(|event| event.reason == "EndpointSilent"));
        cluster.seen.run.status = planned.status;
        planned.effects.iter().for_each(|effect| cluster.apply(effect));
        cluster.settle();
    }
    assert_eq!(phase(&cluster), Some(RunPhase::Succeeded), "{}", message(&cluster, "Ready"));
    assert_eq!(
        (line(&cluster, "network").verdict, line(&cluster, "network").group),
        (Verdict::Failed, CheckGroup::SystemResources)
    );
    let [event] = told.as_slice() else { panic!("{told:?}") };
    assert!(
        event.message.contains("export.arxiv.org:443") && event.message.contains("NetworkFailure"),
        "{event:?}"
    );
}

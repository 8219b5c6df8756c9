//! What a test begins with: a namespace in order, as one look shows it; and what movers answer when all goes well.

use std::collections::BTreeMap;

use crds::Span;
use crds::job::{
    Captured, CapturedFiles, CheckResult, Checked, Emergency, Finding, Recreated, Report, RepositoryAccess,
    RepositoryPlace, Request, Restored, Torn, UnreadableRange, Verified,
};
use crds::policy::{Objectives, Priority};
use crds::reference::{NameRef, WorkloadKind, WorkloadRef};
use crds::run::{RecoveryRunSpec, RecoveryRunStatus, Verdict};
use jiff::{SignedDuration, Timestamp};

use crate::backup::objects::Wanted;
use crate::backup::source::{Address, Content, Readable, Source};
use crate::effect::{Identity, Place, RepositoryKeys};
use crate::recovery::seen::*;

use super::network;

pub(super) const CLAIM: &str = "data-chromadb-0";
pub(super) const RUN_UID: &str = "run-uid-1";

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn spec(extra: serde_json::Value) -> RecoveryRunSpec {
    let mut value = serde_json::json!({
        "scenario": "DatabaseCorruption", "policies": [{"name": "chromadb"}],
        "target": {"inPlace": {"confirm": "arxiv"}}, "incident": {"detectedAt": "2026-11-23T09:28:00Z"},
    });
    for (key, more) in extra.as_object().unwrap() {
        value[key] = more.clone();
    }
    serde_json::from_value(value).unwrap()
}

pub(super) fn point(name: &str, time: &str, state: PointState) -> PointSeen {
    PointSeen {
        name: name.into(),
        id: format!("id-{name}"),
        policy: "chromadb".into(),
        repository: "primary".into(),
        state,
        consistency_time: Some(at(time)),
        stored_at: Some(at(time) + jiff::SignedDuration::from_secs(20)),
        bytes: 733_000_000,
        chroma: true,
        migrations: Some("2/6/10".into()),
        verification: None,
    }
}

/// A point of an application.
pub(super) fn files(policy: &str, name: &str, time: &str) -> PointSeen {
    let (chroma, migrations) = (false, None);
    PointSeen { policy: policy.into(), chroma, migrations, ..point(name, time, PointState::Available) }
}

pub(super) fn volume(name: &str, owner: (&str, &str, &str)) -> VolumeSeen {
    VolumeSeen {
        name: name.into(),
        uid: format!("uid-{name}"),
        resource_version: "1".into(),
        claim: Some(ClaimOf { namespace: owner.0.into(), name: owner.1.into(), uid: Some(owner.2.into()) }),
        reclaim: "Delete".into(),
        phase: "Bound".into(),
        class: Some("standard".into()),
        size: "20Gi".into(),
    }
}

pub(super) fn pod(name: &str, claims: &[&str]) -> PodSeen {
    PodSeen {
        name: name.into(),
        claims: claims.iter().map(|claim| (*claim).to_owned()).collect(),
        ended: false,
        lost_on: None,
        ready: true,
        restarts: 0,
    }
}

fn claim(name: &str, uid: &str, volume: &str) -> ClaimSeen {
    ClaimSeen {
        name: name.into(),
        uid: uid.into(),
        labels: BTreeMap::from([("app".into(), "chromadb".into())]),
        annotations: BTreeMap::from([
            ("team".into(), "search".into()),
            ("pv.kubernetes.io/bind-completed".into(), "yes".into()),
        ]),
        volume: Some(volume.into()),
        bound: true,
        class: Some("standard".into()),
        size: "20Gi".into(),
        access_modes: vec!["ReadWriteOnce".into()],
        ..ClaimSeen::default()
    }
}

fn workload(kind: WorkloadKind, name: &str) -> WorkloadSeen {
    WorkloadSeen {
        workload: WorkloadRef { kind, name: name.into() },
        uid: format!("uid-of-{name}"),
        resource_version: "1".into(),
        replicas: 1,
        ready: 1,
        pods: Some(1),
        deletes_claims: false,
        recreated: None,
    }
}

fn source(claims: &[&str], content: Content) -> Source {
    Source {
        claims: claims.iter().map(|claim| (*claim).to_owned()).collect(),
        content,
        pod: None,
        place: Place::default(),
        anywhere: Place::default(),
        identity: Identity { uid: Some(1000), ..Identity::default() },
        objects: Wanted::default(),
    }
}

fn chromadb() -> Component {
    let service = Ok(Some(Address { service: "chromadb".into(), port: 8000 }));
    let content = Content::ChromaDb { data_path: String::new(), image: String::new(), service };
    Component {
        policy: "chromadb".into(),
        role: Role::Restored,
        forgotten: false,
        depends_on: Vec::new(),
        objectives: Objectives { rto: Span::from_hours(2), rpo: Span::from_mins(30) },
        repository: "primary".into(),
        application: false,
        approval: false,
        quarantine_for: Span::from_hours(336),
        offline: None,
        emergency: EmergencySeen {
            repository: "primary".into(),
            access: Ok(access()),
            logs_since: Span::from_hours(24),
            policy_spec: serde_json::json!({}),
            readable: Readable { claims: vec![CLAIM.into()], ..Readable::default() },
        },
        auth: None,
        checks: Vec::new(),
        access: Ok(access()),
        policy_spec: serde_json::json!({"component": {}}),
        workloads: vec![workload(WorkloadKind::StatefulSet, "chromadb")],
        ready_pods: Vec::new(),
        missing: Vec::new(),
        capture: CaptureSeen::default(),
        stopped: false,
        source: Ok(source(&[CLAIM], content)),
    }
}

fn policy(name: &str, application: bool, priority: Priority, depends_on: &[&str]) -> PolicySeen {
    let depends_on = depends_on.iter().map(|name| (*name).to_owned()).collect();
    PolicySeen { name: name.into(), application, priority, depends_on, offline: false }
}

/// A ChromaDB whose newest point carries the corruption, and a run that recovers it.
pub(super) fn corrupted() -> Observed {
    Observed {
        now: at("2026-11-23T09:31:13.25Z"),
        epoch: 1,
        namespace_terminating: false,
        run: RunSeen {
            namespace: "arxiv".into(),
            name: "db-1".into(),
            uid: RUN_UID.into(),
            created: at("2026-11-23T09:31:12Z"),
            generation: 1,
            deleting: false,
            finalizer: false,
            isolating: false,
            spec: spec(serde_json::json!({})),
            status: RecoveryRunStatus::default(),
        },
        executed: None,
        others: Vec::new(),
        policies: vec![policy("chromadb", false, Priority::Critical, &[])],
        repositories: vec![RepositorySeen {
            name: "primary".into(),
            catalogued: Ok(()),
            key_secrets: vec!["primary-key".into()],
            credential_secrets: vec!["s3".into()],
        }],
        components: vec![chromadb()],
        points: vec![
            point("p3", "2026-11-23T09:15:02Z", PointState::Quarantined("OfflineCheckFailed".into())),
            point("p2", "2026-11-23T09:00:03Z", PointState::Available),
            point("p1", "2026-11-23T08:45:03Z", PointState::Available),
        ],
        jobs: BTreeMap::new(),
        volumes: BTreeMap::from([("pv-old".into(), volume("pv-old", ("arxiv", CLAIM, "claim-old")))]),
        claims: BTreeMap::from([(CLAIM.into(), claim(CLAIM, "claim-old", "pv-old"))]),
        pods: vec![pod("chromadb-0", &[CLAIM])],
        nodes: BTreeMap::new(),
        hooks_allowed: true,
        objects: BTreeMap::new(),
        storage_classes: None,
        services: BTreeMap::from([("chromadb".into(), vec![8000])]),
        memory: None,
        surroundings: None,
        offline: OfflineSeen::default(),
        usage: None,
        cron_jobs: Vec::new(),
        network: NetworkSeen::default(),
        readers: BTreeMap::new(),
        sandbox: SandboxSeen::default(),
        audit: None,
    }
}

/// The claims of the scholar.
pub(super) const SCHOLAR_CLAIMS: [&str; 2] = ["scholar-cache", "scholar-state"];

/// The same ChromaDB, a scholar with two volumes and a CronJob that works with it, a mailer that has no volume and works with nobody; and a
/// run that recovers all of it.
pub(super) fn arxiv() -> Observed {
    let mut seen = corrupted();
    let everything = serde_json::json!({"scenario": "CompleteFailure", "policies": null});
    seen.run.spec = spec(everything);
    let application = |name: &str, claims: &[&str]| Component {
        policy: name.into(),
        application: true,
        workloads: vec![workload(WorkloadKind::Deployment, name)],
        source: Ok(source(claims, Content::Application)),
        emergency: EmergencySeen {
            readable: Readable {
                claims: claims.iter().map(|claim| (*claim).to_owned()).collect(),
                ..Readable::default()
            },
            ..chromadb().emergency
        },
        ..chromadb()
    };
    let mut scholar = application("scholar", &SCHOLAR_CLAIMS);
    scholar.depends_on = vec!["chromadb".into()];
    scholar.workloads.push(workload(WorkloadKind::CronJob, "fetch"));
    seen.components.extend([scholar, application("mailer", &[])]);
    seen.policies.extend([
        policy("scholar", true, Priority::High, &["chromadb"]),
        policy("mailer", true, Priority::Low, &[]),
    ]);
    for name in SCHOLAR_CLAIMS {
        let (uid, pv) = (format!("{name}-old"), format!("pv-{name}"));
        seen.claims.insert(name.into(), claim(name, &uid, &pv));
        seen.volumes.insert(pv.clone(), volume(&pv, ("arxiv", name, &uid)));
    }
    seen.pods.extend([pod("scholar-0", &SCHOLAR_CLAIMS), pod("mailer-0", &[])]);
    seen.points.extend([
        files("scholar", "s2", "2026-11-23T09:20:00Z"),
        files("scholar", "s1", "2026-11-23T08:50:00Z"),
        files("mailer", "m1", "2026-11-23T09:25:00Z"),
    ]);
    seen
}

pub(super) fn access() -> Access {
    Access {
        access: RepositoryAccess {
            place: RepositoryPlace::S3 {
                endpoint: None,
                region: "us-east-1".into(),
                bucket: "dr".into(),
                prefix: String::new(),
                addressing: crds::repository::Addressing::Path,
            },
            expected_id: Some("repo".into()),
            read_only: false,
            sealed: false,
            evidence: false,
            lock: None,
        },
        keys: RepositoryKeys {
            credentials: Some(NameRef::new("s3")),
            key: NameRef::new("key"),
            escrow: None,
            ca: None,
        },
    }
}

pub(super) fn kind(request: &Request) -> &'static str {
    match request {
        Request::CheckIntegrity { .. } | Request::CheckPreserved { .. } => "CheckIntegrity",
        Request::Recreate { .. } => "Objects",
        Request::Restore { .. } => "Restore",
        Request::VerifyOffline { .. } => "VerifyOffline",
        Request::Validate { .. } | Request::Check { .. } => "Validate",
        Request::Hook { .. } => "Exec",
        Request::Diagnose { .. } => "Diagnose",
        Request::ProbeIsolation { .. } => "Isolate",
        Request::Seal { seal: true, .. } => "Seal",
        Request::Seal { .. } => "Unseal",
        Request::Mark { .. } => "MarkPoints",
        Request::WriteReport { .. } => "Report",
        Request::Rotate { .. } => "RotateCredentials",
        Request::Revoke { .. } => "Revoke",
        Request::Audit(_) => "Audit",
        Request::VerifyPoints { .. } => "VerifyPoints",
        Request::CountLoss(_) => "CountLoss",
        _ => panic!("no request of a recovery"),
    }
}

/// A check that found nothing.
pub(super) fn whole() -> Checked {
    let (findings, migrations) = (Vec::new(), Some("2/6/10".into()));
    Checked { findings, finding_count: 0, migrations, unchecked: None, repair: None }
}

/// All that was on the volumes of a component.
pub(super) fn preserved(policy: &str) -> Captured {
    Captured {
        point: format!("id-kept-{policy}"),
        digest: "d".into(),
        consistency_time: at("2026-11-23T09:31:20Z"),
        stored_at: None,
        longest_hold: SignedDuration::ZERO,
        locked_until: None,
        bytes: 733_000_000,
        new_bytes: 1000,
        files: 16,
        objects: 5,
        content: crds::job::Content::Application(CapturedFiles {
            volumes: 1,
            databases: 0,
            unstable: Vec::new(),
            unstable_count: 0,
        }),
        findings: Vec::new(),
        emergency: Some(Emergency {
            torn: Torn::No,
            unreadable_bytes: 0,
            unreadable_count: 0,
            unreadable: Vec::new(),
            missed_count: 0,
            missed: Vec::new(),
            evidence: 0,
        }),
    }
}

/// The same of a disk that did not give back some bytes.
pub(super) fn holed(policy: &str) -> Captured {
    let range = UnreadableRange { file: "data/chroma.sqlite3".into(), offset: 8192, length: 4096 };
    let mut captured = preserved(policy);
    captured.emergency = captured.emergency.map(|whole| Emergency {
        unreadable_bytes: 4096,
        unreadable_count: 1,
        unreadable: vec![range],
        ..whole
    });
    captured
}

pub(super) fn good(request: &Request) -> Report {
    match request {
        Request::CheckIntegrity { .. } => Report::Checked(Checked {
            findings: vec![Finding { subject: "papers-cs".into(), message: "pickle cut short".into() }],
            finding_count: 1,
            migrations: None,
            unchecked: None,
            repair: None,
        }),
        Request::CheckPreserved { .. } => Report::Checked(whole()),
        Request::Preserve { source, .. } => {
            let files = 11 * source.claims.len() as u64 + 5;
            Report::Preserved(Box::new(Captured { files, ..preserved(&source.policy) }))
        }
        Request::Recreate { .. } => {
            Report::Recreated(Recreated { created: vec!["Secret env".into()], created_count: 9, existing: 1 })
        }
        Request::Restore { .. } => {
            Report::Restored(Restored { bytes: 733_000_000, files: 16, reused_bytes: 0 })
        }
        Request::VerifyOffline { .. } => Report::Verified(Verified {
            files_equal: 16,
            files: 16,
            collections_equal: 3,
            collections: 3,
            free_percent: Some(66),
            findings: Vec::new(),
        }),
        Request::Check { answers, .. } => Report::Validated {
            checks: answers
                .iter()
                .map(|answer| CheckResult {
                    name: answer.name.clone(),
                    verdict: Verdict::Passed,
                    expected: answer.status.to_string(),
                    observed: format!("{} from {}", answer.status, answer.url),
                })
                .collect(),
        },
        Request::Diagnose { endpoints, .. } => network::seen(endpoints, true),
        Request::Seal { seal, by, reason, .. } => {
            let (by, reason) = (by.clone(), reason.clone());
            let mark = crds::repository::SealMark { by, reason, since: at("2026-11-23T09:31:20Z") };
            Report::Sealed { seal: seal.then_some(mark) }
        }
        Request::WriteReport { path, .. } => Report::ReportWritten { digest: format!("sha256:{path}") },
        Request::Hook { .. } => Report::Ran,
        Request::Mark { .. } | Request::Revoke { .. } => Report::Marked,
        Request::Rotate { rotations, .. } => {
            let done = rotations.iter().map(|rotation| rotation.name.clone()).collect();
            Report::Rotated(crds::job::Rotated { done, refused: Vec::new() })
        }
        Request::Audit(_) => super::audit::answer(),
        Request::VerifyPoints { points, .. } => super::verification::answer(points),
        Request::CountLoss(asked) => super::losses::answer(asked),
        Request::ProbeIsolation { .. } => panic!("it ends when the network says so"),
        Request::Validate { .. } => Report::Validated {
            checks: ["chromadb-responds", "collections-accessible", "counts", "corruption"]
                .map(|name| CheckResult {
                    name: name.into(),
                    verdict: Verdict::Passed,
                    expected: "all".into(),
                    observed: "all".into(),
                })
                .into(),
        },
        _ => panic!("no request of a recovery"),
    }
}

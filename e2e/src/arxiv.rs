//! The arXiv system whole, as `examples/arxiv` has it: a ChromaDB, two scholars, the monitor and the mailer, each running the programs that
//! stand there. Somebody's mail server is beside it, and no part of it.

mod mail;
mod monitor;
mod papers;

use serde_json::{Value, json};

use crate::manifests::{self, CHROMADB};
use crate::scholar::{self, PROGRAMS};
use crate::service::{self, Deployed};

pub use mail::{MAIL_SERVER, Mailer, mail_server, received, refuse};
pub use monitor::Monitor;
pub use papers::{Instance, SCHOLARS, Truth};

/// The monitor's Deployment and Service.
pub const MONITOR: &str = "arxiv-system-monitor";
/// The mailer's Deployment and Service, and its policy.
pub const EMAIL: &str = "email";
/// The monitor's policy.
pub const MONITORING: &str = "monitoring";

/// Every policy, each after what it depends on.
pub const POLICIES: [&str; 5] = [CHROMADB, SCHOLARS[0].name, SCHOLARS[1].name, MONITORING, EMAIL];
/// What users wrote, besides the policies.
pub const OBJECTS: [&str; 25] = [
    "statefulset/chromadb",
    "service/chromadb",
    "configmap/scholar-program",
    "configmap/monitor-program",
    "configmap/mailer-program",
    "deployment/ai-scholar",
    "cronjob/ai-scholar-fetch",
    "cronjob/ai-scholar-pipeline",
    "service/ai-scholar",
    "networkpolicy/ai-scholar-in",
    "configmap/ai-scholar-config",
    "secret/ai-scholar-env",
    "deployment/quant-scholar",
    "cronjob/quant-scholar-fetch",
    "cronjob/quant-scholar-pipeline",
    "service/quant-scholar",
    "networkpolicy/quant-scholar-in",
    "configmap/quant-scholar-config",
    "secret/quant-scholar-env",
    "deployment/arxiv-system-monitor",
    "service/arxiv-system-monitor",
    "configmap/arxiv-system-monitor-config",
    "deployment/email",
    "service/email",
    "configmap/email-config",
];
/// And the claims.
pub const CLAIMS: [&str; 5] = [
    manifests::CLAIM,
    "ai-scholar-state",
    "quant-scholar-state",
    "arxiv-system-monitor-state",
    "email-state",
];

/// Everything around the ChromaDB.
pub fn objects(image: &str) -> Vec<Value> {
    let targets = "chromadb=http://chromadb:8000/api/v2/heartbeat\nai-scholar=http://ai-scholar:8000/healthz\n\
                   quant-scholar=http://quant-scholar:8000/healthz\nemail=http://email:8000/healthz\n";
    let monitor = Deployed {
        name: MONITOR,
        programs: "monitor-program",
        program: "monitor.py",
        settings: json!({"POLL_SECONDS": "1", "TARGETS": targets}),
        dotenv: None,
    };
    let mailer = Deployed {
        name: EMAIL,
        programs: "mailer-program",
        program: "mailer.py",
        settings: json!({"SMTP_HOST": MAIL_SERVER, "SMTP_PORT": "2525", "MAIL_FROM": "arxiv-system@yourorg.com",
            "RETRY_SECONDS": "1", "RETRY_SECONDS_MOST": "2"}),
        dotenv: None,
    };
    let mut made = vec![
        scholar::programs(),
        service::programs(
            monitor.programs,
            &[("monitor.py", include_str!("../../examples/arxiv/monitoring/monitor.py"))],
        ),
        service::programs(
            mailer.programs,
            &[("mailer.py", include_str!("../../examples/arxiv/email/mailer.py"))],
        ),
    ];
    for instance in &SCHOLARS {
        let deployed = Deployed {
            name: instance.name,
            programs: PROGRAMS,
            program: "scholar.py",
            settings: instance.settings(),
            dotenv: Some(instance.dotenv),
        };
        made.extend(scholar::objects_of(&deployed, image));
    }
    made.extend(monitor.objects(image));
    made.extend(mailer.objects(image));
    made
}

/// Their policies with the priorities and recovery times of the plan, and without a slot near now.
pub fn policies(repository: &str) -> Vec<Value> {
    let policy = |name: &str, component: Value, priority: &str, rto: &str, depends_on: Value| {
        let service = if name == MONITORING { MONITOR } else { name };
        let path = if name == CHROMADB { "/api/v2/heartbeat" } else { "/healthz" };
        let check = json!({"name": "operational", "http": {"serviceRef": {"name": service}, "path": path}});
        json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "BackupPolicy", "metadata": {"name": name}, "spec": {
            "component": component, "priority": priority, "dependsOn": depends_on,
            "checks": [check], "schedule": {"cron": "0 0 29 2 *"}, "objectives": {"rto": rto, "rpo": "48000h"},
            "repositoryRef": {"name": repository}}})
    };
    let application = |workloads: Value| json!({"application": {}, "workloads": workloads});
    let deployment = |name: &str| json!([{"kind": "Deployment", "name": name}]);
    let chromadb = json!({"chromaDB": {}, "workloads": [{"kind": "StatefulSet", "name": CHROMADB}]});
    let mut made = vec![
        policy(CHROMADB, chromadb, "Critical", "2h", json!([])),
        policy(MONITORING, application(deployment(MONITOR)), "Medium", "1h", json!([])),
        policy(EMAIL, application(deployment(EMAIL)), "Low", "30m", json!([])),
    ];
    let ready = json!({"name": "all-ready", "group": "CoreServices", "status": {
        "objectRef": {"kind": "Deployment", "name": MONITOR}, "expression": "object.status.readyReplicas == object.spec.replicas"}});
    let known = made[1]["spec"]["checks"].as_array_mut().expect("it has one check");
    known.push(ready);
    let runs = json!({"name": "runs", "exec": {"command": ["python3", "-c", "pass"]}});
    made[2]["spec"]["checks"].as_array_mut().expect("it has one check").push(runs);
    for Instance { name, .. } in &SCHOLARS {
        let pipeline = format!("{name}-pipeline");
        let workloads = json!([{"kind": "Deployment", "name": name}, {"kind": "CronJob", "name": format!("{name}-fetch")},
            {"kind": "CronJob", "name": pipeline}]);
        let mut scholar = policy(name, application(workloads), "High", "4h", json!([{"name": CHROMADB}]));
        let check = json!({"name": "pipeline", "job": {"cronJobRef": {"name": pipeline}}, "timeout": "2m"});
        let known = scholar["spec"]["checks"].as_array_mut().expect("it has one check");
        known.push(check);
        made.push(scholar);
    }
    made
}

//! What a DrDrill is refused for.

use serde_json::json;

use super::Refusal;

pub(super) fn refused_on_creation() -> Vec<Refusal> {
    let case = |input, field, sentence| Refusal { kind: "DrDrill", input, field, sentence };
    vec![
        case(
            json!({"test": "BackupVerification", "sandbox": {}}),
            "spec.sandbox",
            "BackupVerification restores into scratch space of its movers and starts nothing; leave out sandbox",
        ),
        case(
            json!({"test": "BackupVerification", "objectives": {"rto": "1h"}}),
            "spec.objectives.rto",
            "BackupVerification recovers nothing, so no recovery time is measured; leave out rto",
        ),
        case(
            json!({"test": "NetworkFailure", "objectives": {"rpo": "1h"}}),
            "spec.objectives.rpo",
            "NetworkFailure restores nothing, so no data loss is measured; leave out rpo",
        ),
        case(
            json!({"schedule": {"cron": "0 0 5 1 * *"}}),
            "spec.schedule.cron",
            "six fields; leave out the seconds: \"0 5 1 * *\"",
        ),
        case(
            json!({"maxStaleness": "35d"}),
            "spec.maxStaleness",
            "\"35d\" is no duration; write hours, minutes, seconds: 720h, 1h30m",
        ),
    ]
}

pub(super) fn refused_on_change() -> Refusal {
    Refusal {
        kind: "DrDrill",
        input: json!({"test": "FullSystemRecovery"}),
        field: "spec.test",
        sentence: "can't be changed, the results would be of two tests; create a new drill",
    }
}

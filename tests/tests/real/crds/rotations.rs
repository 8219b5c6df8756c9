//! What is refused of credentials that a run is to replace.

use serde_json::{Value, json};

use super::Refusal;

pub(super) fn refused_on_creation() -> Vec<Refusal> {
    let case = |kind, input, field, sentence| Refusal { kind, input, field, sentence };
    let breach = |rotation: Value| json!({"scenario": "SecurityBreach", "incident": {"suspectedSince": "2026-11-21T03:00:00Z"}, "credentialRotations": [rotation]});
    let one = |name: &str, by: Value| {
        let mut rotation = json!({"name": name, "secretRef": {"name": "env"}});
        rotation.as_object_mut().unwrap().extend(by.as_object().unwrap().clone());
        rotation
    };
    let generate = |key: &str| json!({"generate": {"key": key}});
    vec![
        case(
            "RecoveryRun",
            json!({"credentialRotations": [one("token", generate("TOKEN"))]}),
            "spec.credentialRotations",
            "credentials are rotated after a SecurityBreach only; leave it out",
        ),
        case(
            "RecoveryRun",
            breach(one("token", json!({}))),
            "spec.credentialRotations[0]",
            "set exactly one of generate, from, job",
        ),
        case(
            "RecoveryRun",
            breach(one("Token", generate("TOKEN"))),
            "spec.credentialRotations[0].name",
            "write lower-case letters, digits and dashes, as in chroma-token",
        ),
        case(
            "RecoveryRun",
            breach(one("token", generate("../TOKEN"))),
            "spec.credentialRotations[0].generate.key",
            "write a key that a Secret can have, as in CHROMA_TOKEN",
        ),
        case(
            "RecoveryRun",
            breach(one("token", json!({"from": {"secretRef": {"name": "new"}, "keys": ["a/b"]}}))),
            "spec.credentialRotations[0].from.keys",
            "write keys that a Secret can have, as in CHROMA_TOKEN",
        ),
        case(
            "RecoveryRun",
            breach(one("token", json!({"job": {"cronJobRef": {"name": "rotate"}, "timeout": "2h"}}))),
            "spec.credentialRotations[0].job.timeout",
            "write 1s to 1h",
        ),
    ]
}

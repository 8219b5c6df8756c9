//! What is taken and what is refused of checks that reach beyond the component.

use serde_json::{Value, json};

use super::{Refusal, server, with};

fn mail(more: &Value) -> Value {
    let mut smtp = json!({"serviceRef": {"name": "mail"}, "to": "dr-test@yourorg.com"});
    smtp.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"checks": [{"name": "sends", "smtp": smtp, "inDrills": "Skip"}]})
}

pub(super) fn refused_on_creation() -> Vec<Refusal> {
    let case = |input, field, sentence| Refusal { kind: "BackupPolicy", input, field, sentence };
    let of_an_application =
        |check: Value| json!({"component": {"chromaDB": null, "application": {}}, "checks": [check]});
    let none = "chromaCount and chromaQuery ask a ChromaDB, and this component is none; use http, or put it into the ChromaDB's policy";
    let floor = json!({"name": "a", "chromaCount": {"collection": "papers", "atLeast": 1}});
    vec![
        case(of_an_application(floor), "spec.checks", none),
        case(of_an_application(json!({"name": "a", "chromaQuery": {}})), "spec.checks", none),
        case(
            mail(&json!({"to": "dr@yourorg.com>\r\nDATA"})),
            "spec.checks[0].smtp.to",
            "write one address, as in dr-test@yourorg.com",
        ),
        case(
            mail(&json!({"from": "b@yourorg.com, c@yourorg.com"})),
            "spec.checks[0].smtp.from",
            "write one address, as in holdfast@yourorg.com",
        ),
    ]
}

#[test]
fn a_mail_and_what_an_index_has_to_find_are_taken() {
    let near = json!({"checks": [{"name": "near", "group": "DataIntegrity", "chromaQuery": {"minRecallPercent": 90}}]});
    for spec in [mail(&json!({})), mail(&json!({"from": "us+dr.test@yourorg.com", "port": 25})), near] {
        let told = server()
            .kubectl_reading("create --dry-run=server --validate=strict -f -", &with("BackupPolicy", &spec));
        let _ = told.success();
    }
}

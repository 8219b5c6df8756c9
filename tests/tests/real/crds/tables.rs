//! How `kubectl get` finds and shows the kinds.

use std::collections::BTreeSet;

use super::{server, smallest};

#[test]
fn the_kinds_are_found_by_short_name_and_by_category() {
    let listed = server().kubectl("api-resources --api-group=holdfast.dev --no-headers").success();
    let found: BTreeSet<(&str, &str)> = listed
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words[0], words[1])
        })
        .collect();
    let expected = [
        ("backuppolicies", "hfpolicy"),
        ("drdrills", "hfdrill"),
        ("recoverypoints", "hfpoint"),
        ("recoveryrepositories", "hfrepo"),
        ("recoveryruns", "hfrun"),
    ];
    assert_eq!(found, BTreeSet::from(expected));
    let category = server().kubectl("api-resources --categories=holdfast --no-headers -o name").success();
    assert_eq!(category.lines().count(), expected.len(), "{category}");
}

#[test]
fn the_tables_have_the_columns_that_the_documentation_shows() {
    let namespace = server().namespace("tables");
    for (kind, columns, wide) in [
        (
            "RecoveryRepository",
            "NAME READY MODE LOCK POINTS SIZE AGE",
            "NAME READY MODE LOCK POINTS SIZE BUCKET PREFIX CLAIM REASON AGE",
        ),
        (
            "BackupPolicy",
            "NAME READY PRIORITY SCHEDULE RPO RPO-MET LAST-POINT VERIFIED POINTS MODE AGE",
            "NAME READY PRIORITY SCHEDULE RPO RPO-MET LAST-POINT VERIFIED POINTS MODE WRITER-PAUSE REASON AGE",
        ),
        (
            "RecoveryPoint",
            "NAME PHASE POLICY CONSISTENT SIZE VERIFIED ORIGIN AGE",
            "NAME PHASE POLICY CONSISTENT SIZE VERIFIED ORIGIN REPOSITORY STORED NEW COLLECTIONS LOCKED-UNTIL WRITER-PAUSE HOLD AGE",
        ),
        (
            "RecoveryRun",
            "NAME SCENARIO PHASE STEP POINT RPO RTO CHECKS AGE",
            "NAME SCENARIO PHASE STEP POINT RPO RTO CHECKS MODE REASON AGE",
        ),
        (
            "DrDrill",
            "NAME READY TEST SCHEDULE LAST-RESULT OBJECTIVES RPO RTO LAST-RUN NEXT-RUN AGE",
            "NAME READY TEST SCHEDULE LAST-RESULT OBJECTIVES RPO RTO LAST-RUN NEXT-RUN REASON AGE",
        ),
    ] {
        let _ = server()
            .kubectl_reading(&format!("create -n {namespace} -f -"), &smallest(kind).to_string())
            .success();
        for (flag, expected) in [("", columns), ("-o wide", wide)] {
            let table = server().kubectl(&format!("get {kind} -n {namespace} {flag}")).success();
            let header: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
            assert_eq!(header.join(" "), expected);
        }
    }
    let policy = server().kubectl(&format!("get hfpolicy -n {namespace} --no-headers")).success();
    assert!(policy.contains("Medium") && policy.contains("1h"), "defaults show in the table: {policy}");
}

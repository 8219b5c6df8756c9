use super::*;

fn policy(name: &str, application: bool, priority: Priority, depends_on: &[&str]) -> PolicySeen {
    let depends_on = depends_on.iter().map(|name| (*name).to_owned()).collect();
    PolicySeen { name: name.into(), application, priority, depends_on, offline: false }
}

fn arxiv() -> Vec<PolicySeen> {
    vec![
        policy("email", true, Priority::Low, &[]),
        policy("ai-scholar", true, Priority::High, &["chromadb"]),
        policy("digest", true, Priority::Medium, &["ai-scholar"]),
        policy("chromadb", false, Priority::Critical, &[]),
    ]
}

fn members(spec: serde_json::Value, policies: &[PolicySeen]) -> Vec<(String, Role)> {
    members_with(spec, policies, &[])
}

fn members_with(
    mut spec: serde_json::Value,
    policies: &[PolicySeen],
    forgotten: &[PolicySeen],
) -> Vec<(String, Role)> {
    spec["target"] = serde_json::json!({"inPlace": {"confirm": "arxiv"}});
    let spec = serde_json::from_value(spec).unwrap();
    let members = scope((&spec, &[]), policies, forgotten);
    members.into_iter().map(|member| (member.policy, member.role)).collect()
}

fn named(list: &[(&str, Role)]) -> Vec<(String, Role)> {
    list.iter().map(|(name, role)| ((*name).to_owned(), *role)).collect()
}

#[test]
fn a_complete_failure_is_about_everything_and_the_most_urgent_comes_first() {
    let all = members(serde_json::json!({"scenario": "CompleteFailure"}), &arxiv());
    let restored = |name: &'static str| (name, Role::Restored);
    assert_eq!(all, named(&["chromadb", "ai-scholar", "digest", "email"].map(restored)));
}

#[test]
fn a_corruption_is_about_the_databases_and_stops_whatever_depends_on_them() {
    let all = members(serde_json::json!({"scenario": "DatabaseCorruption"}), &arxiv());
    assert_eq!(
        all,
        named(&[("chromadb", Role::Restored), ("ai-scholar", Role::Dependent), ("digest", Role::Dependent)])
    );
}

#[test]
fn what_is_asked_for_is_restored_and_nothing_else_but_what_depends_on_it_concerned() {
    let asked = |name: &str| serde_json::json!({"scenario": "CompleteFailure", "policies": [{"name": name}]});
    assert_eq!(members(asked("email"), &arxiv()), named(&[("email", Role::Restored)]));
    assert_eq!(
        members(asked("ai-scholar"), &arxiv()),
        named(&[("ai-scholar", Role::Restored), ("digest", Role::Dependent)])
    );
    assert_eq!(members(asked("nobody"), &arxiv()), []);
}

#[test]
fn what_something_urgent_depends_on_is_as_urgent() {
    let policies = [
        policy("b", true, Priority::High, &[]),
        policy("a", true, Priority::Critical, &["middle"]),
        policy("middle", true, Priority::Medium, &["z"]),
        policy("z", false, Priority::Low, &[]),
    ];
    let order: Vec<String> = members(serde_json::json!({"scenario": "CompleteFailure"}), &policies)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(order, ["a", "middle", "z", "b"]);
}

#[test]
fn a_circle_is_found_and_named_and_ends_nothing() {
    let of = |policies: &[PolicySeen]| {
        circle(policies.iter().map(|policy| (policy.name.as_str(), policy.depends_on.as_slice())))
    };
    assert_eq!(of(&arxiv()), None);
    let mut policies = arxiv();
    policies[3].depends_on = vec!["digest".into()];
    assert_eq!(of(&policies).as_deref(), Some("ai-scholar -> chromadb -> digest -> ai-scholar"));
    assert_eq!(members(serde_json::json!({"scenario": "CompleteFailure"}), &policies).len(), 4);
    for policy in &policies {
        let all = policies.iter().map(|policy| (policy.name.as_str(), policy.depends_on.as_slice()));
        let said = circle_of(&policy.name, all);
        let member = ["ai-scholar", "chromadb", "digest"].contains(&policy.name.as_str());
        assert_eq!(said.is_some(), member, "{}: {said:?}", policy.name);
        assert!(said.is_none_or(|said| said.starts_with(&policy.name) && said.ends_with(&policy.name)));
    }
    let own = [policy("a", false, Priority::Low, &["a"])];
    assert_eq!(of(&own).as_deref(), Some("a -> a"));
    let elsewhere = [policy("a", false, Priority::Low, &["gone"])];
    assert_eq!(of(&elsewhere), None);
}

#[test]
fn what_only_the_repository_knows_comes_back_when_it_is_named_or_nothing_else_is_left() {
    let lost = [policy("retired", true, Priority::Medium, &[])];
    let of = |spec: serde_json::Value, policies: &[PolicySeen]| {
        let all = members_with(spec, policies, &lost);
        all.iter().any(|(name, role)| name == "retired" && *role == Role::Restored)
    };
    let everything = || serde_json::json!({"scenario": "CompleteFailure"});
    let named = |scenario: &str| serde_json::json!({"scenario": scenario, "policies": [{"name": "retired"}]});
    assert!(of(everything(), &[]));
    assert!(!of(everything(), &arxiv()), "a component that was given up would come back");
    assert!(of(named("CompleteFailure"), &arxiv()));
    assert!(!of(named("DatabaseCorruption"), &[]));
    assert!(!of(serde_json::json!({"scenario": "DatabaseCorruption"}), &[]));
}

#[test]
fn once_a_run_has_steps_it_is_about_these_whatever_becomes_of_the_policies() {
    let step = |name: &str, policy: Option<&str>| StepStatus {
        name: name.into(),
        policy: policy.map(str::to_owned),
        phase: crds::run::StepPhase::Waiting,
        start: None,
        end: None,
        attempts: 0,
        message: String::new(),
        reason: None,
    };
    let steps = [
        step("Assess", None),
        step("Start/scholar", Some("scholar")),
        step("Quarantine/chromadb", Some("chromadb")),
        step("Start/chromadb", Some("chromadb")),
        step("Report", None),
    ];
    let spec = serde_json::from_value(
        serde_json::json!({"scenario": "CompleteFailure", "target": {"inPlace": {"confirm": "arxiv"}}}),
    )
    .unwrap();
    let members = scope((&spec, &steps), &arxiv(), &[]);
    let members: Vec<_> = members.into_iter().map(|member| (member.policy, member.role)).collect();
    assert_eq!(members, named(&[("scholar", Role::Dependent), ("chromadb", Role::Restored)]));
}

#[test]
fn a_forgotten_component_is_what_its_newest_point_is() {
    let point = |policy: &str, time: &str, chroma: bool| PointSeen {
        name: format!("{policy}-{time}"),
        id: String::new(),
        policy: policy.into(),
        repository: "primary".into(),
        state: crate::recovery::seen::PointState::Available,
        consistency_time: Some(time.parse().unwrap()),
        stored_at: None,
        bytes: 0,
        chroma,
        migrations: None,
        verification: None,
    };
    let points = [
        point("a", "2026-11-23T09:00:00Z", true),
        point("a", "2026-11-22T09:00:00Z", false),
        point("chromadb", "2026-11-22T09:00:00Z", true),
    ];
    assert_eq!(forgotten(&points, &arxiv()), [policy("a", false, Priority::Medium, &[])]);
}

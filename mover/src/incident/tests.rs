//! Reports of five runs as they are to be read, and what holds for every report.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Format, Run, html, render};

const RUNS: [&str; 6] = ["succeeded", "failed", "awaiting", "planned", "assessed", "network"];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/incident/golden").join(name)
}

fn object(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(golden(&format!("{name}.json"))).unwrap()).unwrap()
}

fn report(object: &Value, format: Format) -> String {
    render(Run::read(object.to_string().as_bytes(), "the test").unwrap(), format)
}

fn markdown(object: &Value) -> String {
    report(object, Format::Markdown)
}

/// The reports as they are kept: without the style sheet, which is a file of its own.
fn reports() -> Vec<(PathBuf, String)> {
    let both = RUNS.iter().flat_map(|name| {
        let page = report(&object(name), Format::Html).replace(html::STYLE, "");
        [(format!("{name}.md"), markdown(&object(name))), (format!("{name}.html"), page)]
    });
    both.map(|(name, text)| (golden(&name), text)).collect()
}

#[test]
fn reports_are_as_they_were_read_and_found_good() {
    for (path, text) in reports() {
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == text, "{} differs: look, and write it anew with --ignored", path.display());
    }
}

#[test]
#[ignore = "writes the golden files, to be looked at before they are committed"]
fn reports_are_written_anew() {
    for (path, text) in reports() {
        std::fs::write(path, text).unwrap();
    }
}

#[test]
fn a_run_that_restores_nothing_has_no_rpo_and_loses_nothing() {
    let text = markdown(&object("network"));
    for said in [
        "Offline mode, scholar",
        "1h28m38s",
        "restores nothing and replaces no volume",
        "Medium, as of every NetworkFailure",
        "met, 1h promised",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(!text.contains("RPO"), "{text}");
}

/// Numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

#[test]
fn the_parts_that_are_shown_add_up_to_the_recovery_time_that_is_shown() {
    let mut dice = Dice(7);
    for _ in 0..300 {
        let parts: Vec<u64> = (0..=dice.below(20))
            .map(|_| {
                let most = [900, 3_000, 90_000, 9_000_000][usize::try_from(dice.below(4)).unwrap()];
                1 + dice.below(most)
            })
            .collect();
        let rto = crds::Span::from_secs(parts.iter().sum::<u64>() / 1000).to_string();
        let breakdown: Vec<Value> = parts
            .iter()
            .enumerate()
            .map(|(n, millis)| json!({"part": format!("p{n}"), "millis": millis}))
            .collect();
        let mut run = object("succeeded");
        run["status"]["measured"][0]["breakdown"] = json!(breakdown);
        run["status"]["measured"][0]["rto"] = json!(rto);
        let text = markdown(&run);
        let shown = text.lines().filter(|line| line.starts_with("| `p"));
        let times = shown.map(|line| line.trim_end_matches(" |").rsplit(" | ").next().unwrap());
        let sum: u64 = times
            .map(|time| {
                super::words::seconds(time).unwrap_or_else(|| {
                    assert_eq!(time, "under 1s");
                    0
                })
            })
            .sum();
        assert_eq!(crds::Span::from_secs(sum).to_string(), rto, "{parts:?}");
        assert!(
            text.contains(&format!("proved recovery** | **{rto}** |")) && !text.contains("another version")
        );
    }
    let mut run = object("succeeded");
    run["status"]["measured"][0]["rto"] = json!("9m");
    assert!(
        markdown(&run).contains("The parts add up to 8m43s, and the run says 9m"),
        "a difference is told"
    );
}

/// Every text of `value` in turn replaced by `hostile`.
fn poisoned(value: &Value, hostile: &str) -> Vec<Value> {
    fn places(value: &Value, path: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                map.iter().for_each(|(key, value)| places(value, &format!("{path}/{key}"), found))
            }
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(n, value)| places(value, &format!("{path}/{n}"), found));
            }
            Value::String(_) => found.push(path.to_owned()),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut found = Vec::new();
    places(value, "", &mut found);
    let each = found.into_iter().map(|path| {
        let mut value = value.clone();
        *value.pointer_mut(&path).unwrap() = json!(hostile);
        value
    });
    // Times, names and words of an enumeration are refused at the door: nothing hostile gets through there.
    each.filter(|value| Run::read(value.to_string().as_bytes(), "the test").is_ok()).collect()
}

fn whole() -> Value {
    let mut run = object("failed");
    let succeeded = object("succeeded");
    run["spec"] = succeeded["spec"].clone();
    run["spec"]["incident"]["commander"] = json!("c");
    run["spec"]["incident"]["lessons"]["toImprove"] = json!(["t"]);
    run["spec"]["incident"]["processImprovements"] = json!(["p"]);
    run["spec"]["incident"]["updatedProcedures"] = json!(["u"]);
    for field in ["gates", "checks", "measured", "objectives", "quarantine", "levels"] {
        run["status"][field] = succeeded["status"][field].clone();
    }
    run
}

#[test]
fn no_text_of_the_object_becomes_markup() {
    const TAGS: [&str; 42] = [
        "!doctype",
        "html",
        "head",
        "meta",
        "link",
        "title",
        "style",
        "body",
        "header",
        "p",
        "h1",
        "h2",
        "h3",
        "span",
        "strong",
        "code",
        "div",
        "dl",
        "dt",
        "dd",
        "nav",
        "ol",
        "li",
        "a",
        "main",
        "section",
        "figure",
        "figcaption",
        "svg",
        "g",
        "rect",
        "line",
        "text",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "ul",
        "pre",
    ];
    let hostile = "</title></style><script>alert('x')</script><img src=x onerror=\"alert(1)\">";
    let poisoned = poisoned(&whole(), hostile);
    assert!(poisoned.len() > 60, "only {} texts were tried", poisoned.len());
    let plain = report(&whole(), Format::Html);
    let closed = (plain.matches("</title>").count(), plain.matches("</style>").count());
    for run in poisoned {
        let page = report(&run, Format::Html).replace(html::STYLE, "");
        for tag in page.split('<').skip(1) {
            let name: String = tag
                .trim_start_matches('/')
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '!')
                .collect();
            assert!(name == "footer" || TAGS.contains(&name.as_str()), "<{tag}");
        }
        assert_eq!(
            (page.matches("</title>").count(), page.matches("</style>").count()),
            closed,
            "one was closed early"
        );
    }
    for fetched in ["<script", "http:", "https:", "url(", "@import", "src="] {
        assert!(!report(&whole(), Format::Html).contains(fetched), "{fetched}");
    }
}

/// A line without its code, as Markdown finds it: from a run of backticks to the next one of the same length.
fn without_code(line: &str) -> String {
    let (mut plain, mut rest) = (String::new(), line);
    while let Some(at) = rest.find('`') {
        let run = rest[at..].len() - rest[at..].trim_start_matches('`').len();
        let escaped = rest[..at].ends_with('\\');
        let (before, after) = (&rest[..at], &rest[at + run..]);
        let closes = |end: &usize| {
            let more = after[*end..].len() - after[*end..].trim_start_matches('`').len();
            more == run && !after[..*end].ends_with('`')
        };
        let ends = after.char_indices().map(|(end, _)| end);
        let close = if escaped { None } else { ends.into_iter().find(closes) };
        plain.push_str(before);
        rest = match close {
            Some(end) => &after[end + run..],
            None => after,
        };
    }
    plain + rest
}

#[test]
fn no_text_of_the_object_breaks_a_table_or_a_line_of_markdown() {
    let hostile = "a|b`c``\n# d\n- e\n\n```\n| f | g |\u{1b}[31m <img src=x> [h](i) **j**";
    for run in poisoned(&whole(), hostile) {
        let text = markdown(&run);
        let (mut fence, mut columns) = (None::<String>, None);
        for line in text.lines() {
            let ticks: String = line.chars().take_while(|c| *c == '`').collect();
            match &fence {
                Some(open) if ticks == *open => fence = None,
                Some(_) => {}
                None if ticks.len() > 2 => fence = Some(ticks),
                None => {
                    assert!(!without_code(line).contains("<img"), "{line}");
                    let pipes = line.replace("\\|", "").matches('|').count();
                    if line.starts_with('|') {
                        assert_eq!(*columns.get_or_insert(pipes), pipes, "{line}");
                    } else {
                        columns = None;
                    }
                    let title = line.starts_with('#');
                    assert!(!title || line.trim_start_matches('#').trim_start() != "d", "{line}");
                }
            }
        }
        assert_eq!(fence, None, "a block of commands is open");
        assert!(!text.contains('\u{1b}'), "a terminal would obey it");
    }
}

#[test]
fn what_nobody_has_written_is_asked_for_and_what_was_written_is_said() {
    let text = markdown(&object("failed"));
    let fields = [
        "summary",
        "impact",
        "usersAffected",
        "dataLossRisk",
        "coordinator",
        "commander",
        "technicalLead",
        "rootCause",
        "contributingFactors",
        "prevention",
        "processImprovements",
        "lessons.workedWell",
        "lessons.toImprove",
        "updatedProcedures",
    ];
    for field in fields {
        assert!(text.contains(&format!("Not written yet: `spec.incident.{field}`")), "{field}");
    }
    assert!(text.contains("High, as of every DatabaseCorruption"));
    let mut run = object("failed");
    run["spec"]["incident"] = json!({
        "summary": "A1", "severity": "Low", "impact": "A2", "usersAffected": 4711, "dataLossRisk": "Yes", "coordinator": "A3",
        "commander": "A4", "technicalLead": "A5", "rootCause": "A6", "contributingFactors": ["A7"], "prevention": ["A8"],
        "lessons": {"workedWell": ["A9"], "toImprove": ["B1"]}, "processImprovements": ["B2"], "updatedProcedures": ["B3"],
    });
    for format in [Format::Markdown, Format::Html] {
        let text = report(&run, format);
        assert!(!text.contains("Not written yet") && !text.contains("To complete this report"));
        for said in
            ["A1", "A2", "A3", "A4", "A5", "A6", "A7", "A8", "A9", "B1", "B2", "B3", "4711", "Yes", "Low"]
        {
            assert!(text.contains(said), "{said}");
        }
    }
}

#[test]
fn a_run_that_people_ended_reads_as_one() {
    let mut run = object("awaiting");
    let message = "ops@yourorg.com rejected the plan at gate Start; nothing was touched. Nothing was replaced: data-chromadb-0 is the old volume, the workloads run";
    run["status"]["phase"] = json!("Cancelled");
    run["status"]["gates"][0]["answer"] = json!("Rejected");
    run["status"]["gates"][0]["by"] = json!("ops@yourorg.com");
    run["status"]["gates"][0]["time"] = json!("2026-11-23T09:40:00Z");
    run["status"]["leftAs"] = json!({"workloads": "Running", "data": "Untouched", "claims": "Original"});
    run["status"]["conditions"] = json!([{"type": "Failed", "status": "True", "reason": "Rejected", "message": message, "lastTransitionTime": "2026-11-23T09:40:01Z"}]);
    let text = markdown(&run);
    for said in [
        "# Incident report",
        "**Cancelled**: ops@yourorg.com rejected",
        "because somebody wanted it so",
        "| **rejected** |",
        "rejected by ops@yourorg.com at 09:40:00",
        "This run lost nothing",
        "`Running`: they run",
        "Never begun: `Stop`",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(!text.contains("The decision that is asked for"));
}

#[test]
fn a_run_that_failed_when_its_volumes_were_exchanged_says_what_is_lost_and_where_it_may_be() {
    let mut run = object("succeeded");
    run["status"]["phase"] = json!("Failed");
    run["status"]["verdict"] = json!("Failed");
    run["status"]["leftAs"] = json!({"workloads": "Running", "data": "Restored", "claims": "Swapped"});
    run["status"]["conditions"] = json!([{"type": "Failed", "status": "True", "reason": "ValidationFailed", "message": "counts differ", "lastTransitionTime": "2026-11-23T09:36:44Z"}]);
    run["status"].as_object_mut().unwrap().remove("measured");
    run["status"].as_object_mut().unwrap().remove("objectives");
    let text = markdown(&run);
    for said in [
        "Not measured: no recovery was proved.",
        "is not in the restored state. Until the detection that is 27m57s (28 minutes), the RPO; until the writers stood still, at 2026-11-23 09:33:22 UTC at the latest, 33m19s (33.4 minutes)",
        "in the volumes in quarantine",
        "`Swapped`: the claims hold the restored volumes",
        "The run names nothing to be done next.",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn a_run_that_took_its_exchange_back_has_replaced_and_lost_nothing() {
    let mut run = object("succeeded");
    run["status"]["phase"] = json!("Cancelled");
    run["status"]["leftAs"] = json!({"workloads": "Running", "data": "Untouched", "claims": "Original"});
    run["status"]["conditions"] = json!([{"type": "Failed", "status": "True", "reason": "Cancelled", "message": "cancelled at Report", "lastTransitionTime": "2026-11-23T09:36:44Z"}]);
    run["status"].as_object_mut().unwrap().remove("measured");
    run["status"].as_object_mut().unwrap().remove("objectives");
    run["status"]["swaps"] = json!([{"policy": "chromadb", "claim": "data", "claimUid": "u", "restoreClaim": "q", "restoreClaimUid": "v",
        "quarantineClaim": "data-restored", "oldVolume": "new", "newVolume": "old", "newReclaimPolicy": "Retain", "direction": "Back"}]);
    let text = markdown(&run);
    assert!(text.contains("it was cancelled, and the volumes of before serve again"), "{text}");
}

#[test]
fn lost_records_are_told_as_they_were_counted_or_why_they_were_not() {
    let mut run = object("succeeded");
    let of = |run: &mut Value, extra: Value| {
        let mut loss = json!({"from": "2026-11-23T09:00:03Z", "to": "2026-11-23T09:33:22Z", "attempt": 1});
        loss.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        run["status"]["measured"][0]["dataLoss"] = loss;
        markdown(run)
    };
    let count = json!({"added": 300, "altered": 11, "removed": 5, "collections": 2, "digest": "sha256:0f"});
    let told = of(&mut run, json!({"records": 311, "countedIn": "Quarantine", "count": count}));
    for said in
        ["311, in 2 collections: 300 were written after the point, 11 are others there", "--lost-records`"]
    {
        assert!(told.contains(said), "{said}: {told}");
    }
    let told = of(&mut run, json!({"unknown": "not counted: SourceUnreadable: it is too damaged"}));
    assert!(told.contains("not counted: SourceUnreadable: it is too damaged. What was written"), "{told}");
    assert!(of(&mut run, json!({})).contains("they are being counted"));
    let none = json!({"added": 0, "altered": 0, "removed": 0, "collections": 0});
    assert!(of(&mut run, json!({"records": 0, "count": none})).contains("hold the same"));
}

#[test]
fn a_missed_promise_is_told_for_whom_and_shown_where_it_ended() {
    let mut run = object("succeeded");
    let missed = json!({"rpo": "30m", "rpoVerdict": "Met", "rto": "5m", "rtoVerdict": "Missed"});
    run["status"]["objectives"]["scenario"] = missed.clone();
    let policy = &mut run["status"]["objectives"]["policies"][0];
    policy["rto"] = json!("5m");
    policy["rtoVerdict"] = json!("Missed");
    assert!(markdown(&run).contains("- **Recovery time (RTO)**: 8m43s, missed, 5m promised"));
    assert!(report(&run, Format::Html).contains("RTO was due 09:33:00"));
    let mut second = run["status"]["objectives"]["policies"][0].clone();
    second["policy"] = json!("papers");
    second["rtoVerdict"] = json!("Met");
    run["status"]["objectives"]["policies"].as_array_mut().unwrap().push(second);
    assert!(markdown(&run).contains("8m43s, missed for chromadb"));
}

#[test]
fn what_is_not_known_is_not_made_up() {
    let mut run = object("awaiting");
    run["metadata"].as_object_mut().unwrap().remove("namespace");
    run["status"] = json!({"epoch": 0, "phase": "Pending", "conditions": [{"type": "Reconciling", "status": "True", "reason": "WaitingForRun",
        "message": "another run holds chromadb", "lastTransitionTime": "2026-11-23T09:31:13Z"}, {"type": "Ready", "status": "False",
        "reason": "Running", "message": "another run holds chromadb", "lastTransitionTime": "2026-11-23T09:31:13Z"}]});
    let text = markdown(&run);
    for said in [
        "# Interim incident report",
        "**Pending**: another run holds chromadb",
        "- **Namespace**: not told",
        "no point is chosen until",
        "No plan was made.",
        "None yet.",
        "no check was made",
        "holdfast report -",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let mut run = object("succeeded");
    run["status"]["verdict"] = json!("Inconclusive");
    assert!(markdown(&run).contains("**Succeeded, not validated**"));
}

#[test]
fn an_audit_is_told_with_the_worst_first_and_where_the_whole_of_it_lies() {
    let mut run = object("succeeded");
    let finding = |severity: &str, object: &str, message: &str| json!({"severity": severity, "kind": "Access", "object": object, "message": message});
    run["status"]["audit"] = json!({"time": "2026-11-23T09:31:00Z",
        "counts": {"high": 1, "medium": 0, "unknown": 1, "low": 7},
        "findings": [finding("High", "RoleBinding helper", "lets User <b>mallory</b> write Secrets"),
            finding("Unknown", "Secrets", "the API server answers 403")],
        "data": [{"policy": "chromadb", "added": 20, "removed": 1, "altered": 2, "collections": 1}],
        "documents": [{"repository": "primary", "name": "arxiv/breach/uid-1", "digest": "sha256:00"}]});
    let text = markdown(&run);
    for said in [
        "Security audit",
        "1 findings of high severity, 0 of medium, 7 of low; 1 things could not be looked at",
        "RoleBinding helper",
        "the API server answers 403",
        "7 more are not listed here",
        "holdfast audit arxiv/breach/uid-1",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(text.find("RoleBinding helper") < text.find("answers 403"));
    assert!(!report(&run, Format::Html).contains("<b>mallory</b>"));
    assert!(!markdown(&object("succeeded")).contains("Security audit"));
}

//! How things stand at the review: how old points are, what no policy covers, whether procedures fit what there is.

use crds::policy::{BackupPolicyStatus, LastPoint, PolicyMode};
use jiff::SignedDuration;

use super::Review;
use super::numbers::named;
use crate::incident::bars::{Bars, Part};
use crate::incident::document::{Block, Cell, Section, Table, Text, Tone, section};
use crate::incident::words;

fn age(review: &Review<'_>, point: Option<&LastPoint>) -> Option<SignedDuration> {
    point.map(|point| review.at.duration_since(point.consistency_time).max(SignedDuration::ZERO))
}

/// Components whose newest good point is older than promised.
pub(super) fn beyond(review: &Review<'_>) -> Vec<String> {
    let policies = review.objects.policies.iter().filter_map(|policy| {
        let rpo = policy.spec.objectives.rpo;
        let newest = policy.status.as_ref().and_then(|status| status.last_point.as_ref());
        let name = named(
            policy.metadata.namespace.clone(),
            &policy.metadata.name.clone().unwrap_or_default(),
            review.several,
        );
        match age(review, newest) {
            None => Some(format!("{name} has no good point")),
            Some(age) if age > rpo.to_duration() => Some(format!(
                "the newest good point of {name} is {} old, promised are {rpo}",
                words::duration(age)
            )),
            Some(_) => None,
        }
    });
    policies.collect()
}

/// How old the points are.
pub(super) fn promises(review: &Review<'_>) -> Section {
    let mut table =
        Table::new("", ["Component", "Newest point", "Promised", "Verified point", "Points", "Ready"]);
    let mut rows = Vec::new();
    for policy in &review.objects.policies {
        let none = BackupPolicyStatus::default();
        let status = policy.status.as_ref().unwrap_or(&none);
        let name = named(
            policy.metadata.namespace.clone(),
            &policy.metadata.name.clone().unwrap_or_default(),
            review.several,
        );
        let rpo = policy.spec.objectives.rpo;
        let newest = age(review, status.last_point.as_ref());
        let late = newest.is_none_or(|age| age > rpo.to_duration());
        let tone = if late { Tone::Bad } else { Tone::Good };
        let said = newest.map_or_else(|| "none".to_owned(), words::duration);
        let part = newest.map_or(2.0, |age| age.as_secs_f64() / rpo.to_duration().as_secs_f64().max(1.0));
        rows.push(Part { label: name.clone(), part, tone, said: said.clone() });
        let verified = age(review, status.last_verified_point.as_ref());
        let verified =
            verified.map_or_else(|| Text::from("never").toned(Tone::Warn), |age| words::duration(age).into());
        let ready = crds::condition::get(&status.conditions, "Ready");
        let ready: Cell = match ready {
            Some(ready) if ready.status == "True" => Text::from("yes").toned(Tone::Good),
            Some(ready) => Text::from(ready.reason.clone()).toned(Tone::Warn),
            None => Text::from("not known").toned(Tone::Warn),
        };
        let points = status.points.to_string();
        table.row([
            Text::name(name).into(),
            Text::from(said).toned(tone),
            rpo.to_string().into(),
            verified,
            points.into(),
            ready,
        ]);
    }
    let caption = "Age of the newest good point, of what was promised".to_owned();
    section(
        "Promises as they stand",
        vec![Block::Bars(Bars { caption, whole: "RPO".to_owned(), rows }), Block::Table(table)],
    )
}

/// What no policy covers.
pub(super) fn coverage(review: &Review<'_>) -> Section {
    let mut blocks = Vec::new();
    for namespace in review.objects.namespaces() {
        if review.several {
            blocks.push(Block::heading(namespace.clone()));
        }
        let repositories = review.objects.repositories.iter();
        let mut told = repositories
            .filter(|known| known.metadata.namespace.clone().as_deref() == Some(&namespace))
            .filter_map(|known| known.status.as_ref()?.coverage.as_ref());
        match told.next() {
            None => blocks.push(Block::Note(
                Text::from(format!("No repository of {namespace} tells what its policies cover.")).toned(Tone::Warn),
            )),
            Some(found) if found.uncovered.is_empty() => blocks.push(Block::paragraph(
                "Every workload and claim, and every Secret that a workload refers to, is covered or was left out on purpose.",
            )),
            Some(found) => {
                let all: u64 = found.counts.iter().map(|of| u64::from(of.count)).sum();
                let shown = found.uncovered.len() as u64;
                let more = if all > shown { format!(", the first {shown} of them") } else { String::new() };
                blocks.push(Block::Note(
                    Text::from(format!("No policy covers {all} objects{more}: they would not come back.")).toned(Tone::Bad),
                ));
                let item = |of: &crds::repository::Uncovered| Text::from(format!("{} ", of.kind.as_str())).code(of.name.clone());
                blocks.push(Block::List(found.uncovered.iter().map(item).collect()));
            }
        }
    }
    blocks.push(Block::paragraph(
        "Secrets that no workload refers to are not seen. Hold them against this list by hand:",
    ));
    blocks.push(Block::Command("kubectl get secrets -o name".to_owned()));
    section("Coverage", blocks)
}

/// Whether what is written down still fits.
pub(super) fn procedures(review: &Review<'_>) -> Section {
    let mut found: Vec<Text> = Vec::new();
    for policy in &review.objects.policies {
        let name = named(
            policy.metadata.namespace.clone(),
            &policy.metadata.name.clone().unwrap_or_default(),
            review.several,
        );
        let drilled = review.objects.drills.iter().any(|drill| {
            let all = drill.spec.policies.as_ref();
            drill.metadata.namespace.clone() == policy.metadata.namespace.clone()
                && all.is_none_or(|named| {
                    named.iter().any(|named| named.name == policy.metadata.name.clone().unwrap_or_default())
                })
        });
        if !drilled {
            found.push(Text::name(name.clone()).then(" is in no drill: nobody rehearses its recovery"));
        }
        if policy.spec.mode == PolicyMode::Suspended {
            found.push(Text::name(name.clone()).then(" is Suspended: nothing of it is captured"));
        }
        if policy.spec.checks.is_empty() {
            found.push(Text::name(name).then(
                " has no checks of its own: a recovery proves that it runs, not that it does its work",
            ));
        }
    }
    for run in &review.now.incidents {
        let name = named(
            run.metadata.namespace.clone(),
            &run.metadata.name.clone().unwrap_or_default(),
            review.several,
        );
        let told = run.spec.incident.clone().unwrap_or_default();
        if told.root_cause.is_none() {
            found.push(
                Text::from("the root cause of ")
                    .code(name.clone())
                    .then(" is not written down in spec.incident.rootCause"),
            );
        }
        for improvement in
            told.process_improvements.iter().chain(&told.lessons.unwrap_or_default().to_improve)
        {
            found.push(
                Text::from("to be improved after ").code(name.clone()).then(format!(": {improvement}")),
            );
        }
        for procedure in &told.updated_procedures {
            found.push(Text::from("updated after ").code(name.clone()).then(format!(": {procedure}")));
        }
    }
    let blocks = if found.is_empty() {
        vec![Block::paragraph(
            "Every component is rehearsed by a drill and has checks of its own, and nothing was left open after an incident.",
        )]
    } else {
        vec![Block::List(found)]
    };
    section("Procedures", blocks)
}

//! A report as a termination message: every list and text is cut to its bound, so that the largest one fits.

use super::{
    Captured, CataloguedPoint, Content, Diagnosed, Finding, LockTried, MAX_CHECKS, MAX_COLLECTIONS,
    MAX_ENDPOINTS, MAX_FINDINGS, MAX_MISSED, MAX_NOT_COLLECTED, MAX_OBJECTS, MAX_POINTS, MAX_TEXT,
    MAX_UNREADABLE, MAX_UNSTABLE, MAX_WORD, REPORT_LIMIT, Report, TURN_REPORT_LIMIT,
};
use crate::repository::SealMark;

impl Report {
    /// The report as a termination message, [`REPORT_LIMIT`](super::REPORT_LIMIT) bytes at most: lists and texts are cut to their bounds first.
    #[must_use]
    pub fn to_message(&self) -> String {
        self.within(REPORT_LIMIT)
    }

    /// The same for one of several captures of a pod, [`TURN_REPORT_LIMIT`](super::TURN_REPORT_LIMIT) bytes at most: what does not fit is left out, collections
    /// first. One finding always stays, so that nothing damaged looks whole.
    #[must_use]
    pub fn to_message_of_turn(&self) -> String {
        self.within(TURN_REPORT_LIMIT)
    }

    fn within(&self, limit: usize) -> String {
        let mut bounded = self.clone();
        bounded.bound();
        loop {
            let text =
                serde_json::to_string(&bounded).expect("a report holds only strings, numbers and times");
            if text.len() <= limit || !bounded.shorten() {
                return text;
            }
        }
    }

    /// Leaves out the least of a capture. Returns false when there is nothing to leave out.
    fn shorten(&mut self) -> bool {
        let (Self::Captured(captured) | Self::Preserved(captured)) = self else { return false };
        let listed = match &mut captured.content {
            Content::ChromaDb(chroma) => chroma.collections.pop().is_some(),
            Content::Application(files) => files.unstable.pop().is_some(),
        };
        let another = captured.findings.len() > 1;
        listed || (another && captured.findings.pop().is_some())
    }

    fn bound(&mut self) {
        match self {
            Self::Probed(probed) => {
                cut(&mut probed.id, MAX_WORD);
                cut(&mut probed.key_fingerprint, MAX_WORD);
                bound_seal(&mut probed.seal);
                if let Some(LockTried::NotEnforced(why)) = &mut probed.lock {
                    cut(why, MAX_TEXT);
                }
            }
            Self::Captured(captured) | Self::Preserved(captured) => bound_captured(captured),
            Self::Catalogued(catalogued) => {
                for point in &mut catalogued.points {
                    cut(&mut point.policy, 253);
                    cut(&mut point.image, 256);
                    if let Some(hold) = &mut point.hold {
                        cut(hold, 256);
                    }
                    let trust = point.trust.as_mut().map(|trust| &mut trust.by);
                    let verified = point.verification.as_mut().map(|known| &mut known.by);
                    trust.into_iter().chain(verified).for_each(|by| cut(by, 256));
                    bound_captured(&mut point.captured);
                    if let Content::ChromaDb(chroma) = &mut point.captured.content {
                        chroma.collections.truncate(3);
                    }
                    point.captured.findings.truncate(1);
                    if let Some(emergency) = &mut point.captured.emergency {
                        emergency.unreadable.truncate(1);
                        emergency.missed.truncate(1);
                    }
                }
                // What is left out is asked for again.
                while size(&catalogued.points) > REPORT_LIMIT - 64 && catalogued.points.len() > 1 {
                    catalogued.points.pop();
                    catalogued.more = true;
                }
            }
            Self::Judged(judged) => {
                judged.more |= judged.remove.len() > MAX_POINTS;
                bound_points(&mut judged.remove);
            }
            Self::Pruned(pruned) => bound_points(&mut pruned.left),
            Self::Cut(done) => cut(&mut done.filesystem, 32),
            Self::Diagnosed(diagnosed) => bound_diagnosed(diagnosed),
            Self::IsolationProbed(probed) => {
                for endpoints in [&mut probed.connected, &mut probed.open] {
                    endpoints.truncate(MAX_ENDPOINTS);
                    endpoints.iter_mut().for_each(|endpoint| cut(endpoint, MAX_WORD));
                }
                cut(&mut probed.message, MAX_TEXT);
            }
            Self::Recreated(recreated) => {
                recreated.created.truncate(MAX_OBJECTS);
                recreated.created.iter_mut().for_each(|name| cut(name, MAX_WORD));
            }
            Self::Rotated(rotated) => rotated.bound(),
            Self::Collected(collected) => {
                collected.failures.truncate(MAX_NOT_COLLECTED);
                collected.failures.iter_mut().for_each(|what| cut(what, 240));
            }
            Self::Sealed { seal } => bound_seal(seal),
            Self::ReportWritten { digest } => cut(digest, 128),
            Self::Audited(audited) => audited.bound(),
            Self::LossCounted(counted) => {
                if let Some(digest) = &mut counted.digest {
                    cut(digest, 128);
                }
            }
            Self::Marked
            | Self::Ran
            | Self::NotCommitted
            | Self::LeftOut
            | Self::Extracted { .. }
            | Self::Inventoried { .. }
            | Self::Restored(_) => {}
            Self::Checked(checked) => {
                bound_findings(&mut checked.findings);
                if let Some(migrations) = &mut checked.migrations {
                    cut(migrations, MAX_WORD);
                }
                for sentence in [&mut checked.unchecked, &mut checked.repair].into_iter().flatten() {
                    cut(sentence, MAX_TEXT);
                }
            }
            Self::Verified(verified) => bound_findings(&mut verified.findings),
            Self::PointsVerified(verified) => verified.bound(),
            Self::Validated { checks } => {
                checks.truncate(MAX_CHECKS);
                for check in checks {
                    for word in [&mut check.name, &mut check.expected, &mut check.observed] {
                        cut(word, 64);
                    }
                }
            }
            Self::Failed(failure) => cut(&mut failure.message, MAX_TEXT),
        }
    }
}

fn size(points: &[CataloguedPoint]) -> usize {
    serde_json::to_string(points).map_or(usize::MAX, |text| text.len())
}

fn bound_captured(captured: &mut Captured) {
    for word in [&mut captured.point, &mut captured.digest] {
        cut(word, MAX_WORD);
    }
    match &mut captured.content {
        Content::ChromaDb(chroma) => {
            cut(&mut chroma.migrations, MAX_WORD);
            chroma.collections.truncate(MAX_COLLECTIONS);
            for collection in &mut chroma.collections {
                for word in [&mut collection.tenant, &mut collection.database, &mut collection.name] {
                    cut(word, 40);
                }
                cut(&mut collection.digest, 16);
            }
        }
        Content::Application(files) => {
            files.unstable.truncate(MAX_UNSTABLE);
            files.unstable.iter_mut().for_each(|file| cut(file, MAX_WORD));
        }
    }
    bound_findings(&mut captured.findings);
    if let Some(emergency) = &mut captured.emergency {
        emergency.unreadable.truncate(MAX_UNREADABLE);
        emergency.unreadable.iter_mut().for_each(|range| cut(&mut range.file, MAX_WORD));
        emergency.missed.truncate(MAX_MISSED);
        emergency.missed.iter_mut().for_each(|what| cut(what, 160));
    }
}

fn bound_seal(seal: &mut Option<SealMark>) {
    if let Some(seal) = seal {
        cut(&mut seal.by, 256);
        cut(&mut seal.reason, 256);
    }
}

fn bound_diagnosed(diagnosed: &mut Diagnosed) {
    diagnosed.endpoints.truncate(MAX_ENDPOINTS);
    for endpoint in &mut diagnosed.endpoints {
        endpoint.addresses.truncate(3);
        endpoint.addresses.iter_mut().for_each(|address| cut(address, 40));
        cut(&mut endpoint.message, 160);
    }
    for lines in [&mut diagnosed.interfaces, &mut diagnosed.routes] {
        lines.truncate(MAX_ENDPOINTS / 2);
        lines.iter_mut().for_each(|line| cut(line, 64));
    }
}

fn bound_points(points: &mut Vec<String>) {
    points.truncate(MAX_POINTS);
    for point in points {
        cut(point, 40);
    }
}

fn bound_findings(findings: &mut Vec<Finding>) {
    findings.truncate(MAX_FINDINGS);
    for finding in findings {
        cut(&mut finding.subject, MAX_WORD);
        cut(&mut finding.message, 100);
    }
}

/// Cuts `text` so that its JSON form, escapes included, takes at most `limit` bytes.
pub(super) fn cut(text: &mut String, limit: usize) {
    let escaped = |c: char| match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        c if (c as u32) < 0x20 => 6,
        c => c.len_utf8(),
    };
    if text.chars().map(escaped).sum::<usize>() <= limit {
        return;
    }
    let mut kept = String::new();
    let mut used = 3;
    for c in text.chars() {
        used += escaped(c);
        if used > limit {
            break;
        }
        kept.push(c);
    }
    kept.push_str("...");
    *text = kept;
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::super::{
        Captured, CapturedChroma, CapturedFiles, Catalogued, CataloguedPoint, CheckResult, Checked,
        Collected, CollectionSummary, Emergency, EndpointSeen, Failure, FailureReason, IsolationProbed,
        Judged, NotRotated, PointVerified, PointsVerified, Probed, Pruned, REPORT_LIMIT, Recreated, Restored,
        Rotated, Torn, UnreadableRange, Verified,
    };
    use super::*;
    use crate::point::{TrustMark, TrustReason, TrustWord};
    use crate::run::Verdict;

    fn hostile(len: usize) -> String {
        "\u{1}\"ä\n".chars().cycle().take(len).collect()
    }

    fn text() -> String {
        hostile(5000)
    }

    fn findings() -> Vec<Finding> {
        vec![Finding { subject: text(), message: text() }; 100]
    }

    fn seal() -> SealMark {
        SealMark { by: text(), reason: text(), since: "2026-11-23T09:00:03.123456789Z".parse().unwrap() }
    }

    fn largest_capture() -> Captured {
        let time: Timestamp = "2026-11-23T09:00:03.123456789Z".parse().unwrap();
        let span = SignedDuration::new(86_399, 999_999_999);
        Captured {
            point: text(),
            digest: text(),
            consistency_time: time,
            stored_at: Some(time),
            longest_hold: span,
            locked_until: Some(time),
            bytes: u64::MAX,
            new_bytes: u64::MAX,
            files: u64::MAX,
            objects: u64::MAX,
            content: Content::ChromaDb(CapturedChroma {
                released_at: time,
                attempts: u32::MAX,
                migrations: text(),
                collections: vec![
                    CollectionSummary {
                        tenant: text(),
                        database: text(),
                        name: text(),
                        count: u64::MAX,
                        dimension: Some(u32::MAX),
                        digest: text(),
                    };
                    100
                ],
                collection_count: u64::MAX,
                records: u64::MAX,
            }),
            findings: findings(),
            emergency: None,
        }
    }

    fn largest_emergency() -> Captured {
        let emergency = Emergency {
            torn: Torn::Unknown,
            unreadable_bytes: u64::MAX,
            unreadable_count: u64::MAX,
            unreadable: vec![UnreadableRange { file: text(), offset: u64::MAX, length: u64::MAX }; 100],
            missed_count: u64::MAX,
            missed: vec![text(); 100],
            evidence: u64::MAX,
        };
        Captured { emergency: Some(emergency), ..largest_capture() }
    }

    fn largest_capture_of_files() -> Captured {
        let files = CapturedFiles {
            volumes: u64::MAX,
            databases: u64::MAX,
            unstable: vec![text(); 100],
            unstable_count: u64::MAX,
        };
        Captured { content: Content::Application(files), ..largest_capture() }
    }

    fn largest_reports() -> Vec<Report> {
        let time: Timestamp = "2026-11-23T09:00:03.123456789Z".parse().unwrap();
        vec![
            Report::Probed(Probed {
                id: text(),
                format_version: u32::MAX,
                key_fingerprint: text(),
                key_slots: u32::MAX,
                conditional_writes: Some(false),
                seal: Some(seal()),
                lock: Some(LockTried::NotEnforced(text())),
                points: u64::MAX,
                bytes: u64::MAX,
            }),
            Report::Catalogued(Catalogued {
                points: vec![
                    CataloguedPoint {
                        policy: text(),
                        image: text(),
                        hold: Some(text()),
                        trust: Some(TrustMark {
                            word: TrustWord::Quarantined,
                            reason: TrustReason::SuspectedBreach,
                            by: text(),
                            since: time,
                        }),
                        verification: Some(crate::point::Verification {
                            verdict: Verdict::Passed,
                            time,
                            by: text(),
                            recorded: true,
                        }),
                        captured: largest_emergency()
                    };
                    20
                ],
                more: false,
            }),
            Report::Captured(Box::new(largest_capture())),
            Report::Preserved(Box::new(largest_emergency())),
            Report::Preserved(Box::new(Captured {
                content: largest_capture_of_files().content,
                ..largest_emergency()
            })),
            Report::Captured(Box::new(largest_capture_of_files())),
            Report::Judged(Judged { remove: vec![text(); 100], more: true }),
            Report::Pruned(Pruned {
                left: vec![text(); 100],
                locked_until: Some(time),
                bytes_swept: u64::MAX,
                bytes_condemned: u64::MAX,
                points: u64::MAX,
                bytes: u64::MAX,
            }),
            Report::Marked,
            Report::ReportWritten { digest: text() },
            Report::Sealed { seal: Some(seal()) },
            Report::Cut(crate::policy::Cut {
                at: time,
                until: time,
                held_ms: u64::MAX,
                attempts: u32::MAX,
                filesystem: text(),
            }),
            Report::NotCommitted,
            Report::LeftOut,
            Report::Extracted { objects: u64::MAX },
            Report::Recreated(Recreated {
                created: vec![text(); 100],
                created_count: u64::MAX,
                existing: u64::MAX,
            }),
            Report::Rotated(Rotated {
                done: vec![text(); 100],
                refused: vec![NotRotated { name: text(), why: text() }; 100],
            }),
            Report::Ran,
            Report::Inventoried { names: u64::MAX },
            Report::Audited(Box::new(crate::job::audit::largest(&text()))),
            Report::LossCounted(crate::run::LostRecords {
                added: u64::MAX,
                altered: u64::MAX,
                removed: u64::MAX,
                collections: u64::MAX,
                rounded: u64::MAX,
                digest: Some(text()),
            }),
            Report::Collected(Collected {
                logs: u64::MAX,
                log_bytes: u64::MAX,
                failure_count: u64::MAX,
                failures: vec![text(); 100],
            }),
            Report::Diagnosed(Diagnosed {
                endpoints: vec![
                    EndpointSeen { answers: false, addresses: vec![text(); 100], message: text() };
                    100
                ],
                interfaces: vec![text(); 100],
                routes: vec![text(); 100],
            }),
            Report::IsolationProbed(IsolationProbed {
                connected: vec![text(); 100],
                open: vec![text(); 100],
                held: crate::run::HeldConnection::StillOpen,
                message: text(),
            }),
            Report::Checked(Checked {
                findings: findings(),
                finding_count: u64::MAX,
                migrations: Some(text()),
                unchecked: Some(text()),
                repair: Some(text()),
            }),
            Report::Restored(Restored { bytes: u64::MAX, files: u64::MAX, reused_bytes: u64::MAX }),
            Report::Verified(Verified {
                files_equal: u64::MAX,
                files: u64::MAX,
                collections_equal: u64::MAX,
                collections: u64::MAX,
                free_percent: Some(u8::MAX),
                findings: findings(),
            }),
            Report::PointsVerified(PointsVerified {
                points: vec![PointVerified { point: text(), passed: false, found: text() }; 100],
                stopped: Some(text()),
            }),
            Report::Validated {
                checks: vec![
                    CheckResult {
                        name: text(),
                        verdict: Verdict::Inconclusive,
                        expected: text(),
                        observed: text()
                    };
                    100
                ],
            },
            Report::Failed(Failure { reason: FailureReason::WriterPauseExceeded, message: text() }),
        ]
    }

    #[test]
    fn the_largest_report_of_every_kind_fits_a_termination_message_and_reads_back() {
        for report in largest_reports() {
            let message = report.to_message();
            assert!(message.len() <= REPORT_LIMIT, "{} bytes: {message}", message.len());
            let back: Report = serde_json::from_str(&message).unwrap();
            assert_eq!(back.to_message(), message);
        }
    }

    #[test]
    fn the_largest_capture_fits_the_share_of_one_of_several_and_stays_damaged() {
        for capture in [largest_capture(), largest_capture_of_files()] {
            let message = Report::Captured(Box::new(capture)).to_message_of_turn();
            assert!(message.len() <= TURN_REPORT_LIMIT, "{} bytes: {message}", message.len());
            let Report::Captured(back) = serde_json::from_str(&message).unwrap() else { panic!("{message}") };
            assert!(!back.findings.is_empty());
        }
        let failure = Failure { reason: FailureReason::WriterPauseExceeded, message: text() };
        assert!(Report::Failed(failure).to_message_of_turn().len() <= TURN_REPORT_LIMIT);
    }

    #[test]
    fn a_text_that_fits_is_left_alone() {
        let mut text = String::from("exactly");
        cut(&mut text, 7);
        assert_eq!(text, "exactly");
        cut(&mut text, 6);
        assert_eq!(text, "exa...");
    }
}

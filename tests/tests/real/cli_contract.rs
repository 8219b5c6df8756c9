//! The contract of the command line that needs no ChromaDB: fields, exit codes, keys, pruning, archives. With the real
//! program over a directory.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tests::{
    desk::Desk,
    shell::{Shell, holdfast, key},
};

/// Writes a file into the source and captures it.
fn capture(desk: &Desk, file: &str, fill: u8) -> Value {
    let bytes: Vec<u8> =
        (0..60_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 ^ fill).collect();
    fs::write(Path::new(&desk.path("data")).join(file), bytes).unwrap();
    let source = desk.path("data");
    desk.shell.done(&["backup", "--source", &source, "--component", "app", "--tag", "a=b=c"])
}

/// Makes everything in the repository a day older, as the store tells it.
fn a_day_passes(desk: &Desk) {
    let aged = Command::new("find")
        .args([
            &desk.path("repository"),
            "-type",
            "f",
            "-exec",
            "touch",
            "-r",
            "{}",
            "-d",
            "-25 hours",
            "{}",
            ";",
        ])
        .status()
        .unwrap();
    assert!(aged.success());
}

fn tree(root: &Path) -> BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)> {
    let (mut found, mut open) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let bytes = if meta.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            Vec::new()
        } else if meta.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else {
            fs::read(&path).unwrap()
        };
        let nanos = if meta.is_symlink() { (0, 0) } else { (meta.mtime(), meta.mtime_nsec()) };
        found.insert(path.strip_prefix(root).unwrap().to_owned(), (meta.mode(), nanos.0, nanos.1, bytes));
    }
    found
}

#[test]
fn results_have_the_named_fields_and_failures_their_codes() {
    let desk = Desk::new();
    let first = capture(&desk, "one", 1);
    for field in ["bytes", "bytesStored", "files", "durationMs", "writerPauseMs"] {
        assert!(first[field].is_u64(), "{field}: {first}");
    }
    let second = capture(&desk, "two", 2);
    let (a, b) = (first["point"].as_str().unwrap(), second["point"].as_str().unwrap());
    let changed = desk.shell.done(&["diff", a, b]);
    assert_eq!(
        (&changed["added"], &changed["removed"], &changed["modified"]),
        (&json!(1), &json!(0), &json!(0))
    );
    let expected = json!({ "path": "two", "change": "added", "bytesBefore": 0, "bytesAfter": 60_000 });
    assert_eq!(changed["changes"], json!([expected]));
    assert_eq!(desk.shell.done(&["diff", b, b])["changes"], json!([]));
    assert_eq!(desk.shell.done(&["verify", "--level", "sample"])["passed"], true);

    let code = |args: &[&str]| desk.shell.answer(args).1;
    let unknown = "0".repeat(32);
    let (target, source) = (desk.path("target"), desk.path("data"));
    assert_eq!(code(&["restore", "--point", &unknown, "--target", &target]), 6);
    assert_eq!(code(&["restore", "--point", "latest", "--target", &source]), 10);
    assert_eq!(code(&["backup", "--source", &desk.path("none"), "--component", "app"]), 8);
    assert_eq!(code(&["repo", "init"]), 2);
    // A directory locks nothing, and says so before anything is captured; half a lock is none.
    let locking =
        ["backup", "--source", &source, "--component", "app", "--lock", "compliance", "--lock-for", "30d"];
    let (refused, denied) = desk.shell.answer(&locking);
    assert_eq!((refused["reason"].clone(), denied), ("LockNotEnforced".into(), 4));
    assert_eq!(desk.shell.run(&locking[..7]).status.code(), Some(2));
    assert_eq!(desk.shell.done(&["repo", "info"])["objectLock"], "no");
    assert_eq!(code(&["verify", "--record"]), 2);
    assert_eq!(code(&["prune", "--wait", "5m"]), 2);
    assert_eq!(desk.shell.run(&["prune", "--keep-last", "many"]).status.code(), Some(2));
    let wrong = Shell { password: key(), ..desk.shell.clone() };
    assert_eq!(wrong.answer(&["points"]).1, 3);
    let empty = Shell { url: format!("file://{}", desk.path("nothing")), ..desk.shell.clone() };
    assert_eq!(empty.answer(&["points"]).1, 6);
    let pack = fs::read_dir(desk.path("repository/packs")).unwrap().next().unwrap().unwrap().path();
    fs::remove_dir_all(pack).unwrap();
    assert_eq!(code(&["verify"]), 7);
    let config = desk.path("repository/config");
    let line = r#"{"magic":"holdfast repository","format":99}"#;
    let sum = Command::new("sh").args(["-c", &format!("printf %s '{line}' | sha256sum")]).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap()[..64].to_owned();
    fs::write(config, format!("{line}\nsha256:{sum}\n")).unwrap();
    assert_eq!(code(&["points"]), 11);
}

#[test]
fn keys_are_added_rotated_and_removed_and_the_last_one_stays() {
    let desk = Desk::new();
    capture(&desk, "one", 1);
    let (escrow, new) = (desk.path("escrow.key"), desk.path("new.key"));
    let add = ["repo", "add-key", "--new-password-file", &escrow, "--generate", "--label", "escrow"];
    let added = desk.shell.done(&add);
    assert_eq!(fs::metadata(&escrow).unwrap().mode() & 0o777, 0o600);
    assert_eq!(desk.shell.answer(&add).1, 2, "a key file is never overwritten");
    let info = desk.shell.done(&["repo", "info"]);
    assert_eq!(info["slots"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&info["slots"][1]["label"], &info["slots"][1]["fingerprint"]),
        (&json!("escrow"), &added["added"])
    );

    let rotated = desk.shell.done(&["repo", "rotate-key", "--new-password-file", &new, "--generate"]);
    assert_eq!(rotated["removed"], info["keyFingerprint"]);
    let (refused, code) = desk.shell.answer(&["points"]);
    assert_eq!((&refused["reason"], code), (&json!("KeyMismatch"), 3));
    for file in [&new, &escrow] {
        let password = fs::read_to_string(file).unwrap().trim_end().to_owned();
        let holder = Shell { password, ..desk.shell.clone() };
        assert_eq!(holder.done(&["points"])["points"].as_array().unwrap().len(), 1);
    }
    let by_file = Shell { password: "not the key of this repository".into(), ..desk.shell.clone() };
    by_file.done(&["points", "--password-file", &new]);
    let fingerprint = added["added"].as_str().unwrap();
    by_file.done(&["repo", "remove-key", "--fingerprint", fingerprint, "--password-file", &new]);
    let last = rotated["added"].as_str().unwrap();
    let (refused, code) =
        by_file.answer(&["repo", "remove-key", "--fingerprint", last, "--password-file", &new]);
    assert_eq!(code, 2);
    assert!(refused["error"].as_str().unwrap().contains("is the last that opens"), "{refused}");
}

#[test]
fn pruning_keeps_what_the_rules_keep_and_frees_the_rest_a_day_later() {
    let desk = Desk::new();
    let points: Vec<Value> = (1..=4).map(|n| capture(&desk, "same", n)).collect();
    a_day_passes(&desk);
    let prune = ["prune", "--keep-last", "2"];
    let dry = desk.shell.done(&["prune", "--keep-last", "2", "--dry-run"]);
    assert_eq!((&dry["dryRun"], &dry["pointsRemoved"]), (&json!(true), &json!(2)));
    assert_eq!(dry["points"][3]["kept"], json!(["newest", "newestGood", "last"]));
    assert_eq!(dry["points"][0]["kept"], json!([]));
    assert_eq!(desk.shell.done(&["points"])["points"].as_array().unwrap().len(), 4);

    let done = desk.shell.done(&prune);
    assert_eq!((&done["pointsRemoved"], &done["packsSwept"]), (&json!(2), &json!(0)));
    assert!(done["packsCondemned"].as_u64() > Some(0), "{done}");
    a_day_passes(&desk);
    let swept = desk.shell.done(&prune);
    assert_eq!(swept["packsSwept"], done["packsCondemned"]);
    assert_eq!(desk.shell.done(&["verify", "--level", "full", "--record"])["passed"], true);
    let kept: Vec<Value> = desk.shell.done(&["points"])["points"].as_array().unwrap().clone();
    let ids: Vec<&Value> = kept.iter().map(|point| &point["point"]).collect();
    assert_eq!(ids, [&points[2]["point"], &points[3]["point"]]);
    let verified = desk.shell.done(&["prune", "--keep-last", "1", "--keep-verified", "2"]);
    assert_eq!(verified["pointsRemoved"], 0);
    assert_eq!(verified["points"][0]["kept"], json!(["keepVerified"]));
    let tagged = desk.shell.done(&["prune", "--keep-last", "1", "--keep-tag", "a=b=c", "--dry-run"]);
    assert_eq!(tagged["pointsRemoved"], 0);
    let last = [points[2]["point"].as_str().unwrap(), points[3]["point"].as_str().unwrap()];
    let all = desk.shell.answer(&["prune", "--remove", last[0], "--remove", last[1]]);
    assert_eq!(all.1, 2, "{}", all.0);
}

#[test]
fn a_quarantined_point_is_chosen_restored_and_removed_by_nobody_and_a_good_one_stays_beside_it() {
    let desk = Desk::new();
    let points: Vec<Value> = (1..=3).map(|n| capture(&desk, "same", n)).collect();
    let [old, good, newest] = [0, 1, 2].map(|n| points[n]["point"].as_str().unwrap());
    let quarantine = ["quarantine", "--point", newest, "--by", "security@yourorg.com"];
    for _ in 0..2 {
        assert_eq!(desk.shell.done(&quarantine)["trust"], "Quarantined");
    }
    let mark = &desk.shell.done(&["points"])["points"][2]["trust"];
    let told = (mark["word"].as_str(), mark["reason"].as_str(), mark["by"].as_str());
    assert_eq!(told, (Some("Quarantined"), Some("ByUser"), Some("security@yourorg.com")));

    let target = desk.dir.path().join("restored").display().to_string();
    let (refused, code) = desk.shell.answer(&["restore", "--point", newest, "--target", &target]);
    let why = refused["error"].as_str().unwrap();
    assert!(code == 16 && refused["reason"] == "PointQuarantined", "{code}: {refused}");
    assert!(why.contains("security@yourorg.com") && why.contains("holdfast export"), "{why}");
    for choice in ["latest", "asof:2999-01-01T00:00:00Z", "stored-before:2999-01-01T00:00:00Z"] {
        let done = desk.shell.done(&["restore", "--point", choice, "--target", &target]);
        assert_eq!(done["point"], good, "{choice}");
        std::fs::remove_dir_all(&target).unwrap();
    }
    let stored = desk.shell.done(&["points"])["points"][0]["storedAt"].as_str().unwrap().to_owned();
    let (none, code) =
        desk.shell.answer(&["restore", "--point", &format!("stored-before:{stored}"), "--target", &target]);
    assert_eq!(code, 6, "nothing is older than the oldest: {none}");

    let judged = desk.shell.done(&["prune", "--keep-last", "1", "--dry-run"]);
    let kept = |n: usize| judged["points"][n]["kept"].clone();
    assert_eq!(
        (kept(0), kept(1), kept(2)),
        (json!([]), json!(["newestGood"]), json!(["newest", "held", "last"])),
        "I3"
    );
    let (refused, code) = desk.shell.answer(&["prune", "--remove", newest]);
    assert!(code == 2 && refused["error"].as_str().unwrap().contains("holdfast trust"), "{code}: {refused}");

    desk.shell.done(&["trust", "--point", newest, "--by", "security@yourorg.com"]);
    assert_eq!(desk.shell.done(&["restore", "--point", newest, "--target", &target])["point"], newest);
    assert_eq!(desk.shell.done(&["prune", "--remove", old])["pointsRemoved"], 1);
}

#[test]
fn a_sealed_repository_gives_nothing_up_takes_evidence_alone_and_still_restores() {
    let desk = Desk::new();
    let points: Vec<Value> = (1..=2).map(|n| capture(&desk, "same", n)).collect();
    let [oldest, newest] = [0, 1].map(|n| points[n]["point"].as_str().unwrap());
    let by = ["--by", "security@yourorg.com", "--reason", "INC-2041"];
    let told = desk.shell.done(&[&["repo", "seal"][..], &by].concat());
    assert_eq!((&told["seal"]["by"], &told["seal"]["reason"]), (&json!(by[1]), &json!(by[3])));
    assert_eq!(desk.shell.done(&["repo", "info"])["seal"], told["seal"]);

    let source = desk.dir.path().join("data").display().to_string();
    let new_key = desk.dir.path().join("new-key").display().to_string();
    let backup = ["backup", "--source", &source, "--component", "same"];
    for refused in [
        &["prune", "--remove", oldest][..],
        &["prune", "--keep-last", "1"],
        &["repo", "add-key", "--new-password-file", &new_key, "--generate"],
        &["repo", "rotate-key", "--new-password-file", &new_key],
        &backup,
    ] {
        let (said, code) = desk.shell.answer(refused);
        let why = said["error"].as_str().unwrap();
        assert!(code == 17 && said["reason"] == "Sealed", "{refused:?}: {code}: {said}");
        assert!(why.contains("INC-2041") && why.contains("repo unseal"), "{why}");
    }
    desk.shell.done(&[&backup[..], &["--evidence"]].concat());
    let target = desk.dir.path().join("restored").display().to_string();
    desk.shell.done(&["restore", "--point", newest, "--target", &target]);
    desk.shell.done(&["quarantine", "--point", newest, "--by", by[1]]);

    assert_eq!(desk.shell.done(&[&["repo", "unseal"][..], &by].concat())["seal"], Value::Null);
    assert_eq!(desk.shell.done(&["prune", "--remove", oldest])["pointsRemoved"], 1);
}

#[test]
fn a_point_on_hold_is_kept_by_no_rule_and_removed_by_nobody() {
    let desk = Desk::new();
    let points: Vec<Value> = (1..=3).map(|n| capture(&desk, "same", n)).collect();
    let oldest = points[0]["point"].as_str().unwrap();
    let hold = ["hold", "--point", oldest, "--reason", "INC-2041 evidence"];
    for _ in 0..2 {
        assert_eq!(desk.shell.done(&hold)["hold"], "INC-2041 evidence");
    }
    assert_eq!(desk.shell.done(&["points"])["points"][0]["hold"], "INC-2041 evidence");
    let judged = desk.shell.done(&["prune", "--keep-last", "1", "--dry-run"]);
    assert_eq!((&judged["points"][0]["kept"], &judged["points"][1]["kept"]), (&json!(["held"]), &json!([])));
    let (refused, code) = desk.shell.answer(&["prune", "--remove", oldest]);
    let why = refused["error"].as_str().unwrap();
    assert!(code == 2 && why.contains("INC-2041") && why.contains("holdfast release"), "{code}: {refused}");
    let (refused, code) = desk.shell.answer(&["hold", "--point", &"0".repeat(32), "--reason", "nothing"]);
    assert_eq!(code, 6, "a hold on nothing: {refused}");

    desk.shell.done(&["release", "--point", oldest]);
    assert_eq!(desk.shell.done(&["points"])["points"][0]["hold"], Value::Null);
    assert_eq!(desk.shell.done(&["prune", "--remove", oldest])["pointsRemoved"], 1);
}

#[test]
fn an_exported_point_is_a_tar_that_tar_reads_and_import_brings_it_back() {
    let desk = Desk::new();
    let data = PathBuf::from(desk.path("data"));
    let long = format!("{}/{}", "directory".repeat(15), "file".repeat(30));
    fs::create_dir_all(data.join(&long).parent().unwrap()).unwrap();
    fs::write(data.join(&long), b"long").unwrap();
    fs::write(data.join("empty"), b"").unwrap();
    std::os::unix::fs::symlink("nowhere/".repeat(20), data.join("link")).unwrap();
    capture(&desk, "one", 1);

    let archive = desk.path("x.tar");
    let export = |args: &[&str]| {
        let out = fs::File::create(&archive).unwrap();
        desk.shell.command(args).stdout(out).stderr(Stdio::null()).status().unwrap().code()
    };
    assert_eq!(export(&["export", "--point", "latest"]), Some(0));
    fs::create_dir(desk.path("untarred")).unwrap();
    let untarred =
        Command::new("tar").args(["-xpf", &archive, "-C", &desk.path("untarred")]).status().unwrap();
    assert!(untarred.success());
    assert_eq!(tree(Path::new(&desk.path("untarred"))), tree(&data));

    let import =
        ["import", "--component", "moved", "--consistency-time", "2026-01-02T03:04:05Z", "--output", "json"];
    let imported = desk.shell.command(&import).stdin(fs::File::open(&archive).unwrap()).output().unwrap();
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    let imported: Value = serde_json::from_slice(&imported.stdout).unwrap();
    let restored = desk.path("restored");
    let point = imported["point"].as_str().unwrap();
    let done = desk.shell.done(&["restore", "--point", point, "--target", &restored]);
    assert_eq!(done["consistencyTime"], "2026-01-02T03:04:05Z");
    assert_eq!(tree(Path::new(&restored)), tree(&data));
    let nothing = desk.shell.command(&["import", "--component", "x"]).output().unwrap();
    assert_eq!(nothing.status.code(), Some(8));
}

/// The last line of standard output of a command that has to succeed, and what it said on standard error.
fn said(desk: &Desk, args: &[&str]) -> (String, String) {
    let done = desk.shell.command(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(done.stdout), text(done.stderr));
    assert!(done.status.success(), "{args:?}: {err}");
    (out.lines().last().unwrap_or_default().to_owned(), err)
}

#[test]
fn every_command_answers_scripts_and_people_with_the_same() {
    let desk = Desk::new();
    let first = capture(&desk, "one", 1);
    let a = first["point"].as_str().unwrap();
    let (data, keys) = (desk.path("data"), [desk.path("1.key"), desk.path("2.key")]);
    let backup = ["backup", "--source", &data, "--component", "app"];
    let restore = |target: &str| {
        let args = ["restore", "--point", a, "--target", &desk.path(target)];
        args.map(str::to_owned).to_vec()
    };
    // What makes something makes another the second time.
    let same = |args: &[&str]| {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        [args.clone(), args]
    };
    let add = |key: &str| {
        let args = ["repo", "add-key", "--generate", "--label", "l", "--new-password-file", key];
        args.map(str::to_owned).to_vec()
    };
    let commands: [([Vec<String>; 2], &[&str]); 15] = [
        (
            same(&["repo", "info"]),
            &["repository", "place", "format", "keyFingerprint", "points", "bytes", "slots"],
        ),
        (
            same(&["repo", "probe"]),
            &["place", "conditionalWrites", "rangedReads", "listsAtOnce", "mayDelete"],
        ),
        ([add(&keys[0]), add(&keys[1])], &["added"]),
        (same(&backup), &["point", "bytes", "bytesStored", "files", "durationMs", "writerPauseMs"]),
        (same(&["points"]), &["points", "unreadable"]),
        (
            [restore("first"), restore("second")],
            &["point", "bytes", "bytesWritten", "files", "removed", "durationMs"],
        ),
        (
            same(&["verify", "--level", "manifest"]),
            &["passed", "points", "files", "bytesChecked", "findings"],
        ),
        (same(&["verify", "--level", "sample"]), &["passed"]),
        (same(&["verify", "--level", "full", "--point", a]), &["passed"]),
        (same(&["verify", "--level", "full", "--point", "latest", "--record"]), &["passed"]),
        (same(&["diff", a, "latest"]), &["from", "to", "added", "removed", "modified", "changes"]),
        (same(&["prune", "--keep-last", "9", "--dry-run"]), &["dryRun", "pointsRemoved", "points"]),
        (same(&["prune", "--keep-last", "9"]), &["dryRun", "pointsRemoved", "points"]),
        (same(&["points", "--component", "app"]), &["points"]),
        (same(&["key", "generate"]), &["key"]),
    ];
    for ([one, two], fields) in &commands {
        let one: Vec<&str> = one.iter().map(String::as_str).collect();
        let answer = desk.shell.done(&one);
        for field in *fields {
            assert!(answer.get(field).is_some(), "{one:?}: {field} is not in {answer}");
        }
        let two: Vec<&str> = two.iter().map(String::as_str).chain(["--output", "table"]).collect();
        let (line, _) = said(&desk, &two);
        assert!(!line.is_empty() && serde_json::from_str::<Value>(&line).is_err(), "{two:?}: {line}");
    }
    let rotate = ["repo", "rotate-key", "--generate", "--new-password-file", &desk.path("new.key")];
    assert!(desk.shell.done(&rotate)["removed"].is_string());
}

#[test]
fn progress_is_a_bar_on_a_terminal_and_lines_elsewhere() {
    let desk = Desk::new();
    capture(&desk, "one", 1);
    let zeros = fs::File::create(desk.at("data").join("zeros")).unwrap();
    zeros.set_len(24 << 20).unwrap();
    let source = desk.path("data");
    for (number, args) in [
        vec!["backup", "--source", &source, "--component", "app"],
        vec!["restore", "--point", "latest", "--target"],
        vec!["verify", "--level", "full", "--point", "latest"],
    ]
    .into_iter()
    .enumerate()
    {
        let with = |target: &str| {
            let target = desk.path(&format!("{target}{number}"));
            args.iter()
                .map(ToString::to_string)
                .chain((args[0] == "restore").then_some(target))
                .collect::<Vec<_>>()
        };
        let plain = with("plain");
        let (_, lines) = said(&desk, &plain.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(lines.contains("/s, ") && !lines.contains('\r'), "{args:?}: {lines}");
        // `script` gives it a terminal, and joins what it says there.

        let line: Vec<String> = with("shown").iter().map(|arg| format!("'{arg}'")).collect();
        let line = format!("'{}' {} --repo '{}'", holdfast().display(), line.join(" "), desk.shell.url);
        let shown = Command::new("script")
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .env("HOLDFAST_PASSWORD", &desk.shell.password)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        // The first may be of some KiB only.
        let is_bar = |line: &&str| line.contains('[') && line.contains("/24.06 MiB");
        let bar = shown.split(['\r', '\n']).find(is_bar);
        let bar = bar.unwrap_or_else(|| panic!("{args:?}: no bar in {shown:?}"));
        // Bytes, of how many, how fast, and how long it still takes.
        let rest = bar.split_once("/s ").map(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()));
        assert!(rest == Some(true), "{bar:?}");
    }
}

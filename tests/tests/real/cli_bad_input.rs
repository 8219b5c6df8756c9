//! What the command line answers to bad input: each time a sentence that names the thing and the remedy, an exit code of its
//! own, and nothing half-written that looks whole. With the real program.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    ffi::OsStr,
    fs,
    io::Write,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink},
    },
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Value, json};
use tests::{
    desk::Desk,
    shell::{Shell, holdfast},
};

const MARKER: &str = ".holdfast-restore-unfinished";

/// How many points there are.
fn points(desk: &Desk) -> usize {
    desk.shell.done(&["points"])["points"].as_array().unwrap().len()
}

/// A desk with a small file in its source.
fn desk() -> Desk {
    let desk = Desk::new();
    fs::write(desk.at("data/f"), b"content").unwrap();
    desk
}

/// Runs it without any right that goes beyond that of a file's owner. What it says on standard error comes third.
fn unprivileged(desk: &Desk, args: &[&str]) -> (Value, i32, String) {
    let plain = desk.shell.command(args);
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--inh-caps=-all", "--bounding-set=-all"]).arg(plain.get_program());
        command
    } else {
        Command::new(plain.get_program())
    };
    command.args(plain.get_args()).args(["--output", "json"]);
    let output = command.env("HOLDFAST_PASSWORD", &desk.shell.password).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let value = serde_json::from_str(out.lines().last().unwrap_or_default());
    (value.unwrap_or_else(|e| panic!("{e}: {out}{err}")), output.status.code().unwrap(), err.into_owned())
}

/// Asserts a failure's code and reason, and that its sentence says all of these.
#[track_caller]
fn refused((answer, code): (Value, i32), expected: (i32, &str), said: &[&str]) {
    assert_eq!((code, &answer["reason"]), (expected.0, &json!(expected.1)), "{answer}");
    assert_eq!(answer["exitCode"], expected.0);
    let sentence = answer["error"].as_str().unwrap();
    for part in said {
        assert!(sentence.contains(part), "{part:?} is not in: {sentence}");
    }
}

#[test]
fn a_place_that_holds_no_repository_this_one_or_not_yet() {
    let desk = Desk::empty();
    let place = desk.path("repository");
    refused(desk.shell.answer(&["points"]), (6, "RepositoryMissing"), &[&place, "create one with init"]);
    let none = Shell { url: format!("file://{}", desk.path("not/there")), ..desk.shell.clone() };
    refused(none.answer(&["repo", "init"]), (5, "BucketUnreachable"), &["not/there does not exist"]);
    let odd = Shell { url: "ftp://somewhere".into(), ..desk.shell.clone() };
    refused(odd.answer(&["points"]), (2, "InvalidRequest"), &["ftp://somewhere", "file://", "s3://"]);

    fs::create_dir_all(desk.at("repository/photos")).unwrap();
    fs::write(desk.at("repository/photos/1.jpg"), b"x").unwrap();
    for args in [&["points"][..], &["repo", "init"]] {
        let said = [&place, "is not a repository", "photos/1.jpg", "use an empty prefix or directory"];
        refused(desk.shell.answer(args), (6, "RepositoryMissing"), &said);
    }
    assert_eq!(fs::read_dir(desk.at("repository")).unwrap().count(), 1, "nothing was written there");
    fs::remove_dir_all(desk.at("repository")).unwrap();

    desk.shell.done(&["repo", "init"]);
    refused(desk.shell.answer(&["repo", "init"]), (2, "InvalidRequest"), &[&place, "nothing was changed"]);
    let config = fs::read(desk.at("repository/config")).unwrap();
    fs::remove_file(desk.at("repository/config")).unwrap();
    refused(
        desk.shell.answer(&["points"]),
        (6, "RepositoryMissing"),
        &[&place, "interrupted", "run init again"],
    );
    desk.shell.done(&["repo", "init"]);
    assert_ne!(fs::read(desk.at("repository/config")).unwrap(), config, "it is another one");
    assert_eq!(desk.backup().1, 0);
    fs::remove_file(desk.at("repository/config")).unwrap();
    for args in [&["points"][..], &["repo", "init"]] {
        let said = [&place, "`config` is missing", "older object version"];
        refused(desk.shell.answer(args), (7, "RepositoryDamaged"), &said);
    }
    let line = r#"{"magic":"holdfast repository","format":99}"#;
    let sum = Command::new("sh").args(["-c", &format!("printf %s '{line}' | sha256sum")]).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap()[..64].to_owned();
    fs::write(desk.at("repository/config"), format!("{line}\nsha256:{sum}\n")).unwrap();
    refused(
        desk.shell.answer(&["points"]),
        (11, "FormatTooNew"),
        &[&place, "format 99", "up to 1", "newer version"],
    );
}

#[test]
fn a_password_that_is_wrong_missing_or_weak() {
    let desk = desk();
    let wrong = Shell { password: "tall ships cross a quiet harbour".into(), ..desk.shell.clone() };
    let said = ["opens none of the 1 key slots", &desk.path("repository"), "its fingerprint would be"];
    refused(wrong.answer(&["points"]), (3, "KeyMismatch"), &said);
    let none = Shell { password: String::new(), ..desk.shell.clone() };
    let output = none.command(&["points", "--output", "json"]).output().unwrap();
    let answer = serde_json::from_slice(&output.stdout).unwrap();
    let said = ["HOLDFAST_PASSWORD", "--password-file"];
    refused((answer, output.status.code().unwrap()), (3, "KeyMissing"), &said);
    let missing = ["points", "--password-file", &desk.path("no-file")];
    refused(desk.shell.answer(&missing), (3, "KeyMissing"), &[&desk.path("no-file"), "does not exist"]);
    let weak = Shell { password: "changeme-changeme".into(), url: format!("file://{}", desk.path("new")) };
    refused(weak.answer(&["repo", "init"]), (3, "KeyUnsafe"), &["can't be used"]);
    assert!(!desk.at("new").exists());
}

#[test]
fn a_source_that_is_not_there_no_directory_closed_or_moving() {
    let desk = desk();
    let backup =
        |source: &str| desk.shell.answer(&["backup", "--source", &desk.path(source), "--component", "app"]);
    refused(backup("none"), (8, "SourceUnreadable"), &[&desk.path("none")]);
    refused(backup("data/f"), (2, "InvalidRequest"), &[&desk.path("data/f"), "no directory"]);
    fs::set_permissions(desk.at("data/f"), fs::Permissions::from_mode(0o000)).unwrap();
    let args = ["backup", "--source", &desk.path("data"), "--component", "app"];
    let (answer, code, _) = unprivileged(&desk, &args);
    refused((answer, code), (8, "SourceUnreadable"), &["can't read f of the source", "ermission denied"]);
    fs::remove_file(desk.at("data/f")).unwrap();

    // Long enough to be read while somebody else writes, and short in the repository.
    let moving = fs::File::create(desk.at("data/moving")).unwrap();
    moving.set_len(64 << 20).unwrap();
    let through = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&through);
    let writer = std::thread::spawn(move || {
        let mut turns = 0_u64;
        while !ended.load(Ordering::Relaxed) {
            turns += 1;
            moving.write_all_at(&turns.to_be_bytes(), 1 << 20).unwrap();
        }
    });
    let answer = backup("data");
    through.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    let said = ["moving of the source changed while it was read", "nothing was committed", "stands still"];
    refused(answer, (9, "Torn"), &said);
    assert_eq!(points(&desk), 0);
}

#[test]
fn special_files_are_left_out_and_named_and_sparse_ones_and_odd_names_kept() {
    let desk = desk();
    let data = desk.at("data");
    let made = Command::new("mkfifo").arg(data.join("pipe")).status().unwrap();
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(data.join("socket")).unwrap();
    let sparse = fs::File::create(data.join("sparse")).unwrap();
    sparse.write_all_at(b"the end", 16 << 20).unwrap();
    let odd = OsStr::from_bytes(b"not \xff utf-8\n");
    fs::write(data.join(odd), b"odd").unwrap();
    symlink(OsStr::from_bytes(b"to \xfe"), data.join("link")).unwrap();
    let run = desk.shell.run(&["backup", "--source", &desk.path("data"), "--component", "app"]);
    let told = String::from_utf8_lossy(&run.stderr);
    for warning in ["warning: pipe is left out: a point can't hold it (fifo)", "warning: socket is left out"]
    {
        assert!(told.contains(warning), "{told}");
    }
    let answer: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!((&answer["skipped"], &answer["files"]), (&json!(2), &json!(3)));
    assert_eq!(desk.restore("target").1, 0);
    let target = desk.at("target");
    assert!(!target.join("pipe").exists() && !target.join("socket").exists());
    assert_eq!(fs::read(target.join(odd)).unwrap(), b"odd");
    assert_eq!(fs::read_link(target.join("link")).unwrap().as_os_str(), OsStr::from_bytes(b"to \xfe"));
    let restored = fs::metadata(target.join("sparse")).unwrap();
    assert_eq!(restored.len(), (16 << 20) + 7);
    assert!(restored.blocks() < 1000, "{} blocks", restored.blocks());
    fs::remove_file(data.join(odd)).unwrap();
    let second = desk.backup().0;
    let changed =
        desk.shell.done(&["diff", answer["point"].as_str().unwrap(), second["point"].as_str().unwrap()]);
    assert_eq!(changed["removed"], 1);
}

#[test]
fn a_target_that_is_not_empty_unfinished_closed_or_nowhere() {
    let desk = desk();
    assert_eq!(desk.backup().1, 0);
    fs::create_dir(desk.at("full")).unwrap();
    fs::write(desk.at("full/mine"), b"mine").unwrap();
    refused(desk.restore("full"), (10, "TargetNotEmpty"), &[&desk.path("full"), "mine", "empty directory"]);
    assert_eq!(fs::read_dir(desk.at("full")).unwrap().count(), 1);
    fs::create_dir(desk.at("unfinished")).unwrap();
    fs::write(desk.at("unfinished").join(MARKER), b"").unwrap();
    let said = [&desk.path("unfinished"), "interrupted restore", "go on with it"];
    refused(desk.restore("unfinished"), (10, "TargetNotEmpty"), &said);
    let onto = ["restore", "--point", "latest", "--target", &desk.path("unfinished"), "--onto-existing"];
    desk.shell.done(&onto);
    assert!(!desk.at("unfinished").join(MARKER).exists());
    refused(desk.restore("not/there"), (10, "TargetNotEmpty"), &[&desk.path("not/there")]);
    fs::create_dir(desk.at("closed")).unwrap();
    fs::set_permissions(desk.at("closed"), fs::Permissions::from_mode(0o500)).unwrap();
    let args = ["restore", "--point", "latest", "--target", &desk.path("closed")];
    let (answer, code, _) = unprivileged(&desk, &args);
    refused((answer, code), (10, "TargetNotEmpty"), &[&desk.path("closed"), "ermission denied"]);
    let unknown = ["restore", "--point", &"0".repeat(32), "--target", &desk.path("new")];
    refused(desk.shell.answer(&unknown), (6, "PointNotFound"), &[&"0".repeat(32), "list the points"]);
    assert!(!desk.at("new").exists());
}

#[test]
fn a_repository_that_may_not_be_read_or_written() {
    let desk = desk();
    assert_eq!(desk.backup().1, 0);
    let close = |mode| {
        let args = [&desk.path("repository"), "-type", "d", "-exec", "chmod", mode, "{}", "+"];
        assert!(Command::new("find").args(args).status().unwrap().success());
    };
    close("0500");
    let args = ["backup", "--source", &desk.path("data"), "--component", "app"];
    let (answer, code, _) = unprivileged(&desk, &args);
    refused((answer, code), (4, "AccessDenied"), &[&desk.path("repository"), "ermission denied"]);
    close("0700");
    fs::set_permissions(desk.at("repository/config"), fs::Permissions::from_mode(0o000)).unwrap();
    let (answer, code, _) = unprivileged(&desk, &["points"]);
    refused((answer, code), (4, "AccessDenied"), &[&desk.path("repository"), "config"]);
    fs::set_permissions(desk.at("repository/config"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(points(&desk), 1);
}

#[test]
fn owners_and_attributes_that_may_not_be_set_are_counted_and_told() {
    let desk = desk();
    if !rustix::process::geteuid().is_root() {
        eprintln!("NOT TESTED: only root can make files that others may not restore");
        return;
    }
    chown(desk.at("data/f"), Some(12_345), Some(12_345)).unwrap();
    rustix::fs::setxattr(desk.at("data/f"), "trusted.t", b"x", rustix::fs::XattrFlags::empty()).unwrap();
    assert_eq!(desk.backup().1, 0);
    let args = ["restore", "--point", "latest", "--target", &desk.path("target")];
    let (answer, code, told) = unprivileged(&desk, &args);
    assert_eq!((code, &answer["ownersLeft"], &answer["xattrsLeft"]), (0, &json!(1), &json!(1)), "{answer}");
    assert!(told.contains("warning: the owner of 1 entries could not be set"), "{told}");
    assert!(
        told.contains(
            "warning: 1 extended attributes could not be set or removed, the first is trusted.t of f"
        ),
        "{told}"
    );
    let whole = desk.shell.done(&["restore", "--point", "latest", "--target", &desk.path("whole")]);
    assert_eq!((&whole["ownersLeft"], &whole["xattrsLeft"]), (&json!(0), &json!(0)));
    assert_eq!(fs::metadata(desk.at("whole/f")).unwrap().uid(), 12_345);
}

#[test]
fn a_clock_behind_the_newest_point() {
    let desk = desk();
    assert_eq!(desk.backup().1, 0);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let point = runtime.block_on(async {
        let store = Arc::new(engine::store::DirStore::new(desk.at("repository")));
        let password = engine::Password::new(desk.shell.password.clone()).unwrap();
        let repository = engine::Repository::open(store, &password).await.unwrap();
        let tomorrow = "2200-01-01T00:00:00Z".parse().unwrap();
        let attributes = engine::PointAttributes {
            component: "app".into(),
            consistency_time: tomorrow,
            started: tomorrow,
            tags: std::collections::BTreeMap::new(),
            body: Value::Null,
            attempt: None,
        };
        let layout = Arc::new(|_: &Path, _: &Path| engine::Layout::Stream);
        let source = desk.at("data");
        let request = engine::Backup { source, layout, attributes, progress: engine::silent(), aside: None };
        engine::backup(&repository, request).await.unwrap().point
    });
    // The store's clock agrees that it is of that time.
    let object = desk.at("repository").join(point.id.object());
    let dated = Command::new("touch").args(["-d", "2200-01-01T00:00:00Z"]).arg(object).status().unwrap();
    assert!(dated.success());
    let id = point.id.to_string();
    let said =
        ["the clock says", &id, "component app", "2200-01-01", "Set the clock right", "prune --remove"];
    refused(desk.backup(), (15, "ClockBehind"), &said);
    assert_eq!(points(&desk), 2);
    desk.shell.done(&["prune", "--remove", &id]);
    assert_eq!(desk.backup().1, 0, "the remedy helps");
}

/// A small disk of its own for the repository, the target and the scratch space in turn, in a name space of its own.
const FULL_DISK: &str = r#"
set -eu
cd "$1"
run() { # name, arguments: leaves the answer and the code
  name=$1; shift; code=0
  "$HOLDFAST" "$@" --output json >"$name.out" 2>"$name.err" || code=$?
  echo "$code" >"$name.code"
}
mkdir disk
mount -t tmpfs -o size=5m none disk
export URL="file://$1/disk/repository" ELSEWHERE="file://$1/repository"
run init repo init --repo "$URL"
run full backup --repo "$URL" --source data --component app
run none points --repo "$URL"
mount -o remount,size=64m disk
run roomy backup --repo "$URL" --source data --component app
run sound verify --level full --repo "$URL"
umount disk

mount -t tmpfs -o size=5m none disk
run base backup --repo "$ELSEWHERE" --source data --component app
run target restore --repo "$ELSEWHERE" --point latest --target disk/target
ls -A disk/target >target.left
mount -o remount,size=64m disk
run resumed restore --repo "$ELSEWHERE" --point latest --target disk/target --onto-existing
cmp disk/target/large data/large
umount disk

mount -t tmpfs -o size=5m none disk
mkdir disk/scratch
code=0; "$HOLDFAST" export --repo "$ELSEWHERE" --point latest --scratch disk/scratch --output json >x.tar 2>export.out || code=$?
echo "$code" >export.code
tar -cf whole.tar -C data .
code=0; "$HOLDFAST" import --repo "$ELSEWHERE" --component other --scratch disk/scratch --output json <whole.tar >import.out 2>import.err || code=$?
echo "$code" >import.code
ls -A disk/scratch >scratch.left
run after points --repo "$ELSEWHERE"
"#;

#[test]
fn a_full_disk_under_the_repository_the_target_and_the_scratch_space() {
    let desk = desk();
    let mut large = fs::File::create(desk.at("data/large")).unwrap();
    let mut noise = 88_172_645_463_325_252_u64;
    for _ in 0..(20 << 20) / 8 {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        large.write_all(&noise.to_ne_bytes()).unwrap();
    }
    let mut namespace = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        namespace.arg("--map-root-user");
    }
    let script = namespace
        .args(["--mount", "sh", "-c", FULL_DISK, "sh"])
        .arg(desk.dir.path())
        .env("HOLDFAST", holdfast())
        .env("HOLDFAST_PASSWORD", &desk.shell.password)
        .output()
        .unwrap();
    assert!(script.status.success(), "{}", String::from_utf8_lossy(&script.stderr));
    let text = |name: &str| fs::read_to_string(desk.at(name)).unwrap();
    let answer = |name: &str| {
        let (out, code) = (text(&format!("{name}.out")), text(&format!("{name}.code")));
        let last = out.lines().last().unwrap_or_default();
        (
            serde_json::from_str::<Value>(last).unwrap_or_else(|e| panic!("{name}: {e}: {out}")),
            code.trim().parse().unwrap(),
        )
    };
    for name in ["init", "none", "roomy", "sound", "base", "resumed", "after"] {
        assert_eq!(answer(name).1, 0, "{name}: {}", answer(name).0);
    }
    refused(answer("full"), (14, "NoSpaceLeft"), &["disk/repository", "No space left"]);
    assert_eq!(answer("none").0["points"], json!([]), "what was not committed is no point");
    refused(answer("target"), (14, "NoSpaceLeft"), &["disk/target/large", "No space left"]);
    assert!(text("target.left").contains(MARKER), "the target is marked as unfinished");
    refused(answer("export"), (14, "NoSpaceLeft"), &["disk/scratch", "No space left"]);
    refused(answer("import"), (14, "ScratchFull"), &["No space left", "nothing was captured"]);
    assert_eq!(text("scratch.left"), "", "scratch space is left empty");
    assert_eq!(answer("after").0["points"].as_array().unwrap().len(), 1);
    assert!(!desk.at("disk/scratch").exists(), "the disk was seen in its own name space only");
}

//! Archives from and to other programs: what GNU tar writes is captured whole, what is exported is read by it, hard links,
//! extended attributes, sparse files and odd names included. With the real programs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use tests::{
    desk::Desk,
    files::{Facts, facts, set_attribute},
};

/// A source with everything that an archive may hold.
fn fill(data: &Path) {
    let long = data.join("directory".repeat(15)).join("file".repeat(30));
    fs::create_dir_all(long.parent().unwrap()).unwrap();
    fs::write(&long, b"long").unwrap();
    fs::hard_link(&long, data.join("short")).unwrap();
    fs::write(data.join("empty"), b"").unwrap();
    fs::write(data.join(OsStr::from_bytes(b"odd \xff\nname")), b"odd").unwrap();
    symlink("nowhere/".repeat(20), data.join("link")).unwrap();
    let sparse = fs::File::create(data.join("sparse")).unwrap();
    for stretch in 0..60 {
        sparse.write_all_at(b"island", stretch << 17).unwrap();
    }
    sparse.set_len(100 << 17).unwrap();
    fs::set_permissions(data.join("empty"), fs::Permissions::from_mode(0o4711)).unwrap();
    set_attribute(data.join("empty"), "user.lines", b"12 path=../no\nno\n\0\xff");
    set_attribute(data.join("empty"), "user.a=b%", b"");
    set_attribute(data, "user.of-the-root", b"r");
    if rustix::process::geteuid().is_root() {
        let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        set_attribute(data.join("sparse"), "security.capability", &capability);
    }
    let before = std::time::SystemTime::UNIX_EPOCH - std::time::Duration::new(5, 250_000_000);
    fs::File::open(data.join("sparse")).unwrap().set_modified(before).unwrap();
}

fn tar(args: &[&str]) {
    let output = Command::new("tar").args(args).output().unwrap();
    assert!(output.status.success(), "tar {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Exports the newest point of a component to a file, and returns the answer.
fn export(desk: &Desk, component: &str, archive: &str) -> Value {
    let args = ["export", "--point", "latest", "--component", component, "--output", "json"];
    let out = fs::File::create(desk.at(archive)).unwrap();
    let done = desk.shell.command(&args).stdout(out).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.success(), "{said}");
    serde_json::from_str(said.lines().last().unwrap()).unwrap()
}

/// Imports a file as a component; the answer, what was said besides, and the exit code.
fn import(desk: &Desk, component: &str, archive: &str) -> (Value, String, Option<i32>) {
    let args = ["import", "--component", component, "--output", "json"];
    let from = fs::File::open(desk.at(archive)).unwrap();
    let done = desk.shell.command(&args).stdin(from).output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    (serde_json::from_slice(&done.stdout).unwrap_or(Value::Null), said, done.status.code())
}

fn restored(desk: &Desk, component: &str) -> BTreeMap<PathBuf, Facts> {
    let target = desk.path(&format!("restored {component}"));
    desk.shell.done(&["restore", "--point", "latest", "--component", component, "--target", &target]);
    facts(Path::new(&target))
}

#[test]
fn an_exported_point_is_read_by_tar_and_by_import_with_all_it_has() {
    let desk = Desk::new();
    fill(&desk.at("data"));
    let expected = facts(&desk.at("data"));
    assert_eq!(desk.backup().1, 0);
    let answer = export(&desk, "app", "x.tar");
    assert_eq!(answer["entries"], expected.len());
    for field in ["bytes", "durationMs"] {
        assert!(answer[field].is_u64(), "{answer}");
    }
    fs::create_dir(desk.at("untarred")).unwrap();
    tar(&["-xpf", &desk.path("x.tar"), "-C", &desk.path("untarred"), "--xattrs", "--xattrs-include=*"]);
    assert_eq!(facts(&desk.at("untarred")), expected);
    let (answer, said, code) = import(&desk, "again", "x.tar");
    assert_eq!((code, said.contains("warning")), (Some(0), false), "{said}");
    assert_eq!(answer["files"], 4, "a file of two names is one");
    assert_eq!(restored(&desk, "again"), expected);
}

#[test]
fn what_tar_writes_is_captured_whole_in_each_of_its_forms() {
    let desk = Desk::new();
    fill(&desk.at("data"));
    let expected = facts(&desk.at("data"));
    let forms: [(&str, &[&str]); 4] = [
        ("posix", &["--format=posix", "--xattrs", "--xattrs-include=*"]),
        ("posix-sparse", &["--format=posix", "--xattrs", "--xattrs-include=*", "--sparse"]),
        ("gnu", &["--format=gnu"]),
        ("gnu-sparse", &["--format=gnu", "--sparse"]),
    ];
    for (form, options) in forms {
        let (archive, data) = (desk.path("y.tar"), desk.path("data"));
        tar(&[&["-cf", &archive, "-C", &data], options, &["."]].concat());
        let (_, said, code) = import(&desk, form, "y.tar");
        assert_eq!((code, said.contains("warning")), (Some(0), false), "{form}: {said}");
        let found = restored(&desk, form);
        if form.starts_with("posix") {
            assert_eq!(found, expected, "{form}");
        }
        assert!(found.keys().eq(expected.keys()), "{form}");
        for (path, is) in &found {
            // GNU's own format has whole seconds, and no attributes.
            let plain =
                |facts: &Facts| Facts { nanoseconds: 0, attributes: BTreeMap::new(), ..facts.clone() };
            assert!(plain(is) == plain(&expected[path]), "{form}: {path:?}");
        }
    }
}

#[test]
fn an_archive_that_is_cut_short_leads_out_or_is_none_makes_no_point() {
    let desk = Desk::new();
    fill(&desk.at("data"));
    tar(&["-cf", &desk.path("whole.tar"), "-C", &desk.path("data"), "."]);
    let whole = fs::read(desk.at("whole.tar")).unwrap();
    let mut flipped = whole.clone();
    flipped[5] ^= 1;
    fs::write(desk.at("cut.tar"), &whole[..whole.len() / 2]).unwrap();
    fs::write(desk.at("flipped.tar"), flipped).unwrap();
    fs::write(desk.at("none.tar"), vec![b'x'; 10_000]).unwrap();
    fs::write(desk.at("empty.tar"), vec![0; 10_240]).unwrap();
    fs::write(desk.at("nothing.tar"), b"").unwrap();
    fs::write(desk.at("outside"), b"x").unwrap();
    tar(&["-cPf", &desk.path("out.tar"), "-C", &desk.path("data"), "../outside"]);
    let cases = [
        ("cut.tar", "cut short"),
        ("flipped.tar", "checksum"),
        ("none.tar", "no tar archive"),
        ("empty.tar", "it is empty"),
        ("nothing.tar", "cut short"),
        ("out.tar", "../outside leads out"),
    ];
    for (archive, told) in cases {
        let (answer, said, code) = import(&desk, "app", archive);
        assert_eq!(
            (code, &answer["reason"]),
            (Some(8), &Value::from("SourceUnreadable")),
            "{archive}: {said}"
        );
        let sentence = answer["error"].as_str().unwrap();
        assert!(
            sentence.contains(told) && sentence.contains("nothing was captured"),
            "{archive}: {sentence}"
        );
    }
    assert_eq!(desk.shell.done(&["points"])["points"], Value::Array(Vec::new()));
    let nothing = desk.shell.command(&["export", "--point", "latest", "--output", "json"]).output().unwrap();
    assert_eq!(
        (nothing.status.code(), nothing.stdout.len()),
        (Some(6), 0),
        "no byte that could pass for an archive"
    );
    let said = String::from_utf8(nothing.stderr).unwrap();
    let answer: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(answer["exitCode"], 6);
}

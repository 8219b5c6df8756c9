//! Extended attributes and files of several names: what was captured comes back, onto nothing and onto whatever is there, and
//! nothing outside of the target changes with it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::support::{Bench, names_of, noise, request, same_tree, tree_of};
use engine::RestoreMode::{EmptyTarget, OntoExisting};
use engine::{Change, Error, backup, compare, diff, export, restore, silent};
use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lsetxattr};

pub(crate) fn set(path: &Path, name: impl AsRef<OsStr>, value: &[u8]) -> bool {
    lsetxattr(path, name.as_ref(), value, XattrFlags::empty()).is_ok()
}

fn must_set(path: &Path, name: impl AsRef<OsStr>, value: &[u8]) {
    assert!(set(path, name.as_ref(), value), "{:?} can't be set", name.as_ref());
}

/// The attributes of a file or directory, but for the labels of the node.
pub(crate) fn of(path: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let (mut list, mut value) = (vec![0; 65_536], vec![0; 65_536]);
    let length = llistxattr(path, &mut list[..]).unwrap();
    let names = list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let names = names.map(OsStr::from_bytes).filter(|name| engine::is_kept(name));
    let mut of = |name: &OsStr| {
        let length = lgetxattr(path, name, &mut value[..]).unwrap();
        (name.to_owned(), value[..length].to_vec())
    };
    names.map(&mut of).collect()
}

/// The attributes of everything below.
fn attributes_of(root: &Path) -> BTreeMap<PathBuf, BTreeMap<OsString, Vec<u8>>> {
    tree_of(root).into_keys().map(|path| (path.clone(), of(&root.join(&path)))).collect()
}

/// A POSIX access control list as the kernel takes it: the owner, user 1234, the group, the mask, others.
fn acl(mask: u16) -> Vec<u8> {
    let none = u32::MAX;
    let entries = [(1_u16, 6_u16, none), (2, 5, 1234), (4, 4, none), (0x10, mask, none), (0x20, 0, none)];
    let packed = entries.into_iter().flat_map(|(tag, may, who)| {
        [tag.to_le_bytes().to_vec(), may.to_le_bytes().to_vec(), who.to_le_bytes().to_vec()].concat()
    });
    2_u32.to_le_bytes().into_iter().chain(packed).collect()
}

#[tokio::test]
async fn extended_attributes_and_access_lists_come_back_onto_nothing_and_onto_anything() {
    let bench = Bench::with_xattrs().await;
    let source = bench.source();
    bench.write("dir/file", &noise(1, 100_000));
    bench.write("program", b"#!/bin/sh");
    bench.write("plain", b"x");
    symlink("program", source.join("link")).unwrap();
    must_set(source, "user.of-the-root", b"r");
    must_set(&source.join("dir"), "user.of-a-directory", "Größe".as_bytes());
    must_set(&source.join("dir/file"), "user.binary", &[0, 1, 255, b'\n']);
    must_set(&source.join("dir/file"), "user.empty", b"");
    must_set(&source.join("dir/file"), OsString::from_vec(b"user.not-\xff-utf8".to_vec()), b"v");
    must_set(&source.join("program"), "user.large", &noise(2, 2_000));
    must_set(&source.join("program"), "system.posix_acl_access", &acl(5));
    must_set(&source.join("dir"), "system.posix_acl_default", &acl(4));
    fs::write(source.join("dir/inherits"), b"x").unwrap();
    let rooted = rustix::process::geteuid().is_root();
    if rooted {
        must_set(
            &source.join("program"),
            "security.capability",
            &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        );
        must_set(&source.join("link"), "trusted.of-a-link", b"l");
        fs::set_permissions(source.join("dir/file"), fs::Permissions::from_mode(0o4755)).unwrap();
    }
    let point = backup(&bench.repo, request(source, "a")).await.unwrap().point;
    assert_eq!(point.totals.skipped, 0);
    let expected = attributes_of(source);
    assert_eq!(expected.values().map(BTreeMap::len).sum::<usize>(), if rooted { 11 } else { 9 });

    // A directory that passes an access list on to whatever is made in it.
    let target = bench.scratch("target");
    fs::create_dir(&target).unwrap();
    must_set(&target, "system.posix_acl_default", &acl(6));
    let done = restore(&bench.repo, &point, &target, EmptyTarget, silent()).await.unwrap();
    assert_eq!((done.xattrs_left, done.owners_left), (0, 0), "{:?}", done.warnings());
    assert_eq!(attributes_of(&target), expected);
    same_tree(source, &target);

    must_set(&target.join("plain"), "user.foreign", b"x");
    must_set(&target.join("plain"), "system.posix_acl_access", &acl(7));
    must_set(&target.join("dir"), "user.foreign", b"x");
    must_set(&target.join("dir/file"), "user.binary", b"other");
    rustix::fs::removexattr(target.join("dir/file"), "user.empty").unwrap();
    rustix::fs::removexattr(target.join("program"), "system.posix_acl_access").unwrap();
    fs::write(target.join("program"), b"loses its capabilities").unwrap();
    for written in [9, 0] {
        let done = restore(&bench.repo, &point, &target, OntoExisting, silent()).await.unwrap();
        assert_eq!((done.bytes_written, done.xattrs_left), (written, 0));
        assert_eq!(attributes_of(&target), expected);
        same_tree(source, &target);
    }

    must_set(&source.join("plain"), "user.new", b"x");
    let changed = backup(&bench.repo, request(source, "b")).await.unwrap().point;
    let told = diff(&bench.repo, &point, &changed).await.unwrap();
    let told: Vec<_> = told.iter().map(|c| (c.path.to_str().unwrap(), c.change)).collect();
    assert_eq!(told, [("plain", Change::Attributes)]);
}

#[tokio::test]
async fn attributes_beyond_the_room_of_a_segment_come_back() {
    let bench = Bench::with_xattrs().await;
    for number in 0..200 {
        let name = format!("{number}");
        bench.write(&name, b"");
        must_set(&bench.source().join(&name), "user.large", &noise(number, 3_500));
    }
    let point = backup(&bench.repo, request(bench.source(), "a")).await.unwrap().point;
    let target = bench.scratch("target");
    restore(&bench.repo, &point, &target, EmptyTarget, silent()).await.unwrap();
    assert_eq!(attributes_of(&target), attributes_of(bench.source()));
}

/// `a`, `dir/b` and `z` are one file, `one` and `two` another; `alone` has its other name outside.
async fn linked() -> Bench {
    let bench = Bench::with_xattrs().await;
    let source = bench.source();
    bench.write("a", &noise(1, 300_000));
    bench.write("dir/other", b"other");
    bench.write("one", b"one");
    must_set(&source.join("a"), "user.shared", b"x");
    fs::hard_link(source.join("a"), source.join("dir/b")).unwrap();
    fs::hard_link(source.join("a"), source.join("z")).unwrap();
    fs::hard_link(source.join("one"), source.join("two")).unwrap();
    fs::write(bench.scratch("elsewhere"), b"alone").unwrap();
    fs::hard_link(bench.scratch("elsewhere"), source.join("alone")).unwrap();
    bench
}

#[tokio::test]
async fn a_file_of_several_names_is_captured_once_and_has_them_all_again() {
    let bench = linked().await;
    let source = bench.source();
    let point = backup(&bench.repo, request(source, "a")).await.unwrap().point;
    let totals = point.totals;
    assert_eq!((totals.files, totals.links, totals.bytes), (4, 3, 300_000 + 5 + 3 + 5));
    let target = bench.scratch("target");
    let done = restore(&bench.repo, &point, &target, EmptyTarget, silent()).await.unwrap();
    assert_eq!((done.files, done.links, done.bytes), (4, 3, totals.bytes));
    same_tree(source, &target);
    assert_eq!(names_of(&target), names_of(source));
    assert_eq!(attributes_of(&target), attributes_of(source));
    assert_eq!(fs::metadata(target.join("alone")).unwrap().nlink(), 1);
    assert_eq!(compare(&bench.repo, &point, &target, silent()).await.unwrap().differences, []);

    let scratch = bench.scratch("scratch");
    fs::create_dir(&scratch).unwrap();
    let mut handed = Vec::new();
    let mut each = |entry: engine::Exported| {
        if let engine::ExportedContent::Link { to } = entry.content {
            handed.push((entry.path, to, entry.xattrs.len()));
        }
        Ok(())
    };
    export(&bench.repo, &point, &scratch, silent(), &mut each).await.unwrap();
    let links = [("dir/b", "a"), ("two", "one"), ("z", "a")].map(|(path, to)| (path.into(), to.into(), 0));
    assert_eq!(handed, links);

    // Another name that has the same bytes is another file.
    fs::remove_file(target.join("z")).unwrap();
    fs::copy(target.join("a"), target.join("z")).unwrap();
    let seen = compare(&bench.repo, &point, &target, silent()).await.unwrap();
    let told: Vec<_> = seen.differences.iter().map(|d| (d.path.to_str().unwrap(), d.what.as_str())).collect();
    assert_eq!(told, [("z", "it is not the same file as a")]);

    fs::remove_file(source.join("a")).unwrap();
    let changed = backup(&bench.repo, request(source, "b")).await.unwrap().point;
    let told = diff(&bench.repo, &point, &changed).await.unwrap();
    let told: Vec<_> = told.iter().map(|c| (c.path.to_str().unwrap(), c.change)).collect();
    // What was under `a` is under `dir/b` now, and `z` is a further name of that.
    let expected = [("a", Change::Removed), ("dir/b", Change::Modified), ("z", Change::Modified)];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_file_that_changes_between_its_names_leaves_no_point() {
    let bench = linked().await;
    let mut wanted = request(bench.source(), "a");
    // Asked about `dir/other`, which stands between two names of `a`.
    wanted.layout = std::sync::Arc::new(|within, path| {
        if within == Path::new("dir/other") {
            fs::write(path.parent().unwrap().parent().unwrap().join("a"), b"changed").unwrap();
        }
        engine::Layout::Stream
    });
    let refused = backup(&bench.repo, wanted).await.unwrap_err();
    assert!(matches!(&refused, Error::SourceChanged { path, .. } if path == Path::new("z")), "{refused}");
    assert!(bench.repo.points().await.unwrap().points.is_empty());
}

#[tokio::test]
async fn a_restore_onto_names_that_are_linked_otherwise_sets_them_right_and_writes_through_none() {
    let bench = linked().await;
    let point = backup(&bench.repo, request(bench.source(), "a")).await.unwrap().point;
    let whole = bench.scratch("whole");
    restore(&bench.repo, &point, &whole, EmptyTarget, silent()).await.unwrap();
    let (expected, names) = (tree_of(&whole), names_of(&whole));

    type Prepare = fn(&Path, &Path);
    // What is done to a restored target first, `outside` being a directory that must stay as it is then.
    let cases: [(&str, Prepare); 10] = [
        ("nothing", |_, _| {}),
        ("names taken apart", |target, _| {
            for name in ["dir/b", "z", "two"] {
                let bytes = fs::read(target.join(name)).unwrap();
                fs::remove_file(target.join(name)).unwrap();
                fs::write(target.join(name), bytes).unwrap();
            }
        }),
        ("changed under all names", |target, _| fs::write(target.join("z"), b"changed").unwrap()),
        ("joined with another file", |target, _| {
            fs::remove_file(target.join("dir/other")).unwrap();
            fs::hard_link(target.join("z"), target.join("dir/other")).unwrap();
            fs::remove_file(target.join("one")).unwrap();
            fs::hard_link(target.join("a"), target.join("one")).unwrap();
        }),
        ("a foreign name inside", |target, _| {
            fs::hard_link(target.join("a"), target.join("foreign")).unwrap();
            fs::write(target.join("a"), b"changed").unwrap();
        }),
        ("a name outside", |target, outside| {
            fs::write(target.join("a"), b"changed").unwrap();
            fs::hard_link(target.join("a"), outside.join("name")).unwrap();
        }),
        ("a name outside instead of one inside", |target, outside| {
            fs::write(target.join("a"), b"changed").unwrap();
            fs::rename(target.join("dir/b"), outside.join("name")).unwrap();
        }),
        ("the directory of a name leads outside", |target, outside| {
            fs::write(target.join("a"), b"changed").unwrap();
            fs::rename(target.join("dir"), outside.join("dir")).unwrap();
            symlink(outside.join("dir"), target.join("dir")).unwrap();
        }),
        ("other kinds in their places", |target, outside| {
            fs::remove_file(target.join("a")).unwrap();
            fs::create_dir(target.join("a")).unwrap();
            fs::write(target.join("a/deep"), b"x").unwrap();
            fs::remove_file(target.join("z")).unwrap();
            fs::write(outside.join("victim"), b"victim").unwrap();
            symlink(outside.join("victim"), target.join("z")).unwrap();
        }),
        ("names swapped", |target, _| {
            fs::rename(target.join("z"), target.join("kept")).unwrap();
            fs::rename(target.join("two"), target.join("z")).unwrap();
            fs::rename(target.join("kept"), target.join("two")).unwrap();
        }),
    ];
    for (number, (case, prepare)) in cases.into_iter().enumerate() {
        let (target, outside) =
            (bench.scratch(&format!("target{number}")), bench.scratch(&format!("outside{number}")));
        fs::create_dir(&outside).unwrap();
        restore(&bench.repo, &point, &target, EmptyTarget, silent()).await.unwrap();
        prepare(&target, &outside);
        let before = tree_of(&outside);
        let done = restore(&bench.repo, &point, &target, OntoExisting, silent()).await.unwrap();
        assert_eq!(tree_of(&target), expected, "{case}");
        assert_eq!(names_of(&target), names, "{case}");
        assert_eq!(tree_of(&outside), before, "{case}: something outside changed");
        if case == "nothing" || case == "names taken apart" {
            assert_eq!(done.bytes_written, 0, "{case}");
        }
        let again = restore(&bench.repo, &point, &target, OntoExisting, silent()).await.unwrap();
        assert_eq!((again.bytes_written, again.files_unchanged, again.removed), (0, 4, 0), "{case}");
        assert_eq!(compare(&bench.repo, &point, &target, silent()).await.unwrap().differences, [], "{case}");
    }
}

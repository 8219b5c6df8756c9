//! The proof that the format is open: a program in another language, written from FORMAT.md alone, restores what Holdfast
//! captured from a live ChromaDB, byte for byte.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
    time::Duration,
};

use tests::{
    chroma_server::ChromaServer,
    desk::Desk,
    files::{facts, set_attribute},
    shell::{Shell, key},
    writer::{Load, Writer},
};

struct Reader {
    packages: PathBuf,
    repository: String,
}

impl Reader {
    fn new(repository: String) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let asked =
            Command::new(root.join("e2e/cluster/python.sh")).args(["--print-path", "recover"]).output();
        let packages = PathBuf::from(String::from_utf8(asked.unwrap().stdout).unwrap().trim_end());
        assert!(
            packages.is_dir(),
            "its packages are not there. Set them up with: e2e/cluster/python.sh recover"
        );
        Self { packages, repository }
    }

    fn run(&self, password: &str, args: &[&str]) -> Output {
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/recover-without-holdfast.py");
        Command::new("/usr/bin/python3")
            .env("PYTHONPATH", &self.packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("HOLDFAST_PASSWORD", password)
            .arg(script)
            .arg(&self.repository)
            .args(args)
            .output()
            .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_in_another_language_restores_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let shell = Shell { url: format!("file://{}", path("repository")), password: key() };
    shell.done(&["repo", "init"]);
    std::fs::create_dir(path("data")).unwrap();
    let server = ChromaServer::start(Path::new(&path("data"))).await.unwrap();
    // Enough for the vectors to reach their files, and for some of them to change between the points.
    let load = Load { sync_threshold: 40, per_request: 20, ..Load::synthetic(7, 2, 64) };
    let mut writer = Writer::start(Arc::new(server.url().to_owned()), load).await.unwrap();
    let mut points = Vec::new();
    for _ in 0..3 {
        writer.progress(60, Duration::from_secs(90)).await.unwrap();
        let source = path("data");
        let captured = shell.done(&["backup", "--source", &source, "--component", "chromadb"]);
        points.push(captured["point"].as_str().unwrap().to_owned());
    }
    writer.stop().await.unwrap();
    server.stop().unwrap();
    // A password beside the key: both derivations are read.
    let password = path("escrow");
    std::fs::write(&password, "tall ships cross a quiet harbour\n").unwrap();
    shell.done(&["repo", "add-key", "--new-password-file", &password]);

    let reader = Reader::new(path("repository"));
    let listed = String::from_utf8(reader.run(&shell.password, &[]).stdout).unwrap();
    let ids: Vec<&str> = listed.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(ids, points);
    for (number, point) in points.iter().enumerate() {
        let (ours, theirs) = (path(&format!("ours {number}")), path(&format!("theirs {number}")));
        shell.done(&["restore", "--point", point, "--target", &ours]);
        let with = if number == 0 { "tall ships cross a quiet harbour" } else { shell.password.as_str() };
        let read = reader.run(with, &[point, &theirs]);
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        let compared = Command::new("diff").args(["-r", &ours, &theirs]).output().unwrap();
        assert!(compared.status.success(), "{}", String::from_utf8_lossy(&compared.stdout));
    }

    let refused = reader.run("not the key of this repository", &[]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("opens no key slot"));
    // A single flipped bit in a block is found by the seal. In every pack, as not every point needs each of them.
    for shard in std::fs::read_dir(path("repository/packs")).unwrap() {
        for pack in std::fs::read_dir(shard.unwrap().path()).unwrap() {
            let pack = pack.unwrap().path();
            let mut bytes = std::fs::read(&pack).unwrap();
            bytes[40] ^= 1;
            std::fs::write(&pack, bytes).unwrap();
        }
    }
    let refused = reader.run(&shell.password, &[&points[0], &path("damaged")]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("fails authentication"), "{refused:?}");
    assert!(Path::new(&path("damaged")).join(".holdfast-restore-unfinished").exists());
}

#[test]
fn it_brings_back_hard_links_and_extended_attributes() {
    let desk = Desk::new();
    let data = desk.at("data");
    std::fs::create_dir(data.join("dir")).unwrap();
    std::fs::write(data.join("dir/file"), b"content").unwrap();
    std::fs::hard_link(data.join("dir/file"), data.join("another name")).unwrap();
    std::os::unix::fs::symlink("dir/file", data.join("symbolic")).unwrap();
    std::fs::write(data.join("plain"), b"x").unwrap();
    set_attribute(data.join("dir"), "user.of-a-directory", "Größe".as_bytes());
    set_attribute(data.join("dir/file"), "user.binary", &[0, 255, b'\n']);
    set_attribute(data.join("plain"), std::ffi::OsStr::from_bytes(b"user.\xff"), b"");
    // User 1234 may read it: the kernel's own form of an access control list.
    let acl: [(u16, u16, u32); 5] =
        [(1, 6, u32::MAX), (2, 4, 1234), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)];
    let entry = |(tag, may, who): (u16, u16, u32)| {
        [&tag.to_le_bytes()[..], &may.to_le_bytes(), &who.to_le_bytes()].concat()
    };
    let acl: Vec<u8> = 2_u32.to_le_bytes().into_iter().chain(acl.into_iter().flat_map(entry)).collect();
    set_attribute(data.join("plain"), "system.posix_acl_access", &acl);
    let (answer, code) = desk.backup();
    assert_eq!(code, 0, "{answer}");

    let reader = Reader::new(desk.path("repository"));
    let read = reader.run(&desk.shell.password, &[answer["point"].as_str().unwrap(), &desk.path("target")]);
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let said = String::from_utf8(read.stdout).unwrap();
    assert!(said.starts_with("2 files in ") && !said.contains("left out"), "{said}");
    assert_eq!(facts(&desk.at("target")), facts(&data));
}

#[test]
fn it_reads_pages_that_were_rewritten_out_of_one_another() {
    const PAGE: usize = 4096;
    const PIECE: usize = 256;
    let desk = Desk::new();
    std::fs::create_dir(desk.at("data/dir")).unwrap();
    let file = desk.at("data/dir/pages");
    let capture = |pages: &[u8]| {
        std::fs::write(&file, pages).unwrap();
        let (answer, code) = desk.backup();
        assert_eq!(code, 0, "{answer}");
        answer
    };
    // A database by its first page, over two segments; the engine compares its pages.
    let mut pages: Vec<u8> = (0..1200 * PAGE as u64 / 8)
        .flat_map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23).wrapping_mul(n | 1).to_be_bytes())
        .collect();
    pages[..100].fill(0);
    pages[..16].copy_from_slice(b"SQLite format 3\0");
    pages[16..18].copy_from_slice(&4096_u16.to_be_bytes());
    pages[18..24].copy_from_slice(&[1, 1, 0, 64, 32, 32]);
    capture(&pages);
    let before = pages.clone();
    let (from, pieces) = (950 * PAGE, 128 * PAGE / PIECE);
    for piece in 0..pieces {
        let (to, other) = (from + piece * PIECE, from + (piece * 7 + 3) % pieces * PIECE);
        pages[to..to + PIECE].copy_from_slice(&before[other..other + PIECE]);
    }
    let answer = capture(&pages);
    let stored = answer["bytesStored"].as_u64().unwrap();
    assert!(stored < 100_000, "{stored} bytes: the pages were not compressed against one another");

    let reader = Reader::new(desk.path("repository"));
    let read = reader.run(&desk.shell.password, &[answer["point"].as_str().unwrap(), &desk.path("target")]);
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    assert!(std::fs::read(desk.at("target/dir/pages")).unwrap() == pages);
}

/// What a release wrote is read by both, and by both keys, to the same.
#[test]
fn it_reads_the_golden_repositories() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for format in std::fs::read_dir(root.join("engine/tests/golden")).unwrap() {
        let mut desk = Desk::empty();
        let from = format.unwrap().path().join("repository");
        let copied = Command::new("cp").arg("-r").arg(&from).arg(desk.at("repository")).status();
        assert!(copied.unwrap().success());
        // The keys of engine/tests/engine/golden.rs.
        let keys = [format!("hfkey1-{}", "5a".repeat(32)), "tall ships cross a quiet harbour".to_owned()];
        for (number, key) in keys.into_iter().enumerate() {
            desk.shell.password = key;
            let listed = desk.shell.done(&["points"]);
            let points = listed["points"].as_array().unwrap();
            assert!(points.len() > 2, "{listed}");
            for point in points {
                let id = point["point"].as_str().unwrap();
                let (ours, theirs) = (format!("ours {number} {id}"), format!("theirs {number} {id}"));
                desk.shell.done(&["restore", "--point", id, "--target", &desk.path(&ours)]);
                let reader = Reader::new(desk.path("repository"));
                let read = reader.run(&desk.shell.password, &[id, &desk.path(&theirs)]);
                assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
                assert_eq!(facts(&desk.at(&theirs)), facts(&desk.at(&ours)), "{} {id}", from.display());
            }
        }
    }
}

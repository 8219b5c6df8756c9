//! Damage that a server hides, hangs on or dies of, one fault at a time on the files of a real server: the offline check finds
//! what is wrong with the structure, the fingerprints what is wrong with the content, and neither changes a byte.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use chroma::{
    check::{CheckOptions, CheckReport, Problem, check_dir, check_dir_with},
    client::{Auth, Client, Scope},
    files,
    fingerprint::{CollectionFingerprint, Key, of_dir},
    hnsw::Header,
    versions::MigrationLevels,
};
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;
use tests::{chroma_server::ChromaServer, writer::Random};

const DIMENSION: usize = 8;
const STRIDE: u64 = 4 + 4 * 32 + 4 * DIMENSION as u64 + 8;

struct Prepared {
    data: TempDir,
    /// The segment's directory as it was some flushes ago.
    stale: TempDir,
    segment: String,
    fingerprints: Vec<CollectionFingerprint>,
}

/// One small data directory of a real server, with flushed and pending records, shared by all tests of this file.
fn prepared() -> &'static Prepared {
    static PREPARED: OnceLock<Prepared> = OnceLock::new();
    PREPARED.get_or_init(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        std::thread::spawn(move || runtime.block_on(prepare())).join().unwrap()
    })
}

async fn prepare() -> Prepared {
    let (data, stale) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = ChromaServer::start(data.path()).await.unwrap();
    let client = Client::new(server.url(), Auth::None, Duration::from_secs(30)).unwrap();
    let id = server.create("papers", "l2", 100).await.unwrap();
    let collection =
        client.collections(&[Scope::new("default_tenant", "default_database")]).await.unwrap().pop().unwrap();
    let mut random = Random::new(3);
    for (number, from) in (0..640).step_by(40).enumerate() {
        let vectors: Vec<Vec<f32>> =
            (0..40).map(|_| (0..DIMENSION).map(|_| random.unit()).collect()).collect();
        let body = json!({
            "ids": (from..from + 40).map(|n| format!("id-{n}")).collect::<Vec<_>>(),
            "embeddings": vectors,
            "documents": (from..from + 40).map(|n| format!("the document of record {n}")).collect::<Vec<_>>(),
            "metadatas": (from..from + 40).map(|n| json!({"number": n, "text": format!("text {n}")})).collect::<Vec<_>>(),
        });
        server.post(&format!("collections/{id}/add"), &body).await.unwrap();
        // Reading is what makes a 1.x server flush.
        client.count(&collection).await.unwrap();
        if number == 7 {
            copy(&segment_of(data.path()), stale.path());
        }
    }
    let body = json!({"ids": (5..20).map(|n| format!("id-{n}")).collect::<Vec<_>>()});
    server.post(&format!("collections/{id}/delete"), &body).await.unwrap();
    server.stop().unwrap();
    let segment = segment_of(data.path()).file_name().unwrap().to_string_lossy().into_owned();
    let fingerprints = of_dir(data.path(), &key()).unwrap();
    Prepared { data, stale, segment, fingerprints }
}

pub(crate) fn key() -> Key {
    Key::new([3; 32])
}

fn segment_of(data: &Path) -> PathBuf {
    let mut found = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    found.find(|path| path.join(files::PICKLE).exists()).expect("a flushed segment")
}

fn copy(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
    assert!(done.success());
}

/// A copy of the prepared directory that may be damaged.
pub(crate) struct Copy {
    pub(crate) dir: TempDir,
    pub(crate) segment: PathBuf,
}

impl Copy {
    pub(crate) fn new() -> Copy {
        let dir = tempfile::tempdir().unwrap();
        copy(prepared().data.path(), dir.path());
        let segment = dir.path().join(&prepared().segment);
        Copy { dir, segment }
    }

    fn sql(&self, statement: &str) {
        let connection = Connection::open(self.dir.path().join(files::DATABASE)).unwrap();
        connection.pragma_update(None, "foreign_keys", false).unwrap();
        let changed = connection.execute(statement, []).unwrap();
        assert!(changed > 0, "{statement} changed nothing");
    }

    pub(crate) fn flip(&self, file: &str, at: u64, mask: u8) {
        let file = OpenOptions::new().read(true).write(true).open(self.segment.join(file)).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ mask], at).unwrap();
    }

    pub(crate) fn put(&self, file: &str, at: u64, bytes: &[u8]) {
        let file = OpenOptions::new().write(true).open(self.segment.join(file)).unwrap();
        file.write_all_at(bytes, at).unwrap();
    }

    pub(crate) fn cut(&self, path: &Path, by: u64) {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() - by).unwrap();
    }

    pub(crate) fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut dirs = vec![self.dir.path().to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path)
                } else {
                    drop(found.insert(path.clone(), fs::read(path).unwrap()))
                }
            }
        }
        found
    }

    /// Checks, and makes sure that checking changed nothing.
    fn check(&self) -> CheckReport {
        let before = self.contents();
        let report = check_dir(self.dir.path()).unwrap();
        let _ = of_dir(self.dir.path(), &key());
        assert!(before == self.contents(), "the check changed the directory");
        report
    }

    #[track_caller]
    fn must_show(&self, problem: Problem) -> CheckReport {
        let report = self.check();
        let found = report.findings.findings.iter().find(|finding| finding.problem == problem);
        let finding = found.unwrap_or_else(|| panic!("no {problem:?} in {report:#?}"));
        assert!(!finding.file.is_empty() && !finding.what.is_empty() && !finding.remedy.is_empty());
        if finding.file.contains('/') {
            assert!(finding.file.starts_with(&prepared().segment), "{finding:?}");
            assert_eq!(finding.collection.as_deref(), Some("default_tenant/default_database/papers"));
        }
        report
    }

    /// The structure is whole, but the content is another.
    #[track_caller]
    fn must_differ_in_content_only(&self) {
        let report = self.check();
        assert!(report.is_whole(), "{report:#?}");
        let found = of_dir(self.dir.path(), &key()).unwrap();
        assert!(!found[0].same_content(&prepared().fingerprints[0]));
    }
}

pub(crate) fn level0_at(record: u64, offset: u64) -> u64 {
    record * STRIDE + offset
}

#[test]
fn an_undamaged_directory_has_no_findings() {
    let copy = Copy::new();
    let report = copy.check();
    assert!(report.is_whole(), "{report:#?}");
    assert!(report.integrity_checked);
    assert!(report.pending > 0, "the prepared directory has nothing in its log");
    assert_eq!(report.collections, 1);
    let levels = MigrationLevels { embeddings_queue: 2, metadb: 6, sysdb: 10 };
    assert_eq!(report.levels, Some(levels));
    let header = Header::read(&copy.segment.join(files::HEADER)).unwrap();
    assert!(header.max_level > 0, "without upper layers the link lists prove nothing");
    assert_eq!(header.stride, STRIDE);
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<CheckReport>(&text).unwrap(), report);
}

#[test]
fn a_missing_database_is_found_before_a_server_starts_empty_on_it() {
    let copy = Copy::new();
    fs::remove_file(copy.dir.path().join(files::DATABASE)).unwrap();
    copy.must_show(Problem::DatabaseMissing);
}

#[test]
fn a_database_with_bad_magic_or_cut_short_is_found() {
    let copy = Copy::new();
    let db = copy.dir.path().join(files::DATABASE);
    OpenOptions::new().write(true).open(&db).unwrap().write_all_at(b"not SQLite", 0).unwrap();
    copy.must_show(Problem::DatabaseUnreadable);

    let copy = Copy::new();
    copy.cut(&copy.dir.path().join(files::DATABASE), 200 * 1024);
    let report = copy.check();
    assert!(!report.is_whole());
}

#[test]
fn a_damaged_index_of_the_database_is_found() {
    let copy = Copy::new();
    let db = copy.dir.path().join(files::DATABASE);
    let connection = Connection::open(&db).unwrap();
    let root: i64 = connection
        .query_row(
            "SELECT rootpage FROM sqlite_master WHERE name = 'embedding_metadata_string_value'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    drop(connection);
    let file = OpenOptions::new().write(true).open(&db).unwrap();
    file.write_all_at(&[0; 1000], (root as u64 - 1) * 4096 + 3000).unwrap();
    copy.must_show(Problem::IntegrityCheck);
}

#[test]
fn a_full_text_index_that_contradicts_the_documents_is_found() {
    let copy = Copy::new();
    copy.sql("UPDATE embedding_fulltext_search_content SET c0 = 'another text altogether' WHERE id = 100");
    copy.must_show(Problem::FullTextIndex);
}

#[test]
fn a_record_missing_from_the_database_leaves_a_vector_that_is_found_by_its_id() {
    let copy = Copy::new();
    copy.sql("DELETE FROM embeddings WHERE embedding_id = 'id-77'");
    let report = copy.must_show(Problem::IdsDiffer);
    assert!(
        report.findings.findings.iter().any(|finding| finding.id.as_deref() == Some("id-77")),
        "{report:#?}"
    );
}

#[test]
fn a_missing_segment_directory_is_found_although_a_server_would_count_as_if_nothing_were_wrong() {
    let copy = Copy::new();
    fs::remove_dir_all(&copy.segment).unwrap();
    let report = copy.must_show(Problem::IdsDiffer);
    assert!(report.findings.findings[0].what.contains("no vector"), "{report:#?}");
}

#[test]
fn a_segment_directory_of_an_earlier_flush_is_found() {
    let damaged = Copy::new();
    fs::remove_dir_all(&damaged.segment).unwrap();
    fs::create_dir(&damaged.segment).unwrap();
    copy(prepared().stale.path(), &damaged.segment);
    damaged.must_show(Problem::IdsDiffer);
}

#[test]
fn each_missing_file_of_a_segment_is_found() {
    for name in [files::LEVEL0, files::HEADER, files::LENGTHS, files::PICKLE] {
        let copy = Copy::new();
        fs::remove_file(copy.segment.join(name)).unwrap();
        copy.must_show(Problem::SegmentFileMissing);
    }
    let copy = Copy::new();
    fs::remove_file(copy.segment.join(files::LINK_LISTS)).unwrap();
    copy.must_show(Problem::LinkLists);
}

#[test]
fn each_file_of_a_segment_that_was_cut_short_is_found() {
    for (name, problem) in [
        (files::LEVEL0, Problem::FileLength),
        (files::LENGTHS, Problem::FileLength),
        (files::HEADER, Problem::Header),
        (files::LINK_LISTS, Problem::LinkLists),
        (files::PICKLE, Problem::Pickle),
    ] {
        let copy = Copy::new();
        copy.cut(&copy.segment.join(name), 5);
        copy.must_show(problem);
    }
}

#[test]
fn a_link_count_or_a_link_that_would_kill_the_server_is_found_with_its_record() {
    let copy = Copy::new();
    copy.put(files::LEVEL0, level0_at(7, 4), &100_000u32.to_le_bytes());
    let report = copy.must_show(Problem::Link);
    assert_eq!(report.findings.findings[0].record, Some(7));

    let copy = Copy::new();
    copy.put(files::LEVEL0, level0_at(9, 0), &500u16.to_le_bytes());
    let report = copy.must_show(Problem::Link);
    assert_eq!(report.findings.findings[0].record, Some(9));
}

#[test]
fn a_header_that_is_off_by_eight_or_of_an_earlier_flush_is_found() {
    let copy = Copy::new();
    let count = Header::read(&copy.segment.join(files::HEADER)).unwrap().elements;
    copy.put(files::HEADER, 20, &(count - 8).to_le_bytes());
    copy.must_show(Problem::FileLength);

    let copy = Copy::new();
    fs::copy(prepared().stale.path().join(files::HEADER), copy.segment.join(files::HEADER)).unwrap();
    copy.must_show(Problem::FileLength);

    let copy = Copy::new();
    copy.put(files::HEADER, 28, &1u64.to_le_bytes());
    copy.must_show(Problem::Header);
}

#[test]
fn a_pickle_of_an_earlier_flush_or_an_empty_one_is_found() {
    let copy = Copy::new();
    fs::copy(prepared().stale.path().join(files::PICKLE), copy.segment.join(files::PICKLE)).unwrap();
    copy.must_show(Problem::Labels);

    let copy = Copy::new();
    fs::write(copy.segment.join(files::PICKLE), "").unwrap();
    copy.must_show(Problem::Pickle);
}

#[test]
fn a_pickle_that_would_run_code_is_found_and_runs_nothing() {
    let copy = Copy::new();
    let mut pickle =
        OpenOptions::new().write(true).truncate(true).open(copy.segment.join(files::PICKLE)).unwrap();
    pickle.write_all(b"\x80\x02cos\nsystem\n(X\x04\x00\x00\x00truetR.").unwrap();
    let report = copy.must_show(Problem::Pickle);
    assert!(report.findings.findings[0].what.contains("os.system"), "{report:#?}");
}

#[test]
fn vectors_of_zeros_and_a_deleted_flag_that_flipped_are_found() {
    let copy = Copy::new();
    let length = fs::metadata(copy.segment.join(files::LEVEL0)).unwrap().len();
    copy.put(files::LEVEL0, 0, &vec![0; length as usize]);
    copy.must_show(Problem::Labels);

    let copy = Copy::new();
    copy.flip(files::LEVEL0, level0_at(50, 2), 1);
    copy.must_show(Problem::Labels);
}

#[test]
fn what_has_a_whole_structure_but_another_content_shows_in_the_fingerprint() {
    let vector = level0_at(50, 4 + 4 * 32);
    let low_bit = Copy::new();
    low_bit.flip(files::LEVEL0, vector, 1);
    low_bit.must_differ_in_content_only();

    let exponent = Copy::new();
    exponent.flip(files::LEVEL0, vector + 3, 0x20);
    exponent.must_differ_in_content_only();

    let logged = Copy::new();
    logged.sql("UPDATE embeddings_queue SET vector = CAST(x'0000803f' || substr(vector, 5) AS BLOB) WHERE seq_id = (SELECT max(seq_id) FROM embeddings_queue WHERE vector IS NOT NULL)");
    logged.must_differ_in_content_only();

    let text = Copy::new();
    text.sql("UPDATE embedding_metadata SET string_value = 'text 1001' WHERE key = 'text' AND id = 100");
    text.must_differ_in_content_only();

    let kind = Copy::new();
    kind.sql("UPDATE embedding_metadata SET int_value = NULL, float_value = 99.0 WHERE key = 'number' AND id = 100");
    kind.must_differ_in_content_only();
}

#[test]
fn a_directory_that_no_collection_names_is_listed_and_harmless() {
    let copy = Copy::new();
    let orphan = "0a4bd250-72c7-456f-aec9-afb3c46f7008";
    fs::create_dir(copy.dir.path().join(orphan)).unwrap();
    fs::write(copy.dir.path().join(orphan).join(files::LENGTHS), [1; 10]).unwrap();
    let report = copy.check();
    assert!(report.is_whole(), "{report:#?}");
    assert_eq!(report.orphaned_segments, [orphan]);
}

#[test]
fn a_journal_left_by_a_crash_is_rolled_back_in_a_copy_or_only_reported() {
    let copy = Copy::new();
    let crashed = Copy::new();
    let connection = Connection::open(copy.dir.path().join(files::DATABASE)).unwrap();
    // A cache of one page makes SQLite write into the database before it commits, as a big transaction does.
    connection
        .execute_batch("PRAGMA cache_size = 1; BEGIN IMMEDIATE; DELETE FROM embedding_metadata")
        .unwrap();
    let journal = format!("{}-journal", files::DATABASE);
    for name in [files::DATABASE, &journal] {
        fs::copy(copy.dir.path().join(name), crashed.dir.path().join(name)).unwrap();
    }
    crashed.must_show(Problem::JournalLeft);

    let before = crashed.contents();
    let scratch = tempfile::tempdir().unwrap();
    let options = CheckOptions { scratch: Some(scratch.path().to_owned()), ..CheckOptions::default() };
    let report = check_dir_with(crashed.dir.path(), &options).unwrap();
    assert!(report.is_whole() && report.rolled_back, "{report:#?}");
    assert!(before == crashed.contents(), "the evidence was changed");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "the copy is still there");
}

//! What lies beside a repository to save work: a capture reads less by it, stores the same by it, and believes none of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::support::{Bench, noise, password, request, same_tree, tree_of};
use engine::store::{Counting, Traffic};
use engine::{Level, Point, REPLACED, Repository, RestoreMode, backup, restore, silent, verify};

const PAGE: usize = 4096;
const PAGES: usize = 2500;
const STRIDE: usize = 1676;

/// A history in one repository, with a directory beside it or without.
struct History {
    bench: Bench,
    aside: Option<PathBuf>,
    db: Vec<u8>,
    index: Vec<u8>,
    points: Vec<(Point, PathBuf)>,
}

impl History {
    async fn begin(with: bool) -> Self {
        let bench = Bench::new().await;
        let aside = with.then(|| bench.scratch("aside"));
        aside.iter().for_each(|aside| fs::create_dir(aside).unwrap());
        let (db, index) = (noise(1, PAGES * PAGE), noise(2, STRIDE * 6000));
        let mut history = Self { bench, aside, db, index, points: Vec::new() };
        history.capture().await;
        history
    }

    /// Captures what it is now. Returns how many bytes were read from the repository.
    async fn capture(&mut self) -> u64 {
        let before = fs::read(self.bench.source().join("chroma.sqlite3")).unwrap_or_default();
        if let Some(aside) = self.aside.as_ref().filter(|aside| aside.is_dir()) {
            let pages = before.chunks_exact(PAGE).zip(self.db.chunks(PAGE));
            let replaced: Vec<&[u8]> = pages.filter(|(old, new)| old != new).map(|(old, _)| old).collect();
            fs::write(aside.join(REPLACED), replaced.concat()).unwrap();
        }
        self.capture_by_what_lies_there().await
    }

    async fn capture_by_what_lies_there(&mut self) -> u64 {
        self.bench.write("chroma.sqlite3", &self.db);
        self.bench.write("segment/data_level0.bin", &self.index);
        let traffic = Arc::new(Traffic::default());
        let store = Arc::new(Counting::new(self.bench.store(), Arc::clone(&traffic)));
        let repo = Repository::open(store, &password()).await.unwrap();
        let number = self.points.len();
        let mut request = request(self.bench.source(), &number.to_string());
        request.aside = self.aside.clone();
        let point = backup(&repo, request).await.unwrap().point;
        let kept = self.bench.scratch(&format!("kept {number}"));
        let done =
            std::process::Command::new("cp").arg("-a").arg(self.bench.source()).arg(&kept).status().unwrap();
        assert!(done.success());
        self.points.push((point, kept));
        traffic.tally().bytes_received
    }

    /// A few bytes of pages here and there, some of them again and again, and of an index that grows.
    fn change(&mut self, generation: usize) {
        let pages = self.db.len() / PAGE;
        for number in 0..40 {
            let page = if number % 2 == 0 { number * 61 } else { (number * 37 + generation * 411) % pages };
            let at = page * PAGE + generation * 70;
            self.db[at..at + 50].copy_from_slice(&noise((generation * 100 + number) as u64, 50));
        }
        // What shares nothing with what stood there, and what is shorter than it was.
        let page = generation * 97 * PAGE;
        self.db[page..page + PAGE].copy_from_slice(&noise(generation as u64 + 7, PAGE));
        match generation {
            3 => self.db.truncate(PAGES * PAGE - 30 * PAGE - 100),
            5 => self.db.extend(noise(5, 60 * PAGE)),
            _ => {}
        }
        self.index[generation * 300 * STRIDE + 20] ^= 1;
        self.index.extend(noise(generation as u64, 40 * STRIDE));
    }

    async fn all_come_back(&self) {
        for (point, kept) in &self.points {
            let target = self.bench.scratch("target");
            restore(&self.bench.repo, point, &target, RestoreMode::EmptyTarget, silent()).await.unwrap();
            same_tree(kept, &target);
            fs::remove_dir_all(target).unwrap();
            assert!(verify(&self.bench.repo, point, Level::Full, silent()).await.unwrap().passed());
        }
    }

    fn last_stored(&self) -> u64 {
        self.points.last().unwrap().0.totals.bytes_stored
    }
}

#[tokio::test]
async fn with_it_the_same_is_stored_and_a_tenth_is_read() {
    let (mut with, mut without) = (History::begin(true).await, History::begin(false).await);
    for generation in 1..=7 {
        with.change(generation);
        without.change(generation);
        let (read, read_without) = (with.capture().await, without.capture().await);
        alike(&with, &without);
        // Frames of the index are read either way.
        let index = 2 << 20;
        assert!(read < index && read_without > 3 * index, "{generation}: {read} of {read_without}");
    }
    with.all_come_back().await;
    without.all_come_back().await;
}

/// Ids are random, and compress as they like.
fn alike(with: &History, without: &History) {
    let (with, without) = (with.last_stored(), without.last_stored());
    assert!(with.abs_diff(without) < 500, "{with} bytes were stored, and {without} without anything aside");
}

/// Every file of a directory as this makes it.
fn spoil(dir: &Path, by: impl Fn(Vec<u8>) -> Vec<u8>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        fs::write(&path, by(fs::read(&path).unwrap())).unwrap();
    }
}

#[tokio::test]
async fn i7_whatever_lies_there_the_capture_is_of_the_source() {
    let (mut with, mut without) = (History::begin(true).await, History::begin(false).await);
    let aside = with.aside.clone().unwrap();
    let mut earlier: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    for generation in 1..=7 {
        with.change(generation);
        without.change(generation);
        match generation {
            2 => spoil(&aside, |bytes| noise(3, bytes.len())),
            3 => spoil(&aside, |bytes| bytes[..bytes.len() * 3 / 5].to_vec()),
            // Of another version, which was as good.
            4 => earlier = tree_of(&aside).into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect(),
            5 => earlier.iter().for_each(|(name, bytes)| fs::write(aside.join(name), bytes).unwrap()),
            6 => {
                fs::remove_dir_all(&aside).unwrap();
                fs::write(&aside, "no directory").unwrap();
            }
            _ => {}
        }
        with.capture_by_what_lies_there().await;
        without.capture().await;
        alike(&with, &without);
    }
    with.all_come_back().await;
}

#[tokio::test]
async fn what_the_repository_lost_is_stored_anew_although_nothing_changed() {
    let mut history = History::begin(true).await;
    history.capture().await;
    let packs = history.bench.store_path().join("packs");
    let largest = tree_of(&packs).into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    fs::remove_file(packs.join(largest.0)).unwrap();
    history.capture().await;
    assert!(history.last_stored() > 5 << 20, "{}", history.last_stored());
    history.points.drain(..2);
    history.all_come_back().await;
}

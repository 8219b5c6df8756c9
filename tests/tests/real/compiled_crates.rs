//! Compiled crates in the cache: a fresh clone compiles its own crates only, always its own, and everything when the cache can't
//! be trusted. With the real cargo, on a workspace with one crate of its own and two of others.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What `make test` has compiled, in small.
const COMPILED: &str = "test --workspace --no-run --offline";

/// A cache, and clones beside it.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A fresh clone whose program says `word`.
    fn cloned(&self, name: &str, word: &str) -> Clone<'_> {
        let dir = self.0.path().join(name);
        let manifest = |text: &str| format!("[package]\nname = \"ours\"\nedition = \"2024\"\n{text}");
        fs::create_dir_all(dir.join("ours/src")).unwrap();
        fs::write(dir.join("Cargo.toml"), "[workspace]\nresolver = \"3\"\nmembers = [\"ours\"]\n").unwrap();
        // One of plain code, one with a build script: both are in this workspace's lock file, hence on this machine.
        fs::write(dir.join("ours/Cargo.toml"), manifest("[dependencies]\nhex = \"0.4\"\nlibc = \"0.2\"\n"))
            .unwrap();
        let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock");
        fs::copy(lock, dir.join("Cargo.lock")).unwrap();
        let program =
            format!("fn main() {{ println!(\"{word} {{}}\", hex::encode([libc::EPERM as u8])) }}\n");
        fs::write(dir.join("ours/src/main.rs"), program).unwrap();
        Clone { bench: self, dir }
    }

    fn archives(&self) -> Vec<PathBuf> {
        let Ok(found) = fs::read_dir(self.0.path().join("cache/crates")) else { return vec![] };
        found.map(|entry| entry.unwrap().path()).collect()
    }
}

struct Clone<'a> {
    bench: &'a Bench,
    dir: PathBuf,
}

impl Clone<'_> {
    fn command(&self, program: &str, args: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.args(args).current_dir(&self.dir).env("HOLDFAST_CACHE", self.bench.0.path().join("cache"));
        for inherited in ["CARGO_TARGET_DIR", "RUSTFLAGS", "CARGO_MANIFEST_DIR"] {
            command.env_remove(inherited);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {args:?}: {said}");
        output
    }

    fn crates(&self, args: &[&str]) {
        self.command(concat!(env!("CARGO_MANIFEST_DIR"), "/../e2e/cluster/crates.sh"), args);
    }

    /// Compiles what is to be; returns what had to be compiled.
    fn build(&self) -> Vec<String> {
        let mut args: Vec<&str> = COMPILED.split(' ').collect();
        args.push("--verbose");
        let said = self.command("cargo", &args).stderr;
        let said = String::from_utf8(said).unwrap();
        let compiled = said.lines().filter_map(|line| line.trim().strip_prefix("Compiling "));
        compiled.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    }

    fn says(&self) -> String {
        let said = self.command("cargo", &["run", "--quiet", "--offline"]).stdout;
        String::from_utf8(said).unwrap().trim().to_owned()
    }

    fn has(&self, path: &str) -> bool {
        self.dir.join(path).exists()
    }
}

fn listed(archive: &Path) -> Vec<String> {
    let output = Command::new("tar").args(["--list", "--zstd", "--file"]).arg(archive).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_fresh_clone_compiles_its_own_crates_and_no_others() {
    let bench = Bench::new();
    let first = bench.cloned("first", "first");
    first.crates(&["restore"]);
    assert!(!first.has("target/debug"), "there is nothing to take");
    assert!(first.build().contains(&"libc".to_owned()));
    assert_eq!(first.says(), "first 01");
    first.crates(&["save", COMPILED]);

    let archives = bench.archives();
    let names = listed(&archives[0]);
    let of = |name: &str| names.iter().filter(|path| path.contains(name)).count();
    assert!(of("/.fingerprint/hex-") > 0 && of("/deps/libhex-") > 0 && of("/build/libc-") > 0, "{names:?}");
    assert_eq!(of("ours"), 0, "a crate of a workspace is in the cache: {names:?}");

    // Another text under the same names, and older than what the first clone made.
    let second = bench.cloned("second", "second");
    let source = File::options().write(true).open(second.dir.join("ours/src/main.rs")).unwrap();
    source.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    second.crates(&["restore"]);
    assert_eq!(second.build(), ["ours"]);
    assert_eq!(second.says(), "second 01");

    // What is there already is never touched, nor is what the cache has written anew.
    fs::remove_dir_all(second.dir.join("target/debug/deps")).unwrap();
    second.crates(&["restore"]);
    assert!(!second.has("target/debug/deps"));
    let before = fs::metadata(&archives[0]).unwrap().modified().unwrap();
    first.crates(&["save", COMPILED]);
    assert_eq!(fs::metadata(&archives[0]).unwrap().modified().unwrap(), before);
}

#[test]
fn other_manifests_take_what_fits_and_only_the_newest_archives_stay() {
    let bench = Bench::new();
    let first = bench.cloned("first", "first");
    first.build();
    first.crates(&["save", COMPILED]);
    for (n, name) in ["second", "third", "fourth"].into_iter().enumerate() {
        let clone = bench.cloned(name, name);
        let manifest = clone.dir.join("Cargo.toml");
        fs::write(&manifest, fs::read_to_string(&manifest).unwrap() + &"\n".repeat(n + 1)).unwrap();
        clone.crates(&["restore"]);
        assert_eq!(clone.build(), ["ours"]);
        clone.crates(&["save", COMPILED]);
        assert_eq!(bench.archives().len(), 2);
    }
}

#[test]
fn a_damaged_archive_goes_and_everything_is_compiled() {
    let bench = Bench::new();
    let first = bench.cloned("first", "first");
    first.build();
    for damage in ["in its middle", "cut off"] {
        first.crates(&["save", COMPILED]);
        let archive = bench.archives().pop().unwrap();
        let length = fs::metadata(&archive).unwrap().len();
        let file = File::options().write(true).open(&archive).unwrap();
        match damage {
            "cut off" => file.set_len(length / 2).unwrap(),
            _ => file.write_all_at(&[0x5a; 64], length / 2).unwrap(),
        }
        let clone = bench.cloned("second", "second");
        clone.crates(&["restore"]);
        assert!(!clone.has("target/debug"), "{damage}");
        assert!(bench.archives().is_empty(), "{damage}");
    }
    assert!(bench.cloned("second", "second").build().contains(&"libc".to_owned()));
}

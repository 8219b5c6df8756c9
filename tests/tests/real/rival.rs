//! A second process that tries the write lock of a database all the time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use jiff::Timestamp;

/// A rival process that tries the write lock every 200 µs, and what came of it.
pub(crate) struct Rival {
    child: Child,
    tries: Arc<(Mutex<Tries>, Condvar)>,
    reader: thread::JoinHandle<()>,
}

/// When it tried.
#[derive(Default, Debug)]
pub(crate) struct Tries {
    pub(crate) busy: Vec<i128>,
    pub(crate) got: Vec<(i128, i128)>,
}

impl Rival {
    pub(crate) fn start(data: &Path) -> Rival {
        let mut child = Command::new(env!("CARGO_BIN_EXE_lock_process"))
            .arg("contend")
            .arg(data.join("chroma.sqlite3"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let tries = Arc::new((Mutex::new(Tries::default()), Condvar::new()));
        let told = tries.clone();
        let reader = thread::spawn(move || {
            for line in output.lines() {
                let line = line.unwrap();
                let words: Vec<&str> = line.split(' ').collect();
                let mut tries = told.0.lock().unwrap();
                match words.as_slice() {
                    ["ready"] => {}
                    ["busy", at] => tries.busy.push(at.parse().unwrap()),
                    ["got", before, after] => {
                        tries.got.push((before.parse().unwrap(), after.parse().unwrap()));
                    }
                    _ => panic!("the rival said {line:?}"),
                }
                told.1.notify_all();
            }
        });
        let rival = Rival { child, tries, reader };
        rival.tries_more(1);
        rival
    }

    /// Returns after `more` further tries, however busy the machine is.
    pub(crate) fn tries_more(&self, more: usize) {
        let count = |tries: &Tries| tries.busy.len() + tries.got.len();
        let tries = self.tries.0.lock().unwrap();
        let goal = count(&tries) + more;
        let patience = Duration::from_secs(8);
        let waited = self.tries.1.wait_timeout_while(tries, patience, |tries| count(tries) < goal).unwrap();
        assert!(!waited.1.timed_out(), "the rival does not try");
    }

    pub(crate) fn stop(mut self) -> Tries {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
        self.reader.join().unwrap();
        std::mem::take(&mut *self.tries.0.lock().unwrap())
    }
}

impl Tries {
    /// How often it failed, and how often it had the lock, between two instants.
    pub(crate) fn within(&self, from: Timestamp, to: Timestamp) -> (usize, usize) {
        let (from, to) = (from.as_nanosecond(), to.as_nanosecond());
        let failed = self.busy.iter().filter(|at| (from..to).contains(at)).count();
        let succeeded = self.got.iter().filter(|(before, after)| *before > from && *after < to).count();
        (failed, succeeded)
    }
}

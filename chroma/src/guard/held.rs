//! The parent's side of the lock: start the process that holds it, hear that it has it, and ask for its release.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use jiff::Timestamp;

use super::{error::GuardError, hold::LockRequest};

/// How much longer than its own bounds the child may take to answer before it is given up and killed.
const GRACE: Duration = Duration::from_secs(10);

/// The program that calls [`super::hold_lock`]. The request's arguments are put after `args`.
#[derive(Debug, Clone)]
pub struct LockCommand {
    /// The program, usually this one's own path.
    pub program: PathBuf,
    /// Arguments that lead it there, such as a hidden subcommand.
    pub args: Vec<OsString>,
}

/// The write lock, held by a child process. Dropped without [`HeldLock::release`], the child is killed, which releases it.
#[derive(Debug)]
pub struct HeldLock {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    locked_at: Timestamp,
}

/// A hold that lasted until it was asked to end.
#[derive(Debug, Clone, Copy)]
pub struct Released {
    /// The lock was held from here, by the child's clock.
    pub locked_at: Timestamp,
    /// To here.
    pub released_at: Timestamp,
    /// The time between, by a clock that never jumps.
    pub held: Duration,
}

impl HeldLock {
    /// Starts the child and returns once it has the lock.
    pub fn acquire(command: &LockCommand, request: &LockRequest) -> Result<HeldLock, GuardError> {
        let mut child = Command::new(&command.program)
            .args(&command.args)
            .args(request.to_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|source| process(format!("{} does not start: {source}", command.program.display())))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("stdout was asked to be a pipe");
        let (tell, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        let mut lock = HeldLock { child, stdin, lines, locked_at: Timestamp::UNIX_EPOCH };
        let line = lock.hear(request.wait + GRACE)?;
        if let Some(why) = line.strip_prefix("failed ") {
            return Err(GuardError::LockUnavailable {
                db: request.db.clone(),
                waited: request.wait,
                why: why.to_owned(),
            });
        }
        lock.locked_at = line
            .strip_prefix("locked ")
            .and_then(|time| time.parse().ok())
            .ok_or_else(|| process(format!("it said {line:?} instead of the time of the lock")))?;
        Ok(lock)
    }

    /// When the child got the lock.
    pub fn locked_at(&self) -> Timestamp {
        self.locked_at
    }

    /// The id of the process that holds the lock.
    pub fn holder(&self) -> u32 {
        self.child.id()
    }

    /// Ends the hold. An error means that the lock was not held to the end: what was read under it cannot be trusted.
    pub fn release(mut self) -> Result<Released, GuardError> {
        if let Some(mut stdin) = self.stdin.take() {
            // A child that is gone already shows below, by what it said or did not say.
            let _ = stdin.write_all(b"release\n");
        }
        let line = self.hear(GRACE)?;
        let mut words = line.split_ascii_whitespace();
        let said = (words.next(), words.next(), words.next(), words.next());
        let (Some("released"), Some(time), Some(millis), Some(why)) = said else {
            return Err(process(format!("it said {line:?} instead of how the lock ended")));
        };
        if why != "asked" {
            return Err(process(format!("it gave up the lock by itself ({why})")));
        }
        let (Ok(released_at), Ok(millis)) = (time.parse(), millis.parse()) else {
            return Err(process(format!("it said {line:?} instead of how the lock ended")));
        };
        Ok(Released { locked_at: self.locked_at, released_at, held: Duration::from_millis(millis) })
    }

    fn hear(&mut self, patience: Duration) -> Result<String, GuardError> {
        self.lines.recv_timeout(patience).map_err(|silence| match silence {
            RecvTimeoutError::Timeout => process(format!("it said nothing for {patience:?}")),
            RecvTimeoutError::Disconnected => process("it ended without a word".to_owned()),
        })
    }
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn process(why: String) -> GuardError {
    GuardError::LockProcess { why }
}

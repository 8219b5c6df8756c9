//! Processes that tests of the capture lock need: the one that holds it, one that holds it wrongly, a rival, and a parent to be
//! killed. Locks belong to processes, so threads of a test can't play these parts.

use std::{
    env,
    ffi::OsString,
    fs::File,
    io::{self, BufWriter, Read, Write},
    path::PathBuf,
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use chroma::guard::{HeldLock, LockCommand, LockRequest, hold_lock};
use jiff::Timestamp;

fn main() -> ExitCode {
    let mut args = env::args_os().skip(1);
    let mode = args.next().unwrap_or_default();
    match run(&mode.to_string_lossy(), args.collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(mode: &str, args: Vec<OsString>) -> Result<()> {
    match mode {
        "hold" => hold(args, io::stdout()),
        "hold-and-close-a-descriptor" => {
            let db = PathBuf::from(args.first().context("a database")?);
            hold(args, ClosesADescriptor { db, inner: io::stdout() })
        }
        "pretend" => pretend(),
        "contend" => contend(&PathBuf::from(args.first().context("a database")?)),
        "parent" => be_a_parent(args),
        other => bail!("no such mode: {other}"),
    }
}

#[allow(clippy::disallowed_methods, reason = "this is a program's main; the lock's times are real ones")]
fn now() -> Timestamp {
    Timestamp::now()
}

fn hold(args: Vec<OsString>, output: impl Write) -> Result<()> {
    let request = LockRequest::from_args(args).context("a database, a wait and a deadline")?;
    hold_lock(&request, now, io::stdin(), output)?;
    Ok(())
}

/// The mistake that the product must not make: the holder opens, reads and closes the database once it has the lock.
struct ClosesADescriptor<W> {
    db: PathBuf,
    inner: W,
}

impl<W: Write> Write for ClosesADescriptor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.starts_with(b"locked") {
            let mut first = [0; 100];
            File::open(&self.db)?.read_exact(&mut first)?;
        }
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Says that it holds a lock and holds none, as on a filesystem whose locks don't reach the server.
fn pretend() -> Result<()> {
    println!("locked {}", now());
    let _ = io::stdin().read(&mut [0; 1])?;
    println!("released {} 0 asked", now());
    Ok(())
}

/// Tries the write lock without patience until its input ends, and prints each try: `busy T` or `got BEFORE AFTER`, in
/// nanoseconds. Gives a lock that it got back at once.
fn contend(db: &PathBuf) -> Result<()> {
    let (tell, told) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let _ = io::stdin().read(&mut [0; 1]);
        let _ = tell.send(());
    });
    let connection = rusqlite::Connection::open_with_flags(db, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(Duration::ZERO)?;
    let mut output = BufWriter::new(io::stdout());
    writeln!(output, "ready")?;
    output.flush()?;
    while told.recv_timeout(Duration::from_micros(200)).is_err() {
        let before = now().as_nanosecond();
        match connection.execute_batch("BEGIN IMMEDIATE") {
            Ok(()) => {
                let after = now().as_nanosecond();
                connection.execute_batch("ROLLBACK")?;
                writeln!(output, "got {before} {after}")?;
                output.flush()?;
            }
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {
                writeln!(output, "busy {before}")?;
                output.flush()?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Holds a lock by a child, as a capture does, says so and waits to be killed.
fn be_a_parent(args: Vec<OsString>) -> Result<()> {
    let request = LockRequest::from_args(args).context("a database, a wait and a deadline")?;
    let command = LockCommand { program: env::current_exe()?, args: vec!["hold".into()] };
    let lock = HeldLock::acquire(&command, &request)?;
    println!("holding {}", lock.holder());
    loop {
        thread::park();
    }
}

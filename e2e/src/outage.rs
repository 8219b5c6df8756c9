//! A daemon of the local cluster that stops answering: it is frozen, so that whoever talks to it hangs, which is worse than being refused.
//! It goes on as it was when this is dropped; a cluster that is taken down meanwhile is killed, frozen or not.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::place::Place;

/// The API server.
pub const API_SERVER: &str = "kube-apiserver";
/// The S3 server.
pub const S3_SERVER: &str = "seaweedfs";

/// A frozen daemon.
pub struct Frozen(Pid);

impl Frozen {
    /// Freezes the daemon that the local cluster's scripts have recorded under `name`.
    pub fn daemon(place: &Place, name: &str) -> Result<Self> {
        let run = place.daemons.as_ref().context("this needs the local cluster, whose daemons are ours")?;
        let record = run.join(format!("{name}.pid"));
        let text =
            fs::read_to_string(&record).with_context(|| format!("{} can't be read", record.display()))?;
        let (pid, started) =
            text.trim().split_once(' ').with_context(|| format!("{text:?} names no process"))?;
        // The start time tells it from a later process with the same number.
        if started_at(pid)? != started {
            bail!("{name} has ended: process {pid} is another one");
        }
        let pid = pid.parse().ok().and_then(Pid::from_raw).with_context(|| format!("{pid} is no process"))?;
        kill_process(pid, Signal::STOP)?;
        Ok(Self(pid))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Err(error) = kill_process(self.0, Signal::CONT) {
            eprintln!("e2e: process {:?} stays frozen: {error}", self.0);
        }
    }
}

/// The twenty-second field of `/proc/PID/stat`: the name before may contain blanks.
fn started_at(pid: &str) -> Result<String> {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat"))?;
    let after_name = stat.rsplit_once(')').context("no name in stat")?.1;
    Ok(after_name.split_whitespace().nth(19).context("no start time in stat")?.to_owned())
}

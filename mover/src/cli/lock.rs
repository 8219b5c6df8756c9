//! `--lock` and `--lock-for`: what a capture needs is kept by the bucket's Object Lock. Each capture says it for itself; what
//! an earlier one asked for stays as it is.

use crds::job::FailureReason;
use engine::store::{Lock, LockMode};
use jiff::SignedDuration;

use super::prune::days;
use crate::environment::Environment;
use crate::failure::{Failure, Result};

#[derive(Debug, clap::Args)]
pub struct LockArgs {
    /// Keep all that the point needs from being deleted, by the Object Lock of the bucket; takes --lock-for
    #[arg(long, value_enum, value_name = "MODE", requires = "lock_for")]
    lock: Option<Mode>,
    /// For how long, from the capture on, such as 720h or 30d; takes --lock
    #[arg(long, value_name = "DURATION", value_parser = days, requires = "lock")]
    lock_for: Option<SignedDuration>,
}

/// Who may lift the lock.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Mode {
    /// Those who have s3:BypassGovernanceRetention
    Governance,
    /// Nobody, and it can't be taken back
    Compliance,
}

impl LockArgs {
    /// The lock that was asked for, from now on.
    pub fn lock(&self, environment: &Environment) -> Result<Option<Lock>> {
        let (Some(mode), Some(retain_for)) = (self.lock, self.lock_for) else { return Ok(None) };
        let mode = match mode {
            Mode::Governance => LockMode::Governance,
            Mode::Compliance => LockMode::Compliance,
        };
        let lock = Lock::new(mode, retain_for, (environment.clock)());
        lock.map(Some).map_err(|why| Failure::new(FailureReason::InvalidRequest, why))
    }
}

//! Where tests kill the controller: at named marks instead of after a sleep.

/// Dies here when the environment says so: `HOLDFAST_FAILPOINT=before:DeleteClaims,after:CreateJob/Restore`, one mark or more.
/// For the tests that kill the controller at a named mark instead of after a sleep; does nothing unless the variable is set.
#[allow(clippy::disallowed_methods, reason = "the one switch of the fail points, read where they are")]
pub(crate) fn fail_point(side: &str, mark: Option<&str>) {
    let Some(mark) = mark else { return };
    let here = format!("{side}:{mark}");
    if std::env::var("HOLDFAST_FAILPOINT").is_ok_and(|wanted| wanted.split(',').any(|one| one == here)) {
        tracing::error!("fail point {side}:{mark}: exiting with 137 as HOLDFAST_FAILPOINT asks");
        std::process::exit(137);
    }
}

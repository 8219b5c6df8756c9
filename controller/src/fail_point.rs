//! Where tests kill the controller: at named marks, or around every write, instead of after a sleep.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Names the marks: `before:DeleteClaims,after:CreateJob/Restore`, one or more, or `every`.
const MARKS: &str = "HOLDFAST_FAILPOINT";
/// In front of which marks a controller of `every` has died since the last write.
const DIED: &str = "HOLDFAST_FAILPOINT_DIED";

/// Dies here when the environment says so; does nothing unless it does. At named marks the process exits. With `every` it dies once in front of each
/// write and once after each, by becoming a new process of the same program: everything that it knew is gone, in the middle of whatever its other
/// threads did, and the kubelet, which would wait longer and longer before it starts a container again, sees nothing of it.
#[allow(clippy::disallowed_methods, reason = "the one switch of the fail points, read where they are")]
pub(crate) fn fail_point(side: &str, mark: Option<&str>) {
    let Some(mark) = mark else { return };
    let here = format!("{side}:{mark}");
    let Ok(wanted) = std::env::var(MARKS) else { return };
    if wanted.split(',').any(|one| one == here) {
        tracing::error!("fail point {side}:{mark}: exiting with 137 as HOLDFAST_FAILPOINT asks");
        std::process::exit(137);
    }
    if wanted == "every"
        && let Some(died) = dies(&std::env::var(DIED).unwrap_or_default(), &here)
    {
        tracing::error!("fail point {side}:{mark}: starting anew as HOLDFAST_FAILPOINT asks");
        let failed = Command::new("/proc/self/exe").args(std::env::args_os().skip(1)).env(DIED, died).exec();
        tracing::error!("can't start anew: {failed}");
        std::process::exit(137);
    }
}

/// Whether a controller that has died in front of the marks `died` dies here too: then what the next one is told.
fn dies(died: &str, here: &str) -> Option<String> {
    let known = died.split(',').filter(|mark| !mark.is_empty());
    match here.starts_with("before:") {
        true if known.clone().any(|mark| mark == here) => None,
        true => Some(known.chain([here]).collect::<Vec<_>>().join(",")),
        false => Some(String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::dies;

    #[test]
    fn around_every_write_it_dies_once_before_and_once_after() {
        let first = dies("", "before:Scale").unwrap();
        assert_eq!(dies(&first, "before:Scale"), None, "it would never write");
        // One effect within another.
        let inner = dies(&first, "before:CreateJob/Restore").unwrap();
        assert_eq!((dies(&inner, "before:Scale"), dies(&inner, "before:CreateJob/Restore")), (None, None));
        let after = dies(&inner, "after:CreateJob/Restore").unwrap();
        assert_eq!(after, "");
        assert!(dies(&after, "before:Scale").is_some(), "the next write is another one");
    }
}

//! Where a Job's volumes and Secrets are mounted: the paths of the contract, below another root in tests.

use std::path::{Component, Path, PathBuf};

use crds::job::{self, FailureReason};

use crate::failure::Failure;

/// The directories of a Job.
#[derive(Debug, Clone)]
pub struct Places {
    root: PathBuf,
}

impl Places {
    /// The contract's paths, below `root` when there is one.
    pub fn below(root: Option<PathBuf>) -> Self {
        Self { root: root.unwrap_or_else(|| PathBuf::from("/")) }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The file with the repository's key.
    pub fn key(&self) -> PathBuf {
        self.at(job::KEY_DIR).join(job::KEY_FILE)
    }

    /// The file with the escrow key.
    pub fn escrow(&self) -> PathBuf {
        self.at(job::ESCROW_DIR).join(job::KEY_FILE)
    }

    /// The file with the store's certificate authorities.
    pub fn ca(&self) -> PathBuf {
        self.at(job::CA_DIR).join(job::CA_FILE)
    }

    /// The directory of a repository on a volume. A directory of its own: what a volume has at its root, such as `lost+found`, is not ours.
    pub fn repository(&self) -> PathBuf {
        self.at(job::REPOSITORY_DIR).join("holdfast")
    }

    /// The volume of a claim to read.
    pub fn source(&self, claim: &str) -> Result<PathBuf, Failure> {
        Ok(self.at(job::SOURCE_DIR).join(named(claim)?))
    }

    /// The clone of a claim's snapshot.
    pub fn clone_of(&self, claim: &str) -> Result<PathBuf, Failure> {
        Ok(self.at(job::TREE_VOLUMES).join(named(claim)?))
    }

    /// What a capture stores: the clones and the objects beside them.
    pub fn tree(&self) -> PathBuf {
        self.at(job::TREE_VOLUMES).parent().map(Path::to_owned).unwrap_or_default()
    }

    /// Token and certificate authority of the pod's service account.
    pub fn service_account(&self) -> (PathBuf, PathBuf) {
        let dir = self.at("/var/run/secrets/kubernetes.io/serviceaccount");
        (dir.join("token"), dir.join("ca.crt"))
    }

    /// ConfigMaps and Secrets to capture.
    pub fn objects(&self) -> PathBuf {
        self.at(job::OBJECTS_DIR)
    }

    /// A value of a Secret that is mounted; none where the Secret does not exist, or has no such key.
    pub fn mounted(&self, secret: &str, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        let path = self.objects().join("Secret").join(named(secret)?).join(named(key)?);
        match std::fs::read(&path) {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::unexpected(format!("can't read {}", path.display()), &error)),
        }
    }

    /// What an earlier container of the pod left for an emergency capture.
    pub fn evidence(&self) -> PathBuf {
        self.at(job::EVIDENCE_DIR)
    }

    /// The volume to write for a claim, or the one that was written.
    pub fn target(&self, claim: &str) -> Result<PathBuf, Failure> {
        Ok(self.at(job::TARGET_DIR).join(named(claim)?))
    }

    /// Where objects lie between the container that reads them and the one that creates them.
    pub fn recreate(&self) -> PathBuf {
        self.at(job::RECREATE_DIR)
    }

    /// Scratch space.
    pub fn scratch(&self) -> PathBuf {
        self.at(job::SCRATCH_DIR)
    }
}

/// A name, which leads nowhere else.
fn named(claim: &str) -> Result<&str, Failure> {
    let plain = Path::new(claim).components().eq([Component::Normal(claim.as_ref())]);
    plain
        .then_some(claim)
        .ok_or_else(|| Failure::new(FailureReason::InvalidRequest, format!("`{claim}` is no name")))
}

/// The data directory within a mount. A path that leads out of the mount is refused.
pub fn data_dir(mount: &Path, data_path: &str) -> Result<PathBuf, Failure> {
    let inside = Path::new(data_path).components().all(|part| matches!(part, Component::Normal(_)));
    if !inside {
        return Err(Failure::new(
            FailureReason::InvalidRequest,
            format!(
                "the data path \"{data_path}\" must be a path below the mount, without a leading slash, `.` or `..`"
            ),
        ));
    }
    Ok(if data_path.is_empty() { mount.to_owned() } else { mount.join(data_path) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_path_stays_within_its_mount() {
        let mount = Path::new("/mount");
        assert_eq!(data_dir(mount, "").unwrap(), Path::new("/mount"));
        assert_eq!(data_dir(mount, "chroma/data").unwrap(), Path::new("/mount/chroma/data"));
        for path in ["/etc", "..", "a/../../b", "./a"] {
            assert!(data_dir(mount, path).is_err(), "{path}");
        }
    }

    #[test]
    fn the_contracts_paths_can_be_put_below_another_root() {
        assert_eq!(Places::below(None).key(), Path::new("/var/run/holdfast/key/password"));
        let test = Places::below(Some("/tmp/x".into()));
        assert_eq!(test.source("data").unwrap(), Path::new("/tmp/x/var/run/holdfast/source/data"));
        for claim in ["", ".", "..", "a/b", "/a", "a/"] {
            assert!(test.source(claim).is_err() && test.target(claim).is_err(), "{claim}");
        }
    }
}

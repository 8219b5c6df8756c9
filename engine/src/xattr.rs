//! Extended attributes: read at a capture, brought to their state at a restore. Kept is what was given to the file itself;
//! what the node's policy or the file system says about it is neither captured nor touched.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{self, XattrFlags};
use rustix::io::Errno;

/// The largest list of names, and the largest value, that Linux hands out.
const LARGEST: usize = 64 << 10;

/// An extended attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xattr {
    /// Its whole name, such as `user.comment`.
    pub name: OsString,
    /// Its value.
    pub value: Vec<u8>,
}

/// What has attributes: something open, or a path of which the last part isn't followed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bearer<'a> {
    Open(&'a File),
    Path(&'a Path),
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// By name.
    pub(crate) xattrs: Vec<Xattr>,
    /// Names of those that are there and can't be read.
    pub(crate) unreadable: Vec<OsString>,
}

/// What could not be given to an entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// Entries whose owner could not be set.
    pub(crate) owners: u64,
    /// Attributes that could not be set or removed.
    pub(crate) xattrs: u64,
    /// The first of them, and why.
    pub(crate) first_xattr: Option<String>,
}

impl Left {
    pub(crate) fn add(&mut self, other: Self) {
        self.owners += other.owners;
        self.xattrs += other.xattrs;
        self.first_xattr = self.first_xattr.take().or(other.first_xattr);
    }
}

/// Whether points keep an extended attribute of this name: whether it is the file's own: `user.*`, `trusted.*`, POSIX ACLs, and of `security.*` what goes with the bytes,
/// such as capabilities. Labels of SELinux and SMACK belong to the policy of the node and to the pod that mounts the volume
/// (an old one would lock the new pod out), `security.evm` to the inode; all else is how the file system presents itself.
pub fn is_kept(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let begins = |with: &str| name.starts_with(with.as_bytes()) && name.len() > with.len();
    let label = name == b"security.selinux" || name == b"security.evm" || begins("security.SMACK64");
    let acl = name == b"system.posix_acl_access" || name == b"system.posix_acl_default";
    let smack = name == b"security.SMACK64";
    acl || begins("user.") || begins("trusted.") || (begins("security.") && !label && !smack)
}

impl Bearer<'_> {
    /// Its own attributes.
    pub(crate) fn read(self) -> io::Result<Read> {
        let mut read = Read::default();
        let names = self.names()?;
        let mut value = vec![0; if names.is_empty() { 0 } else { LARGEST }];
        for name in names {
            match self.get(&name, &mut value) {
                Ok(length) => read.xattrs.push(Xattr { name, value: value[..length].to_vec() }),
                // It went meanwhile; whether that matters, the file's times say.
                Err(Errno::NODATA) => {}
                Err(_) => read.unreadable.push(name),
            }
        }
        Ok(read)
    }

    /// Makes its own attributes these, and leaves alone what is right. What the permissions or the file system don't allow
    /// is counted; `shown` is its path for that.
    pub(crate) fn bring(self, wanted: &[Xattr], shown: &Path) -> io::Result<Left> {
        let mut left = Left::default();
        let there = self.names()?;
        let mut note = |done: Result<(), Errno>, name: &OsStr| match done {
            Ok(()) | Err(Errno::NODATA) => Ok(()),
            Err(e) if is_limit(e) => {
                left.xattrs += 1;
                let why = io::Error::from(e);
                left.first_xattr.get_or_insert_with(|| {
                    format!("{} of {}: {why}", name.to_string_lossy(), shown.display())
                });
                Ok(())
            }
            Err(e) => Err(io::Error::from(e)),
        };
        for name in there.iter().filter(|name| wanted.iter().all(|xattr| xattr.name != **name)) {
            note(self.remove(name), name)?;
        }
        let mut value = vec![0; if there.is_empty() { 0 } else { LARGEST }];
        for xattr in wanted {
            let is_right = there.contains(&xattr.name)
                && self.get(&xattr.name, &mut value).is_ok_and(|length| value[..length] == xattr.value[..]);
            if !is_right {
                note(self.set(xattr), &xattr.name)?;
            }
        }
        Ok(left)
    }

    fn names(self) -> io::Result<Vec<OsString>> {
        let length = match self {
            Self::Open(file) => fs::flistxattr_query(file),
            Self::Path(path) => fs::llistxattr_query(path),
        };
        match length {
            Ok(0) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(e) => return Err(e.into()),
        }
        let mut list = vec![0; LARGEST];
        let length = match self {
            Self::Open(file) => fs::flistxattr(file, &mut list[..]),
            Self::Path(path) => fs::llistxattr(path, &mut list[..]),
        }?;
        let own = list[..length].split(|byte| *byte == 0).map(OsStr::from_bytes).filter(|name| is_kept(name));
        let mut names: Vec<OsString> = own.map(OsStr::to_owned).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn get(self, name: &OsStr, value: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(file) => fs::fgetxattr(file, name, value),
            Self::Path(path) => fs::lgetxattr(path, name, value),
        }
    }

    fn set(self, Xattr { name, value }: &Xattr) -> Result<(), Errno> {
        match self {
            Self::Open(file) => fs::fsetxattr(file, name, value, XattrFlags::empty()),
            Self::Path(path) => fs::lsetxattr(path, name, value, XattrFlags::empty()),
        }
    }

    fn remove(self, name: &OsStr) -> Result<(), Errno> {
        match self {
            Self::Open(file) => fs::fremovexattr(file, name),
            Self::Path(path) => fs::lremovexattr(path, name),
        }
    }
}

/// Whether it failed for lack of permission, or because the file system has no such attributes, or no room for these.
fn is_limit(error: Errno) -> bool {
    const LIMITS: [Errno; 7] = [
        Errno::PERM,
        Errno::ACCESS,
        Errno::OPNOTSUPP,
        Errno::NOSPC,
        Errno::TOOBIG,
        Errno::RANGE,
        Errno::INVAL,
    ];
    LIMITS.contains(&error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_to_the_file_is_its_own_and_what_the_node_says_about_it_is_not() {
        for own in [
            "user.comment",
            "trusted.x",
            "security.capability",
            "security.ima",
            "system.posix_acl_access",
            "system.posix_acl_default",
        ] {
            assert!(is_kept(own.as_ref()), "{own}");
        }
        for other in [
            "security.selinux",
            "security.SMACK64",
            "security.SMACK64EXEC",
            "security.evm",
            "system.nfs4_acl",
            "lustre.lov",
            "btrfs.compression",
            "user.",
            "",
        ] {
            assert!(!is_kept(other.as_ref()), "{other}");
        }
    }

    #[test]
    fn attributes_become_the_wanted_ones_and_what_cannot_be_set_is_counted_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = File::create(&path).unwrap();
        let xattr = |name: &str, value: &[u8]| Xattr { name: name.into(), value: value.to_vec() };
        let first = [xattr("user.a", b"\x00\xff"), xattr("user.b", b""), xattr("user.c", b"stays")];
        let left = Bearer::Open(&file).bring(&first, Path::new("f")).unwrap();
        assert_eq!(left, Left::default(), "the file system of {} takes no user attributes", path.display());
        assert_eq!(Bearer::Path(&path).read().unwrap().xattrs, first);
        let second = [xattr("user.b", b"new"), xattr("user.c", b"stays")];
        assert_eq!(Bearer::Path(&path).bring(&second, Path::new("f")).unwrap(), Left::default());
        assert_eq!(Bearer::Open(&file).read().unwrap().xattrs, second);

        let impossible = [xattr("nobody.knows", b"x"), xattr("user.c", b"stays")];
        let left = Bearer::Open(&file).bring(&impossible, Path::new("f")).unwrap();
        assert_eq!(left.xattrs, 1);
        assert!(left.first_xattr.unwrap().starts_with("nobody.knows of f: "));
        assert_eq!(Bearer::Open(&file).read().unwrap().xattrs, [xattr("user.c", b"stays")]);
    }
}

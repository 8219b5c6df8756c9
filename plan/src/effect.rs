//! What a plan may ask for, in words that know no client: mover Jobs, events, and when to look again. It refuses to
//! know how any of it is carried out; the controller's `job`, `events` and `controllers` do that.

use std::collections::BTreeMap;

use crds::Span;
use crds::condition;
use crds::job::{Report, Request};
use crds::reference::NameRef;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Affinity, SELinuxOptions, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::backup::objects::Wanted;

/// When the object is looked at again, besides whenever something that it depends on changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Only when something changes.
    OnChange,
    /// At this instant at the latest.
    At(Timestamp),
}

impl Next {
    /// The earlier of both.
    #[must_use]
    pub fn or_at(self, time: Timestamp) -> Self {
        match self {
            Self::OnChange => Self::At(time),
            Self::At(other) => Self::At(other.min(time)),
        }
    }

    /// The earlier of both.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match other {
            Self::OnChange => self,
            Self::At(time) => self.or_at(time),
        }
    }
}

/// Something to tell the user once, when it happens. Never an instruction to another part of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whether somebody should look.
    pub kind: EventKind,
    /// A reason of a condition, or a step with Done or Failed.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

impl Event {
    /// Nothing to worry about.
    pub fn normal(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: EventKind::Normal, reason: reason.into(), message: message.into() }
    }

    /// Somebody should look.
    pub fn warning(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: EventKind::Warning, reason: reason.into(), message: message.into() }
    }
}

/// Severity of an [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Nothing to worry about.
    Normal,
    /// Somebody should look.
    Warning,
}

/// A mover Job as the plan sees it: what it does, on what, where and as whom.
#[derive(Clone, Debug, PartialEq)]
pub struct MoverJob {
    /// From [`crds::names::job`], so that asking twice makes one Job.
    pub name: String,
    /// Labels of Job and pod, besides the controller's own.
    pub labels: BTreeMap<String, String>,
    /// What to do.
    pub request: Request,
    /// What to do before, one after the other, each in a container of its own with the same volumes.
    pub before: Vec<Request>,
    /// Secrets of the repository; absent for a request that needs none.
    pub keys: Option<RepositoryKeys>,
    /// Volumes to read, each in a directory of this name: that of the claim that is meant, which a clone may stand in for.
    pub sources: BTreeMap<String, Volume>,
    /// Objects that are read and handed over when it is made, and those that are mounted below `/var/run/holdfast/objects`.
    pub objects: Option<Box<Wanted>>,
    /// Volumes to restore to or to check, each in a directory of the name of the claim that it is for.
    pub targets: BTreeMap<String, Volume>,
    /// Where it runs.
    pub place: Place,
    /// As whom it runs.
    pub identity: Identity,
    /// The ServiceAccount whose token it gets; absent: no token.
    pub service_account: Option<Account>,
    /// How long it may take from its creation, waiting for its pod included.
    pub deadline: Span,
    /// The sandbox that it runs in, and goes with; absent: the namespace of its owner.
    pub namespace: Option<String>,
}

/// A ServiceAccount of one policy, which goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name, and that of the RoleBinding.
    pub name: String,
    /// The ClusterRole that it is bound to in its namespace, and nothing else.
    pub role: &'static str,
    /// For how long.
    pub bound: Bound,
}

/// For how long an account has its rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// As long as its policy or run exists; what it does when, an admission policy says.
    WithItsOwner,
    /// As long as the Job exists that it was made for: nobody else can say when it may read.
    WithItsJob,
}

impl MoverJob {
    /// All that it does, in this order.
    pub fn requests(&self) -> impl Iterator<Item = &Request> {
        self.before.iter().chain([&self.request])
    }

    /// A Job that has nothing but its request: no label, key, volume or token, anywhere, as nobody.
    pub(crate) fn bare(name: String, request: Request, deadline: Span) -> Self {
        Self {
            name,
            labels: BTreeMap::new(),
            request,
            before: Vec::new(),
            keys: None,
            sources: BTreeMap::new(),
            objects: None,
            targets: BTreeMap::new(),
            place: Place::default(),
            identity: Identity::default(),
            service_account: None,
            deadline,
            namespace: None,
        }
    }
}

/// Names of the Secrets and the ConfigMap that open a repository; all in the namespace of the Job. The controller never
/// reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryKeys {
    /// Secret with `AWS_ACCESS_KEY_ID` and so on; a volume has none.
    pub credentials: Option<NameRef>,
    /// Secret with the key.
    pub key: NameRef,
    /// Secret with the second key.
    pub escrow: Option<NameRef>,
    /// ConfigMap with certificate authorities.
    pub ca: Option<NameRef>,
}

impl RepositoryKeys {
    /// The Secrets: what opens the repository is not locked up in it.
    pub fn secrets(&self) -> impl Iterator<Item = &NameRef> {
        [self.credentials.as_ref(), Some(&self.key), self.escrow.as_ref()].into_iter().flatten()
    }
}

/// A claim to mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Name of the claim.
    pub claim: String,
    /// Mounted read-only.
    pub read_only: bool,
}

/// Where a mover runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Place {
    /// On this node, by affinity and not by `nodeName`: the scheduler still checks that the volume can be there.
    pub node: Option<String>,
    /// The workload's node selector, where no node is given.
    pub node_selector: BTreeMap<String, String>,
    /// The workload's affinity, where no node is given. Only its node affinity is taken.
    pub affinity: Option<Affinity>,
    /// The workload's tolerations.
    pub tolerations: Vec<Toleration>,
}

/// As whom a mover runs. The default is an unprivileged user that owns nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    /// User id; absent: the mover image's own, which is not root.
    pub uid: Option<i64>,
    /// Group id.
    pub gid: Option<i64>,
    /// Further groups, the workload's `fsGroup` among them. A mover never sets `fsGroup` itself: it would re-own the
    /// workload's files.
    pub groups: Vec<i64>,
    /// SELinux level of the workload's files.
    pub selinux: Option<SELinuxOptions>,
}

/// What is told of a mover that reports something else than it was asked.
pub(crate) const OTHER_ANSWER: &str = "the mover answered another question than it was asked: controller and mover image are of different versions; install them from one chart";

/// What is known of a mover Job.
#[derive(Clone, Debug, PartialEq)]
pub enum JobState {
    /// No such Job.
    Absent,
    /// It has not ended.
    Running {
        /// Why its pod does not run, when the cluster says so (an image that can't be pulled, no node, a missing volume).
        waiting: Option<String>,
    },
    /// It ended, and this is what it said.
    Ended(Report),
    /// It ended without a readable Report: nothing is known about its result.
    Silent {
        /// Why, as far as the cluster says: evicted, out of memory, past its deadline.
        why: String,
    },
}

/// One event for each condition of `kinds` whose status or reason changed: Normal when it is True now, else Warning.
/// A condition that is only Unknown yet is not worth an event.
#[must_use]
pub fn transitions(before: &[Condition], after: &[Condition], kinds: &[&str]) -> Vec<Event> {
    kinds
        .iter()
        .filter_map(|kind| {
            let now = condition::get(after, kind)?;
            let same = condition::get(before, kind)
                .is_some_and(|old| old.status == now.status && old.reason == now.reason);
            match now.status.as_str() {
                _ if same => None,
                "True" => Some(Event::normal(&now.reason, &now.message)),
                "False" => Some(Event::warning(&now.reason, &now.message)),
                _ => None,
            }
        })
        .collect()
}

/// `name` as a label value: itself when it fits into 63 characters, else shortened with a hash.
#[must_use]
pub fn label_value(name: &str) -> String {
    if name.len() <= 63 {
        return name.to_owned();
    }
    let kept = name.get(..54).unwrap_or(name).trim_end_matches(['-', '.']);
    format!("{kept}-{}", crds::names::short_hash(&[name]))
}

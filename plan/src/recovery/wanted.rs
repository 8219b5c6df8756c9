//! What a mover Job of a step does, on what, where and as whom.

use std::collections::BTreeMap;

use crds::job::Request;

use super::steps::Kind;
use crate::backup::objects::Wanted as Objects;
use crate::effect::{Account, Identity, Place, RepositoryKeys, Volume};

/// A Job of a step, but for its name, which follows from the attempt.
pub(crate) struct Wanted {
    pub(crate) kind: Kind,
    pub(crate) policy: String,
    pub(crate) request: Request,
    pub(crate) before: Vec<Request>,
    pub(crate) account: Option<Account>,
    pub(crate) keys: Option<RepositoryKeys>,
    pub(crate) sources: BTreeMap<String, Volume>,
    pub(crate) objects: Option<Box<Objects>>,
    pub(crate) targets: BTreeMap<String, Volume>,
    pub(crate) place: Place,
    pub(crate) identity: Identity,
    /// The sandbox that it runs in; absent: the run's namespace.
    pub(crate) namespace: Option<String>,
}

impl Wanted {
    /// A Job that does this, anywhere and as anybody, without token, keys and volumes.
    pub(crate) fn bare(kind: Kind, policy: String, request: Request) -> Self {
        Self {
            kind,
            policy,
            request,
            before: Vec::new(),
            account: None,
            keys: None,
            sources: BTreeMap::new(),
            objects: None,
            targets: BTreeMap::new(),
            place: Place::default(),
            identity: Identity::default(),
            namespace: None,
        }
    }
}

//! Files of records and pages: a file falls into segments, a segment into units that are compared with the version
//! before. What changed is stored as its difference to the last whole version, in frames, or compressed against what is
//! stored whole, in patches; maps say where.

pub(crate) mod frame;
pub(crate) mod geometry;
pub(crate) mod map;
pub(crate) mod patches;
pub(crate) mod read;
pub(crate) mod reference;
pub(crate) mod state;
pub(crate) mod versions;

pub(crate) use geometry::{Geometry, Section, Unit};
pub(crate) use patches::Gathering;
pub(crate) use read::{Framed, Patched, Places, Segmented, Wish, whole};
pub(crate) use state::{Holder, Located, Spot, State, Stored};

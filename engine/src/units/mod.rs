//! Files of records and pages: a file falls into segments, a segment into units that are compared with the version
//! before. What changed is stored as its difference to the last whole version, in frames; maps say where.

pub(crate) mod frame;
pub(crate) mod geometry;
pub(crate) mod map;
pub(crate) mod read;
pub(crate) mod state;

pub(crate) use geometry::{Geometry, Section, Unit};
pub(crate) use read::{Places, Segmented};
pub(crate) use state::{Located, Spot, State};

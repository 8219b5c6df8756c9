//! The binary files of a vector segment as hnswlib writes them. Reads them in bounded memory and believes nothing: a
//! number out of range is an answer, not a crash.

mod header;
mod level0;
mod links;

pub use header::Header;
pub use level0::{Element, Elements, LabelIndex};
pub use links::{LinkListsFault, walk_link_lists};

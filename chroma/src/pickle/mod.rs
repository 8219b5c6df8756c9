//! `index_metadata.pickle`: which id has which label. A reader for exactly the pickles that Chroma writes (a plain dict in
//! 1.x, an object of one class in 0.x), which streams and executes nothing: any other class or call is an error.

mod ids;
mod machine;

pub(crate) use ids::pick_ids;
pub use ids::{IdMap, PickleNumbers};
pub use machine::{Entry, PickleError, Scalar, read};

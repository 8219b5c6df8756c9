//! What a mover says that has verified points.

use serde::{Deserialize, Serialize};

use super::MAX_VERIFIED;
use super::message::cut;

/// Result of [`Request::VerifyPoints`](super::Request::VerifyPoints).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PointsVerified {
    /// Those that were looked at, in the order of the request.
    pub points: Vec<PointVerified>,
    /// Why it did not go on to the end, where something other than the time was the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PointVerified {
    /// Its id.
    pub point: String,
    /// It is what was captured.
    pub passed: bool,
    /// Otherwise what is wrong, in a line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub found: String,
}

impl PointsVerified {
    /// Cuts lists and texts to what the largest report has room for.
    pub(super) fn bound(&mut self) {
        self.points.truncate(MAX_VERIFIED);
        for point in &mut self.points {
            cut(&mut point.point, 40);
            cut(&mut point.found, 120);
        }
        if let Some(why) = &mut self.stopped {
            cut(why, 320);
        }
    }
}

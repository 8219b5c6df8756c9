//! What points there are, for a cluster that does not know them.

use crds::job::{Catalogued, CataloguedPoint, Report, RepositoryAccess};

use super::Desk;
use crate::body::Body;
use crate::failure::Result;
use crate::holds::Holds;
use crate::report;
use crate::trust::Trust;

/// More than this never fit one Report.
const MOST: usize = 32;

pub(super) async fn catalogue(desk: &Desk, access: &RepositoryAccess, known: &[String]) -> Result<Report> {
    let repository = desk.open(access).await?;
    let holds = Holds::of(&repository).await?;
    let trust = Trust::of(&repository).await?;
    let verified = crate::verified::all(&repository).await?;
    let mut points = repository.points().await?.points;
    points.retain(|point| !known.contains(&point.id.to_string()));
    points.sort_by_key(|point| std::cmp::Reverse((point.attributes.consistency_time, point.id)));
    // What was not captured for a policy, and what can't be named as one, is nothing that a run could restore.
    let listed = points.iter().filter_map(|point| {
        let policy = point.attributes.component.clone();
        let image = Body::of(point).ok()?.chroma.map(|chroma| chroma.image).unwrap_or_default();
        match report::captured(point) {
            Ok(Report::Captured(captured) | Report::Preserved(captured)) if is_name(&policy) => {
                let hold = holds.reason(&point.id).map(str::to_owned);
                let trust = trust.mark(&point.id);
                let verification = verified.get(&point.id.to_string()).cloned().flatten();
                Some(CataloguedPoint { policy, image, hold, trust, verification, captured: *captured })
            }
            _ => None,
        }
    });
    let mut listed: Vec<CataloguedPoint> = listed.take(MOST + 1).collect();
    let more = listed.len() > MOST;
    listed.truncate(MOST);
    desk.telling.say(format!("{} points that are not known", listed.len()));
    Ok(Report::Catalogued(Catalogued { points: listed, more }))
}

/// Whether Kubernetes takes it for the name of an object.
fn is_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let outer = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 200 && name.chars().all(inner) && name.starts_with(outer) && name.ends_with(outer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_objects_are_names_of_policies() {
        for good in ["chromadb", "a", "a-1.b", &"x".repeat(200)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "Chroma", "-a", "a-", "a_b", "a/b", ".", &"x".repeat(201)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}

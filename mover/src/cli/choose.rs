//! Which point is meant by `latest`, `asof:TIME` or an id. `latest` and `asof` pass over points whose content was damaged
//! when it was captured, and over emergency captures; such a point can be asked for by its id only.

use crds::job::FailureReason;
use engine::{Point, PointId, Repository};
use jiff::Timestamp;

use crate::body::Body;
use crate::failure::{Failure, Result, sentence};

/// A point as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The newest that is healthy.
    Latest,
    /// The newest that is healthy and not newer than this.
    AsOf(Timestamp),
    /// This one.
    Id(PointId),
}

impl std::str::FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        if let Some(time) = text.strip_prefix("asof:") {
            let time = time
                .parse()
                .map_err(|e| format!("{time} is no RFC 3339 time such as 2026-11-23T09:00:00Z: {e}"))?;
            return Ok(Self::AsOf(time));
        }
        text.parse()
            .map(Self::Id)
            .map_err(|_| format!("`{text}` is neither latest, nor asof:TIME, nor a point id"))
    }
}

/// Which point a command is about.
#[derive(Debug, clap::Args)]
pub struct PointArgs {
    /// latest, asof:2026-11-23T09:00:00Z, or a point id; latest and asof pass over points with damage and emergency captures
    #[arg(long, value_name = "POINT")]
    point: Choice,
    /// Only points of this component, for latest and asof
    #[arg(long, value_name = "NAME")]
    component: Option<String>,
}

impl PointArgs {
    /// Finds the point.
    pub async fn choose(&self, repository: &Repository) -> Result<Point> {
        choose(repository, &self.point, self.component.as_deref()).await
    }
}

/// Finds the point.
pub async fn choose(repository: &Repository, choice: &Choice, component: Option<&str>) -> Result<Point> {
    let until = match choice {
        Choice::Id(id) => {
            return repository.point(*id).await.map_err(|e| Failure::from(e).while_reading_a_point());
        }
        Choice::Latest => None,
        Choice::AsOf(time) => Some(*time),
    };
    let catalogue = repository.points().await?;
    for (object, what) in &catalogue.unreadable {
        tracing::warn!("{object} can't be read and is passed over: {what}");
    }
    let mut points = catalogue.points;
    points.retain(|p| component.is_none_or(|c| p.attributes.component == c));
    let mut components: Vec<&str> = points.iter().map(|p| p.attributes.component.as_str()).collect();
    components.sort_unstable();
    components.dedup();
    if components.len() > 1 {
        let why = format!(
            "the repository holds several components ({}); add --component NAME",
            components.join(", ")
        );
        return Err(Failure::new(FailureReason::InvalidRequest, why));
    }
    newest_healthy(points, until).ok_or_else(|| {
        let when = until.map_or_else(String::new, |time| format!(" of {time} or before"));
        let why = format!("{} holds no healthy point{when}; see holdfast points", repository.place());
        Failure::new(FailureReason::PointNotFound, why)
    })
}

/// The newest healthy one. `points` are in order of their consistency times.
fn newest_healthy(points: Vec<Point>, until: Option<Timestamp>) -> Option<Point> {
    points.into_iter().rev().filter(|p| until.is_none_or(|time| p.attributes.consistency_time <= time)).find(
        |p| match Body::of(p) {
            Ok(body) if body.is_good() => true,
            Ok(body) if body.emergency.is_some() => {
                tracing::warn!("point {} is passed over: it is an emergency capture", p.id);
                false
            }
            Ok(_) => {
                tracing::warn!("point {} is passed over: its content was damaged when it was captured", p.id);
                false
            }
            Err(e) => {
                tracing::warn!("point {} is passed over: {}", p.id, sentence(&e));
                false
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_asked_for_by_word_time_or_id() {
        assert_eq!("latest".parse(), Ok(Choice::Latest));
        assert_eq!(
            "asof:2026-11-23T09:00:00Z".parse(),
            Ok(Choice::AsOf("2026-11-23T09:00:00Z".parse().unwrap()))
        );
        assert!(matches!("0123456789abcdef0123456789abcdef".parse(), Ok(Choice::Id(_))));
        for wrong in ["newest", "asof:yesterday", "0123"] {
            assert!(wrong.parse::<Choice>().is_err(), "{wrong}");
        }
    }
}

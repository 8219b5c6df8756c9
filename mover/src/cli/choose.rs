//! Which point is meant by `latest`, `asof:TIME`, `stored-before:TIME` or an id. All but the id pass over points whose content was damaged
//! when it was captured and over emergency captures, which can be asked for by their ids only, and over points that are quarantined.

use crds::job::FailureReason;
use engine::{Point, PointId, Repository};
use jiff::Timestamp;

use crate::body::Body;
use crate::failure::{Failure, Result, sentence};
use crate::trust::Trust;

/// A point as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The newest that is healthy.
    Latest,
    /// The newest that is healthy and not newer than this.
    AsOf(Timestamp),
    /// The newest that is healthy and that the store received before this, by its own clock.
    StoredBefore(Timestamp),
    /// This one.
    Id(PointId),
}

impl std::str::FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let time = |time: &str| {
            time.parse().map_err(|e| format!("{time} is no RFC 3339 time such as 2026-11-23T09:00:00Z: {e}"))
        };
        if let Some(text) = text.strip_prefix("asof:") {
            return Ok(Self::AsOf(time(text)?));
        }
        if let Some(text) = text.strip_prefix("stored-before:") {
            return Ok(Self::StoredBefore(time(text)?));
        }
        text.parse().map(Self::Id).map_err(|_| {
            format!("`{text}` is neither latest, nor asof:TIME, nor stored-before:TIME, nor a point id")
        })
    }
}

/// Which point a command is about.
#[derive(Debug, clap::Args)]
pub struct PointArgs {
    /// latest, asof:2026-11-23T09:00:00Z, stored-before:2026-11-23T09:00:00Z (by the store's clock), or a point id; all but an id pass
    /// over points with damage, points in quarantine and emergency captures
    #[arg(long, value_name = "POINT")]
    point: Choice,
    /// Only points of this component, for all but an id
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
    if let Choice::Id(id) = choice {
        return repository.point(*id).await.map_err(|e| Failure::from(e).while_reading_a_point());
    }
    let trust = Trust::of(repository).await?;
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
    newest_healthy(points, choice, &trust).ok_or_else(|| {
        let when = match choice {
            Choice::AsOf(time) => format!(" of {time} or before"),
            Choice::StoredBefore(time) => format!(" that it received before {time}"),
            Choice::Latest | Choice::Id(_) => String::new(),
        };
        let why = format!("{} holds no healthy point{when}; see holdfast points", repository.place());
        Failure::new(FailureReason::PointNotFound, why)
    })
}

/// The newest healthy one that is meant, and not quarantined. `points` are in order of their consistency times.
fn newest_healthy(mut points: Vec<Point>, choice: &Choice, trust: &Trust) -> Option<Point> {
    match choice {
        Choice::AsOf(time) => points.retain(|p| p.attributes.consistency_time <= *time),
        Choice::StoredBefore(time) => {
            // A store may tell seconds alone: what came in the second of this time may be from after it.
            points.retain(|p| p.stored_at.is_some_and(|stored| stored.as_second() < time.as_second()));
            points.sort_by_key(|p| (p.stored_at, p.attributes.consistency_time));
        }
        Choice::Latest | Choice::Id(_) => {}
    }
    points.into_iter().rev().find(|p| {
        if let Some(mark) = trust.quarantine(&p.id) {
            tracing::warn!(
                "point {} is passed over: it is Quarantined ({}, by {})",
                p.id,
                mark.reason.as_str(),
                mark.by
            );
            return false;
        }
        match Body::of(p) {
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
        }
    })
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

//! Reads the objects of a point and leaves them for the next container of the pod, which has a token and no key. The run is marked in the
//! repository first, as before a restore: what was carried out once creates nothing again.

use std::fs;

use crds::job::{Report, RepositoryAccess, RunMark};

use super::recreate::{Bundle, FILE};
use super::{Desk, restore};
use crate::access;
use crate::body::Body;
use crate::failure::Result;
use crate::recorded;
use crate::trust::Trust;
use crate::void::Void;

pub(super) async fn extract(
    desk: &Desk,
    access: &RepositoryAccess,
    point: &str,
    run: &RunMark,
) -> Result<Report> {
    let repository = desk.open(access).await?;
    let point = access::point(&repository, point).await?;
    Trust::of(&repository).await?.restorable(&point.id)?;
    let body = Body::of(&point)?;
    restore::mark(&repository, run, access.read_only).await?;
    let to = desk.places.recreate();
    desk.telling.say(format!("read the objects of point {}", point.id));
    for missing in &body.objects_missing {
        tracing::warn!("{missing} belongs to the component and was missing or empty when it was captured");
    }
    // One that was captured by hand holds none: whether that will do is not judged here.
    let objects = match body.objects {
        0 => Vec::new(),
        _ => recorded::read(&repository, &point, &to).await?,
    };
    let count = objects.len() as u64;
    let marks = Void::of(&repository).await?;
    let void = objects.iter().flat_map(|object| marks.in_it(object));
    let void = void.map(|(of, by)| (of, by.to_owned())).collect();
    let bundle =
        serde_json::to_vec(&Bundle { volumes: body.volumes, objects, void }).expect("a bundle is JSON");
    let file = to.join(FILE);
    fs::write(&file, bundle).map_err(|e| crate::capture::unwritable(&file, &e))?;
    Ok(Report::Extracted { objects: count })
}

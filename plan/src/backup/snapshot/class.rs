//! Which VolumeSnapshotClass cuts the volumes of a component.

use super::Problem;

/// A VolumeSnapshotClass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// The CSI driver that it is of.
    pub driver: String,
    /// It is the default one of that driver.
    pub default: bool,
    /// What it cut goes with the VolumeSnapshot.
    pub deletes: bool,
}

/// The volume of a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeSeen {
    /// Its CSI driver; absent for a volume of another kind.
    pub driver: Option<String>,
    /// Storage class of the claim.
    pub storage_class: Option<String>,
    /// Its size, a quantity.
    pub size: Option<String>,
}

fn problem(reason: &'static str, message: String) -> Problem {
    Problem { reason, message }
}

/// Chooses the class: the one that is named, else the default one of the volumes' driver, else its only one.
///
/// # Errors
/// When the cluster has no snapshots, a volume can't be snapshotted, or no class or several fit. A class whose snapshots outlive
/// their objects fits nobody: every capture would leave one behind.
pub(super) fn choose<'a>(
    classes: Option<&[Class]>,
    wanted: Option<&str>,
    volumes: impl Iterator<Item = (&'a str, Option<&'a VolumeSeen>)>,
) -> Result<String, Problem> {
    let Some(classes) = classes else {
        return Err(problem(
            "SnapshotsNotInstalled",
            "this cluster has no VolumeSnapshots (snapshot.storage.k8s.io/v1): install the CRDs and the controller of external-snapshotter, or use another capture method".to_owned(),
        ));
    };
    let driver = driver_of(volumes)?;
    if let Some(wanted) = wanted {
        return named(classes, wanted, driver);
    }
    let fitting: Vec<&Class> =
        classes.iter().filter(|class| class.driver == driver && class.deletes).collect();
    let defaults: Vec<&Class> = fitting.iter().filter(|class| class.default).copied().collect();
    match (defaults.as_slice(), fitting.as_slice()) {
        ([only], _) | ([], [only]) => Ok(only.name.clone()),
        ([], []) => Err(problem(
            "SnapshotClassNotFound",
            format!(
                "no VolumeSnapshotClass of CSI driver {driver} has deletionPolicy: Delete; create one, or use another capture method"
            ),
        )),
        ([], several) | (several, _) => Err(problem(
            "SnapshotClassAmbiguous",
            format!(
                "VolumeSnapshotClasses {} are of CSI driver {driver}; name one: spec.capture.snapshot.volumeSnapshotClassName",
                list(several.iter().copied())
            ),
        )),
    }
}

fn driver_of<'a>(
    volumes: impl Iterator<Item = (&'a str, Option<&'a VolumeSeen>)>,
) -> Result<&'a str, Problem> {
    let mut found: Option<(&str, &str)> = None;
    for (claim, volume) in volumes {
        let Some(driver) = volume.and_then(|volume| volume.driver.as_deref()) else {
            return Err(problem(
                "SnapshotUnsupported",
                format!(
                    "the volume of claim {claim} is of no CSI driver, so no snapshot of it can be cut; use another capture method"
                ),
            ));
        };
        match found {
            Some((other, first)) if first != driver => {
                return Err(problem(
                    "SnapshotUnsupported",
                    format!(
                        "claims {other} and {claim} are of different CSI drivers ({first}, {driver}), and no VolumeSnapshotClass is of both; make a policy for each"
                    ),
                ));
            }
            Some(_) => {}
            None => found = Some((claim, driver)),
        }
    }
    Ok(found.map(|(_, driver)| driver).unwrap_or_default())
}

fn named(classes: &[Class], wanted: &str, driver: &str) -> Result<String, Problem> {
    let refused = |why: String| {
        let correct = "correct spec.capture.snapshot.volumeSnapshotClassName";
        Err(problem("SnapshotClassNotFound", format!("VolumeSnapshotClass {wanted} {why}; {correct}")))
    };
    match classes.iter().find(|class| class.name == wanted) {
        None if classes.is_empty() => refused("does not exist, and no other does".to_owned()),
        None => refused(format!("does not exist; there are: {}", list(classes.iter()))),
        Some(class) if class.driver != driver => {
            refused(format!("is of CSI driver {}, and the volume of {driver}", class.driver))
        }
        Some(class) if !class.deletes => refused(
            "has deletionPolicy: Retain, so that every capture would leave a snapshot in the storage behind"
                .to_owned(),
        ),
        Some(class) => Ok(class.name.clone()),
    }
}

fn list<'a>(classes: impl Iterator<Item = &'a Class>) -> String {
    classes.map(|class| class.name.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str, driver: &str) -> Class {
        Class { name: name.into(), driver: driver.into(), default: false, deletes: true }
    }

    fn volume(driver: Option<&str>) -> VolumeSeen {
        VolumeSeen { driver: driver.map(str::to_owned), ..VolumeSeen::default() }
    }

    fn chosen(
        classes: Option<&[Class]>,
        wanted: Option<&str>,
        volumes: &[VolumeSeen],
    ) -> Result<String, String> {
        let names = ["a", "b", "c"];
        let volumes = names.iter().zip(volumes).map(|(name, volume)| (*name, Some(volume)));
        choose(classes, wanted, volumes).map_err(|problem| problem.reason.to_owned())
    }

    #[test]
    fn the_class_that_is_named_has_to_fit_and_of_those_that_fit_the_default_or_the_only_one_is_taken() {
        let ours = [volume(Some("ours"))];
        let is = |name: &str| Ok(name.to_owned());
        let not = |reason: &str| Err(reason.to_owned());
        let default = |name: &str, driver: &str| Class { default: true, ..class(name, driver) };
        let keeping = |name: &str| Class { deletes: false, ..class(name, "ours") };
        let cases = [
            (vec![], None, not("SnapshotClassNotFound")),
            (vec![class("x", "theirs")], None, not("SnapshotClassNotFound")),
            (vec![class("x", "theirs"), class("y", "ours")], None, is("y")),
            (vec![class("y", "ours"), class("z", "ours")], None, not("SnapshotClassAmbiguous")),
            (vec![class("y", "ours"), default("z", "ours")], None, is("z")),
            (vec![default("y", "ours"), default("z", "ours")], None, not("SnapshotClassAmbiguous")),
            (vec![class("y", "ours"), default("z", "theirs")], None, is("y")),
            (vec![keeping("k")], None, not("SnapshotClassNotFound")),
            (vec![keeping("k"), class("y", "ours")], None, is("y")),
            (vec![], Some("y"), not("SnapshotClassNotFound")),
            (vec![class("y", "ours"), default("z", "ours")], Some("y"), is("y")),
            (vec![class("x", "theirs")], Some("x"), not("SnapshotClassNotFound")),
            (vec![keeping("k")], Some("k"), not("SnapshotClassNotFound")),
        ];
        for (classes, wanted, expected) in cases {
            assert_eq!(chosen(Some(&classes), wanted, &ours), expected, "{classes:?}, {wanted:?}");
        }
        assert_eq!(chosen(None, None, &ours), not("SnapshotsNotInstalled"));
    }

    #[test]
    fn every_volume_has_to_be_of_one_csi_driver() {
        let classes = [class("y", "ours")];
        let (ours, theirs, none) = (volume(Some("ours")), volume(Some("theirs")), volume(None));
        let of = |volumes: &[VolumeSeen]| chosen(Some(&classes), None, volumes);
        assert_eq!(of(&[ours.clone(), ours.clone()]), Ok("y".to_owned()));
        for volumes in [vec![none.clone()], vec![ours.clone(), none], vec![ours, theirs]] {
            assert_eq!(of(&volumes), Err("SnapshotUnsupported".to_owned()), "{volumes:?}");
        }
        let unbound = choose(Some(&classes), None, [("a", None)].into_iter()).unwrap_err();
        assert_eq!(unbound.reason, "SnapshotUnsupported");
    }
}

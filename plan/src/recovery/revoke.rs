//! Telling the repositories which values are void, so that no point brings them back. It is part of the step that replaces them. A repository that can't
//! be told never holds a recovery up; that is said.

use std::collections::BTreeSet;

use crds::job::{Report, Request, Revoked};
use crds::names;
use crds::run::RotationState;

use super::mover::{self, Outcome, Wanted};
use super::steps::Kind;
use super::{Draft, Progress, evidence, rotate};
use crate::backup::objects::Wanted as Objects;
use crate::effect::Event;

/// Tells every repository of the run. Returns what came of it, for people, once all are told or can't be.
pub(crate) fn told(draft: &mut Draft<'_>, index: usize) -> Result<String, Progress> {
    let seen = draft.seen;
    let rotated = |name: &str| {
        let state = draft.status.rotations.iter().find(|known| known.name == name);
        state.is_some_and(|known| known.state == RotationState::Rotated)
    };
    let all = seen.run.spec.credential_rotations.iter().filter(|asked| rotated(&asked.name));
    let void: BTreeSet<Revoked> = all
        .flat_map(|asked| {
            let secret = &asked.secret_ref.name;
            let keys = rotate::keys(seen, asked).into_iter();
            keys.map(|key| Revoked { secret: secret.clone(), key })
        })
        .collect();
    if void.is_empty() {
        return Ok(String::new());
    }
    let keeper = names::revoked(&seen.run.uid);
    let secrets: BTreeSet<String> = void.iter().map(|of| of.secret.clone()).chain([keeper.clone()]).collect();
    let (mut done, mut not) = (Vec::new(), Vec::new());
    for (name, access) in evidence::repositories(seen) {
        let request = Request::Revoke {
            repository: access.access.clone(),
            keeper: keeper.clone(),
            values: void.iter().cloned().collect(),
            by: evidence::by(seen),
        };
        let wanted = Wanted {
            keys: Some(access.keys.clone()),
            objects: Some(Box::new(Objects::of_secrets(secrets.clone()))),
            ..Wanted::bare(Kind::RotateCredentials, name.to_owned(), request)
        };
        match mover::drive(draft, index, wanted) {
            Outcome::Pending(progress) => return Err(progress),
            Outcome::Said(Report::Marked) => done.push(name),
            Outcome::Said(other) => not.push(format!("{name}: it answered {}", mover::kind_of(&other))),
            Outcome::GaveUp(failure) => not.push(format!("{name}: {}", failure.message)),
        }
    }
    let mut text = match done.as_slice() {
        [] => String::new(),
        names => format!("; no point of {} brings back what they were", names.join(", ")),
    };
    if !not.is_empty() {
        let why = format!(
            "a point may bring back what was replaced, for that could not be written down: {}",
            not.join("; ")
        );
        text.push_str(&format!("; {why}"));
        draft.events.push(Event::warning("RevocationNotTold", why));
    }
    Ok(text)
}

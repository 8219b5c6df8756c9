//! The steps EnterOffline and LeaveOffline: what is taken from a component stands in the status before it is taken, and is given back as it
//! was, by the last step, by a cancelled run and by one that is deleted. What somebody else changed meanwhile is theirs.

use crds::condition::Status;
use crds::policy::{OfflineMode, Restart};
use crds::reference::{OFFLINE_SWITCH_LABEL, WorkloadKind};
use crds::run::{
    OfflineState, OfflineStatus, RecoveryRunStatus, RestartStage, RestartStatus, StoppedWorkload,
    SwitchMemory,
};
use jiff::{SignedDuration, Timestamp};

use super::effect::Effect;
use super::seen::{Component, Observed, WorkloadSeen};
use super::{Draft, Progress, assess};
use crate::workload;

/// How long each half of a restart is waited for: a pod that does not go, or one that can't get ready without the network, must not keep the
/// run from watching the network, nor a component stopped.
const PATIENCE: SignedDuration = SignedDuration::from_mins(5);

/// What is known of a component.
pub(crate) fn of<'a>(status: &'a RecoveryRunStatus, policy: &str) -> Option<&'a OfflineStatus> {
    status.offline.iter().find(|known| known.policy == policy)
}

/// The same, to be written.
pub(crate) fn of_mut<'a>(status: &'a mut RecoveryRunStatus, policy: &str) -> Option<&'a mut OfflineStatus> {
    status.offline.iter_mut().find(|known| known.policy == policy)
}

/// Whether something was taken that is not given back.
pub(crate) fn owes(status: &RecoveryRunStatus) -> bool {
    status.offline.iter().any(is_owed)
}

pub(crate) fn is_owed(known: &OfflineStatus) -> bool {
    match known.state {
        OfflineState::Entering | OfflineState::Offline | OfflineState::Leaving => true,
        OfflineState::NotNeeded | OfflineState::Needed | OfflineState::Online => false,
    }
}

/// The run that has begun to recover the component, which may have stopped what would be started here.
fn other(draft: &Draft<'_>, policy: &str) -> Option<Progress> {
    let holds = |name: &String| name == policy;
    let other = draft.seen.others.iter().find(|o| o.begun && !o.network && o.policies.iter().any(holds))?;
    let note = format!("waits until {} has ended, which recovers {policy}", other.name);
    Some(Progress::acting(Vec::new(), note))
}

/// The step EnterOffline.
pub(crate) fn enter(draft: &mut Draft<'_>, policy: &str) -> Progress {
    let Some(known) = of(&draft.status, policy) else { return unknown(policy) };
    match known.state {
        OfflineState::NotNeeded => Progress::Skipped("all endpoints answer".to_owned()),
        OfflineState::Needed => remember(draft, policy),
        OfflineState::Entering => take(draft, policy),
        OfflineState::Offline | OfflineState::Leaving | OfflineState::Online => {
            Progress::Done(taken(draft.seen, known))
        }
    }
}

fn unknown(policy: &str) -> Progress {
    Progress::failed("StepFailed", format!("nothing is known of the endpoints of {policy}"))
}

/// Writes down what will be given back, or says why nothing can be taken.
fn remember(draft: &mut Draft<'_>, policy: &str) -> Progress {
    let seen = draft.seen;
    let Some(component) = seen.component(policy) else { return assess::policy_gone(draft, policy) };
    let Some(mode) = &component.offline else {
        let message = format!("policy {policy} has no spec.offline any more; nothing was changed");
        return Progress::failed("StepFailed", message);
    };
    if let Some(progress) = other(draft, policy) {
        return progress;
    }
    let switch = match switch(seen, mode) {
        Ok(switch) => switch,
        Err(why) => return Progress::failed("OfflineSwitchUnusable", why),
    };
    let found = mode.suspend.iter().filter_map(|wanted| {
        seen.offline.workloads.iter().find(|workload| workload.workload == *wanted && workload.replicas > 0)
    });
    let suspended: Vec<StoppedWorkload> = found.map(WorkloadSeen::owed).collect();
    let readers = match switch {
        Some(_) if mode.restart == Restart::Required => readers(component, mode),
        _ => Vec::new(),
    };
    if let Some(set) = readers.iter().find(|workload| workload.deletes_claims) {
        let message = format!(
            "StatefulSet {} would lose its claims when it is restarted (whenScaled: Delete); set whenScaled: Retain. Nothing was changed",
            set.workload.name
        );
        return Progress::failed("StepFailed", message);
    }
    let readers = readers.into_iter().map(WorkloadSeen::owed).collect();
    if let Some(known) = of_mut(&mut draft.status, policy) {
        (known.state, known.switch, known.suspended, known.readers) =
            (OfflineState::Entering, switch, suspended, readers);
    }
    condition(draft);
    Progress::acting(Vec::new(), "what will be given back is remembered")
}

/// What runs and reads the switch at its start.
fn readers<'a>(component: &'a Component, mode: &OfflineMode) -> Vec<&'a WorkloadSeen> {
    let all = component.workloads.iter().filter(|seen| seen.replicas > 0);
    all.filter(|seen| seen.workload.kind != WorkloadKind::CronJob && !mode.suspend.contains(&seen.workload))
        .collect()
}

/// The switch that has to be set; nothing where it is set already, or a sentence why it can't be.
fn switch(seen: &Observed, mode: &OfflineMode) -> Result<Option<SwitchMemory>, String> {
    let Some(switch) = &mode.switch else { return Ok(None) };
    let (name, key, namespace) = (&switch.config_map_ref.name, &switch.key, &seen.run.namespace);
    let Some(map) = seen.offline.switches.get(name) else {
        return Err(format!(
            "ConfigMap {name}, which spec.offline.switch names, does not exist in namespace {namespace}; nothing was changed"
        ));
    };
    if !map.labelled {
        return Err(format!(
            "ConfigMap {name} does not carry the label {OFFLINE_SWITCH_LABEL}: \"true\", by which its owner lets it be switched; nothing was changed. Set it (kubectl label configmap {name} -n {namespace} {OFFLINE_SWITCH_LABEL}=true), then create a new run"
        ));
    }
    match map.values.get(key) {
        Some(value) if *value == switch.online => Ok(Some(SwitchMemory {
            config_map: name.clone(),
            key: key.clone(),
            before: value.clone(),
            offline: switch.offline.clone(),
        })),
        // Somebody was quicker, and it is theirs to set it back.
        Some(value) if *value == switch.offline => Ok(None),
        Some(_) => Err(format!(
            "key {key} of ConfigMap {name} is neither {:?} nor {:?}, the two values of spec.offline.switch; nothing was changed",
            switch.online, switch.offline
        )),
        None => Err(format!(
            "ConfigMap {name} has no key {key}, so nobody reads it; nothing was changed. Correct spec.offline.switch.key, or add the key with its value {:?}",
            switch.online
        )),
    }
}

/// What sets a switch from one value to another: nothing where it has another one, which is somebody's.
fn set(seen: &Observed, switch: &SwitchMemory, from: &str, to: &str) -> Option<Effect> {
    let map = seen.offline.switches.get(&switch.config_map).filter(|map| map.labelled)?;
    (map.values.get(&switch.key).map(String::as_str) == Some(from)).then(|| Effect::SetSwitch {
        config_map: switch.config_map.clone(),
        resource_version: map.resource_version.clone(),
        key: switch.key.clone(),
        value: to.to_owned(),
    })
}

/// Takes what is remembered.
fn take(draft: &mut Draft<'_>, policy: &str) -> Progress {
    let seen = draft.seen;
    if !seen.run.finalizer {
        return Progress::acting(
            vec![Effect::AddFinalizer],
            "holding the run until it has given back what it takes",
        );
    }
    let Some(known) = of(&draft.status, policy).cloned() else { return unknown(policy) };
    if known.restart.is_none() {
        if let Some(progress) = other(draft, policy) {
            return progress;
        }
        let mut effects: Vec<Effect> = known
            .switch
            .iter()
            .filter_map(|switch| set(seen, switch, &switch.before, &switch.offline))
            .collect();
        let running = seen.offline.workloads.iter().filter(|workload| {
            known.suspended.iter().any(|suspended| suspended.workload == workload.workload)
        });
        effects.extend(workload::down(running).into_iter().map(Effect::Scale));
        if !effects.is_empty() {
            return Progress::acting(effects, "setting the switch and suspending what needs the network");
        }
        if !known.readers.is_empty() {
            return begin_restart(draft, policy);
        }
    }
    let ready = match restart(draft, policy, &known, true) {
        Restarting::Ended(ready) => ready,
        Restarting::Goes(progress) => return progress,
    };
    let now = draft.now;
    let Some(known) = of_mut(&mut draft.status, policy) else { return unknown(policy) };
    (known.state, known.entered, known.restart) = (OfflineState::Offline, Some(now), None);
    let text = format!("{}{ready}", taken(seen, known));
    condition(draft);
    Progress::Done(text)
}

/// Begins to restart what reads the switch: with the replicas that it has now.
fn begin_restart(draft: &mut Draft<'_>, policy: &str) -> Progress {
    let (now, workloads) = (draft.now, &draft.seen.offline.workloads);
    if let Some(known) = of_mut(&mut draft.status, policy) {
        for reader in &mut known.readers {
            let now = workloads.iter().find(|seen| seen.workload == reader.workload);
            reader.replicas = now.map_or(0, |seen| seen.replicas);
        }
        known.restart = Some(RestartStatus { stage: RestartStage::Stop, since: now });
    }
    Progress::acting(Vec::new(), "restarting what reads the switch at its start")
}

enum Restarting {
    Goes(Progress),
    /// Through, and what has to be said of it.
    Ended(String),
}

/// Stops what reads the switch, and starts it with the replicas that it had.
fn restart(draft: &mut Draft<'_>, policy: &str, known: &OfflineStatus, patient: bool) -> Restarting {
    let Some(RestartStatus { stage, since }) = known.restart else { return Restarting::Ended(String::new()) };
    let waits = since.checked_add(PATIENCE).ok().filter(|until| *until > draft.now);
    let waiting =
        |note: String, at: Timestamp| Restarting::Goes(Progress::Polling { effects: Vec::new(), note, at });
    let own = draft.seen.offline.workloads.iter().filter(|workload| {
        known.readers.iter().any(|reader| reader.workload == workload.workload && reader.replicas > 0)
    });
    let named = |all: Vec<&WorkloadSeen>| {
        all.iter().map(|workload| workload.workload.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    match stage {
        RestartStage::Stop => {
            let effects: Vec<Effect> = workload::down(own.clone()).into_iter().map(Effect::Scale).collect();
            if !effects.is_empty() {
                let note = "stopping what reads the switch at its start";
                return Restarting::Goes(Progress::acting(effects, note));
            }
            // One that is started before its pods are gone would keep them, and what they have read.
            let there: Vec<&WorkloadSeen> = own.filter(|workload| workload.pods != Some(0)).collect();
            if let (false, Some(at)) = (there.is_empty(), waits) {
                return waiting(format!("waiting until the pods of {} are gone", named(there)), at);
            }
            let now = draft.now;
            if let Some(known) = of_mut(&mut draft.status, policy) {
                known.restart = Some(RestartStatus { stage: RestartStage::Start, since: now });
            }
            Restarting::Goes(Progress::acting(Vec::new(), "starting it again"))
        }
        RestartStage::Start => {
            let effects: Vec<Effect> =
                workload::up(&known.readers, own.clone()).into_iter().map(Effect::Scale).collect();
            if !effects.is_empty() {
                return Restarting::Goes(Progress::acting(effects, "starting it again"));
            }
            let unready: Vec<&WorkloadSeen> =
                own.filter(|workload| workload.ready < workload.replicas).collect();
            match waits.filter(|_| patient) {
                _ if unready.is_empty() => Restarting::Ended(String::new()),
                Some(at) => waiting(format!("waiting until {} is ready", named(unready)), at),
                None => Restarting::Ended(format!("; {} was started and is not ready", named(unready))),
            }
        }
    }
}

/// What was taken, in words.
fn taken(seen: &Observed, known: &OfflineStatus) -> String {
    let switch = known.switch.iter().map(|SwitchMemory { config_map, key, offline, .. }| {
        match value(seen, config_map, key) {
            Some(value) if value == offline => format!("{key} of ConfigMap {config_map} is {offline:?}"),
            _ => format!(
                "{key} of ConfigMap {config_map} was changed by somebody meanwhile and is left as it is"
            ),
        }
    });
    let suspended =
        known.suspended.iter().map(|s| format!("{} {} suspended", s.workload.kind.as_str(), s.workload.name));
    let restarted = known.readers.iter().map(|reader| format!("{} restarted", reader.workload.name));
    let all: Vec<String> = switch.chain(suspended).chain(restarted).collect();
    if all.is_empty() { "it was in offline mode already".to_owned() } else { all.join(", ") }
}

/// The step LeaveOffline.
pub(crate) fn leave(draft: &mut Draft<'_>, policy: &str) -> Progress {
    let Some(known) = of(&draft.status, policy) else { return unknown(policy) };
    if known.state == OfflineState::NotNeeded {
        return Progress::Skipped("all endpoints answer".to_owned());
    }
    if let Some(progress) = other(draft, policy) {
        return progress;
    }
    give_back(draft, policy, true)
}

/// Gives back what was taken of a component.
fn give_back(draft: &mut Draft<'_>, policy: &str, patient: bool) -> Progress {
    let seen = draft.seen;
    let Some(known) = of(&draft.status, policy).cloned() else { return unknown(policy) };
    match known.state {
        OfflineState::NotNeeded | OfflineState::Needed | OfflineState::Online => {
            return Progress::Done("nothing was taken".to_owned());
        }
        OfflineState::Entering | OfflineState::Offline => {
            let now = draft.now;
            if let Some(known) = of_mut(&mut draft.status, policy) {
                known.state = OfflineState::Leaving;
                // What was stopped half-way is owed the replicas that it had, and may have read either value.
                known.restart =
                    known.restart.map(|_| RestartStatus { stage: RestartStage::Stop, since: now });
            }
            return Progress::acting(Vec::new(), "giving back what was taken");
        }
        OfflineState::Leaving => {}
    }
    if known.restart.is_none() {
        let mut effects: Vec<Effect> = known
            .switch
            .iter()
            .filter_map(|switch| set(seen, switch, &switch.offline, &switch.before))
            .collect();
        effects
            .extend(workload::up(&known.suspended, &seen.offline.workloads).into_iter().map(Effect::Scale));
        if !effects.is_empty() {
            return Progress::acting(effects, "setting the switch back and letting go on what was suspended");
        }
        if !known.readers.is_empty() {
            return begin_restart(draft, policy);
        }
    } else if let Some(effect) =
        known.switch.iter().find_map(|switch| set(seen, switch, &switch.offline, &switch.before))
    {
        // Before they start again.
        return Progress::acting(vec![effect], "setting the switch back");
    }
    let ready = match restart(draft, policy, &known, patient) {
        Restarting::Ended(ready) => ready,
        Restarting::Goes(progress) => return progress,
    };
    if known.restart.is_some() {
        let effects = workload::up(&known.suspended, &seen.offline.workloads);
        if !effects.is_empty() {
            let effects = effects.into_iter().map(Effect::Scale).collect();
            return Progress::acting(effects, "letting go on what was suspended");
        }
    }
    let now = draft.now;
    if let Some(known) = of_mut(&mut draft.status, policy) {
        (known.state, known.left, known.restart) = (OfflineState::Online, Some(now), None);
    }
    condition(draft);
    Progress::Done(format!("{}{ready}", given_back(seen, &known)))
}

fn value<'a>(seen: &'a Observed, config_map: &str, key: &str) -> Option<&'a String> {
    seen.offline.switches.get(config_map).and_then(|map| map.values.get(key))
}

/// What was given back, and what was not because somebody had changed it.
fn given_back(seen: &Observed, known: &OfflineStatus) -> String {
    let mut all = Vec::new();
    if let Some(SwitchMemory { config_map, key, before, offline }) = &known.switch {
        all.push(match value(seen, config_map, key) {
            Some(value) if value == offline => format!(
                "{key} of ConfigMap {config_map} stays {offline:?}: the label {OFFLINE_SWITCH_LABEL} was taken away"
            ),
            Some(value) if value == before => format!("{key} of ConfigMap {config_map} is {before:?} again"),
            Some(_) => format!("{key} of ConfigMap {config_map} was changed by somebody meanwhile and is left as it is"),
            None => format!("{key} of ConfigMap {config_map} is gone, so it is not set back"),
        });
    }
    for StoppedWorkload { workload, replicas } in &known.suspended {
        let (kind, name) = (workload.kind.as_str(), &workload.name);
        let found = seen.offline.workloads.iter().find(|seen| seen.workload == *workload);
        all.push(match found {
            Some(seen) if seen.replicas == *replicas => format!("{kind} {name} goes on"),
            Some(seen) => {
                format!("{kind} {name} was scaled by somebody meanwhile and is left at {}", seen.replicas)
            }
            None => format!("{kind} {name} does not exist any more"),
        });
    }
    all.extend(known.readers.iter().map(|reader| format!("{} restarted", reader.workload.name)));
    if all.is_empty() { "nothing had to be given back".to_owned() } else { all.join(", ") }
}

/// Gives back all that a run took. Returns whether it is.
pub(crate) fn give_back_all(draft: &mut Draft<'_>, patient: bool) -> bool {
    let owed = draft.status.offline.iter().filter(|known| is_owed(known));
    let owed: Vec<String> = owed.map(|known| known.policy.clone()).collect();
    let mut all = true;
    for policy in owed {
        match give_back(draft, &policy, patient) {
            Progress::Done(_) | Progress::Skipped(_) | Progress::Failed { .. } => {}
            Progress::Again { .. } | Progress::Another { .. } => all = false,
            Progress::Acting { effects, .. } => {
                draft.effects.extend(effects);
                all = false;
            }
            Progress::Polling { effects, at, .. } => {
                draft.effects.extend(effects);
                draft.next = draft.next.or_at(at);
                all = false;
            }
        }
    }
    all
}

/// A run that ends and leaves components offline leaves none of them stopped. Returns whether all that was being restarted is started.
pub(crate) fn restarted(draft: &mut Draft<'_>) -> bool {
    let mut effects = Vec::new();
    for known in draft.status.offline.iter_mut().filter(|known| known.restart.is_some()) {
        let up = workload::up(&known.readers, &draft.seen.offline.workloads);
        if up.is_empty() {
            known.restart = None;
        }
        effects.extend(up.into_iter().map(Effect::Scale));
    }
    let all = effects.is_empty();
    draft.effects.extend(effects);
    all
}

/// The condition OfflineMode, from what is known of every component.
pub(crate) fn condition(draft: &mut Draft<'_>) {
    let of = |wanted: fn(&OfflineStatus) -> bool| {
        let names = draft.status.offline.iter().filter(|known| wanted(known));
        names.map(|known| known.policy.as_str()).collect::<Vec<_>>().join(", ")
    };
    let (offline, left, needed) = (
        of(is_owed),
        of(|known| known.state == OfflineState::Online),
        of(|known| known.state == OfflineState::Needed),
    );
    let (status, reason, message) = match (offline.as_str(), left.as_str()) {
        ("", "") if needed.is_empty() => {
            (Status::False, "NotNeeded", "every endpoint answers, nothing was changed".to_owned())
        }
        ("", "") => return,
        ("", left) => (Status::False, "Left", format!("given back: {left}")),
        (offline, _) => (Status::True, "Entered", format!("offline: {offline}")),
    };
    draft.condition("OfflineMode", status, reason, message);
}

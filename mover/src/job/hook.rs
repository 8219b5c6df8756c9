//! Runs a command in pods, through the Kubernetes API. What it prints is not kept: it may hold secrets.

use crds::job::{FailureReason, Report};
use crds::policy::Hook;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::AttachParams;
use kube::{Api, Client, Error};

use super::{Desk, positive};
use crate::cluster;
use crate::failure::{Failure, Result, sentence};

/// How it went in a pod that does not exist any more.
const GONE: &str = "it is gone";

pub(super) async fn hook(
    desk: &Desk,
    (namespace, pods): (&str, &[String]),
    hook: &Hook,
    all_or_none: bool,
    needed: bool,
) -> Result<Report> {
    let client = cluster::of_this_pod(&desk.environment, &desk.places).await?;
    let timeout = positive("timeout", hook.timeout.to_duration())?;
    let mut failed = Vec::new();
    for pod in pods {
        desk.telling.say(format!("pod {pod}: the hook runs"));
        match tokio::time::timeout(timeout, run(&client, namespace, pod, hook)).await {
            Ok(Ok(GONE)) if needed => failed.push(format!("pod {pod}: {GONE}")),
            Ok(Ok(how)) => desk.telling.say(format!("pod {pod}: {how}")),
            Ok(Err(why)) => failed.push(format!("pod {pod}: {why}")),
            Err(_) => failed.push(format!(
                "pod {pod}: it did not end within {} (timeout), and may still run there",
                hook.timeout
            )),
        }
        if all_or_none && !failed.is_empty() {
            break;
        }
    }
    if failed.is_empty() {
        return Ok(Report::Ran);
    }
    let (program, why) = (hook.command.first().map(String::as_str).unwrap_or_default(), failed.join("; "));
    let by_hand =
        format!("to see what it prints, run it by hand: kubectl exec -n {namespace} POD -- {program} ...");
    Err(Failure::new(FailureReason::HookFailed, format!("hook {program}: {why}; {by_hand}")))
}

/// Runs it in one pod, and says how it went.
async fn run(
    client: &Client,
    namespace: &str,
    pod: &str,
    hook: &Hook,
) -> std::result::Result<&'static str, String> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    // One stream has to be asked for; it is read and thrown away, for a program whose output nobody reads would wait.
    let params = AttachParams { container: hook.container.clone(), stdout: false, ..AttachParams::default() };
    let mut process = match api.exec(pod, &hook.command, &params).await {
        Ok(process) => process,
        // What it held went with it.
        Err(Error::Api(status)) if status.code == 404 => return Ok(GONE),
        Err(Error::Api(status)) => {
            return Err(format!("the Kubernetes API answers {}: {}", status.code, status.message));
        }
        Err(error) => return Err(sentence(&error)),
    };
    if let Some(mut output) = process.stderr() {
        tokio::spawn(async move { tokio::io::copy(&mut output, &mut tokio::io::sink()).await });
    }
    let status = match process.take_status() {
        Some(status) => status.await,
        None => None,
    };
    ended(status)
}

/// How a command ended, by the Status that the kubelet sends last.
fn ended(status: Option<Status>) -> std::result::Result<&'static str, String> {
    let Some(status) = status else {
        return Err("the connection ended before it was told how the command did".to_owned());
    };
    if status.status.as_deref() == Some("Success") {
        return Ok("done");
    }
    Err(status.message.unwrap_or_else(|| "it failed, and the cluster gives no reason".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_of_which_nothing_is_heard_did_not_succeed() {
        let status = |status: &str| Status { status: Some(status.into()), ..Status::default() };
        assert_eq!(ended(Some(status("Success"))), Ok("done"));
        let told =
            Status { message: Some("command terminated with exit code 3".into()), ..status("Failure") };
        assert_eq!(ended(Some(told)), Err("command terminated with exit code 3".into()));
        assert!(ended(Some(status("Failure"))).is_err());
        assert!(ended(None).is_err());
    }
}

//! What somebody needs who was not there: objects, events and logs of a story that failed, while they still exist.

use crate::place::Place;

/// Prints it all; whatever can't be had is said so.
pub async fn print(place: &Place, namespace: &str) {
    println!("---- evidence: namespace {namespace}");
    show(place, &["get", "holdfast", "--output=yaml"], namespace).await;
    show(place, &["get", "statefulset,pod,job,pvc,configmap,lease", "--output=wide"], namespace).await;
    show(place, &["get", "pv"], namespace).await;
    show(place, &["get", "events", "--sort-by=.lastTimestamp"], namespace).await;
    let pods = place.kubectl.run(&["--namespace", namespace, "get", "pods", "--output=name"], None).await;
    for pod in pods.unwrap_or_default().lines() {
        show(place, &["logs", pod, "--all-containers", "--tail=40"], namespace).await;
    }
    show(place, &["logs", "deployment/holdfast-controller", "--tail=150"], crate::install::NAMESPACE).await;
    show(
        place,
        &["logs", "deployment/holdfast-controller", "--previous", "--tail=30"],
        crate::install::NAMESPACE,
    )
    .await;
    println!("---- end of evidence: namespace {namespace}");
}

async fn show(place: &Place, arguments: &[&str], namespace: &str) {
    let mut all = vec!["--namespace", namespace];
    all.extend(arguments);
    println!("$ kubectl {}", all.join(" "));
    match place.kubectl.attempt(&all, None).await {
        Ok(printed) => print!("{}{}", printed.out, printed.err),
        Err(error) => println!("{error:#}"),
    }
}

//! An object that goes up in parts on a bad line: it is there as a whole, byte for byte, or it is not there.

use engine::store::Put;

use super::*;

/// Three parts, the last a short one.
const LENGTH: usize = 11 << 20;

fn in_parts(endpoint: &str, prefix: &str) -> S3Options {
    S3Options {
        multipart_above: 6 << 20,
        part_size: 5 << 20,
        attempt_timeout: LONG,
        ..crate::s3::options(endpoint, &WRITER, BUCKET, prefix)
    }
}

async fn suffers(fault: Fault) {
    let honest_endpoint = SeaweedFs::shared().endpoint();
    let prefix = format!("faulty/in-parts-{fault:?}").to_lowercase();
    let honest = S3Store::connect(in_parts(honest_endpoint, &prefix)).await.unwrap();
    let body = noise(1, LENGTH);
    let mut requests = 0;
    loop {
        requests += 1;
        let at = requests;
        let script = move |seen: &Seen| (seen.number == at).then_some(fault);
        let proxy = Proxy::to(honest_endpoint, FirstLists::default(), script).await;
        let bad = S3Store::connect(in_parts(proxy.endpoint(), &prefix)).await.unwrap();
        let (store, _) = steady(Arc::new(bad), PATIENCE, None);
        let name = format!("object-{at}");
        // After a lost answer the object is there: its own writer can't tell whose it is, and is told so.
        let written = store.put_if_absent(&name, body.clone().into()).await.unwrap();
        assert!(matches!(written, Put::Created | Put::Exists), "{fault:?} at {at}");
        assert!(honest.get(&name, None).await.unwrap() == body, "{fault:?} at {at}: other bytes");
        if proxy.count() < at {
            break;
        }
    }
    assert!(requests > 5, "{requests} requests are too few for an upload in parts");
}

/// A line that stays ill leaves nothing that looks whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_in_parts_that_fails_leaves_no_object() {
    let honest_endpoint = SeaweedFs::shared().endpoint();
    let prefix = "faulty/in-parts-ill";
    let honest = S3Store::connect(in_parts(honest_endpoint, prefix)).await.unwrap();
    let body = noise(2, LENGTH);
    for from in 1..=5 {
        let script = move |seen: &Seen| (seen.number >= from).then_some(Fault::DropBefore);
        let proxy = Proxy::to(honest_endpoint, FirstLists::default(), script).await;
        let bad = S3Store::connect(in_parts(proxy.endpoint(), prefix)).await.unwrap();
        let (store, _) = steady(Arc::new(bad), PATIENCE, None);
        let refused = store.put("object", body.clone().into()).await.unwrap_err();
        assert!(refused.to_string().contains("object"), "{refused}");
        let found = honest.get("object", None).await;
        assert!(found.is_err_and(|e| e.is_not_found()), "from request {from} on: there is an object");
    }
}

macro_rules! faults {
    ($($name:ident: $fault:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            suffers(Fault::$fault).await;
        })*
    };
}

faults! {
    an_upload_in_parts_survives_a_connection_dropped_before_the_request_arrives: DropBefore
    an_upload_in_parts_survives_a_connection_dropped_after_the_server_did_it: DropAfter
    an_upload_in_parts_survives_an_internal_error: InternalError
}

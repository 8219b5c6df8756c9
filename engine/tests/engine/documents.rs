//! Documents are kept whole, once, hidden, and named when they are damaged.

use std::fs;

use crate::support::{Bench, at};
use engine::{Error, Level, PutDocument, silent, verify_all};

const REPORT: &[u8] = b"<html>\n\0 of arxiv\n</html>";

#[tokio::test]
async fn a_document_is_read_back_as_it_was_written_and_is_never_written_over() {
    let bench = Bench::new().await;
    assert_eq!(bench.repo.document("report", "run/1").await.unwrap(), None);
    let put = bench.repo.put_document("report", "run/1", REPORT).await.unwrap();
    assert_eq!(
        put,
        PutDocument::Created(
            "sha256:bbfc08ad5fd267691536ef131d6019053947c27407b7b3820132dc5a54bc8d2d".to_owned()
        )
    );
    let PutDocument::Exists(there) = bench.repo.put_document("report", "run/1", b"another").await.unwrap()
    else {
        panic!("the first document is gone");
    };
    assert_eq!((there.name.as_str(), there.bytes.as_slice()), ("run/1", REPORT));
    assert!(there.stored_at.is_some());
    // Another kind is another document, and so is another name; an empty one is one as well.
    bench.repo.put_document("audit", "run/1", b"").await.unwrap();
    bench.repo.put_document("report", "run/2", b"two").await.unwrap();
    assert_eq!(bench.repo.document("audit", "run/1").await.unwrap().unwrap().bytes, b"");
    let names: Vec<String> =
        bench.repo.documents("report").await.unwrap().into_iter().map(|found| found.name).collect();
    assert_eq!(names, ["run/1", "run/2"]);
    let refused = bench.repo.put_document("Report", "run/1", b"").await.unwrap_err();
    assert!(matches!(refused, Error::Input(_)), "{refused}");
}

#[tokio::test]
async fn a_sealed_repository_takes_documents() {
    let bench = Bench::new().await;
    bench.repo.set_seal(true, "run/breach", "INC-2041", at(3)).await.unwrap();
    let put = bench.repo.put_document("report", "run/1", REPORT).await.unwrap();
    assert!(matches!(put, PutDocument::Created(_)));
}

#[tokio::test]
async fn the_store_learns_neither_name_nor_content_and_a_damaged_one_is_named() {
    let bench = Bench::new().await;
    bench.repo.put_document("report", "of the arxiv", &REPORT.repeat(50)).await.unwrap();
    let listed = bench.store().list("documents/report/").await.unwrap();
    let [object] = listed.as_slice() else { panic!("{listed:?}") };
    let path = bench.store_path().join(&object.name);
    let stored = fs::read(&path).unwrap();
    for hidden in ["arxiv", "html"] {
        assert!(!object.name.contains(hidden) && !String::from_utf8_lossy(&stored).contains(hidden));
    }
    assert!(verify_all(&bench.repo, Level::Manifest, silent()).await.unwrap().findings.is_empty());
    let mut damaged = stored.clone();
    *damaged.last_mut().unwrap() ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, damaged).unwrap();
    let found = verify_all(&bench.repo, Level::Manifest, silent()).await.unwrap().findings;
    assert_eq!(found.iter().map(|finding| &finding.object).collect::<Vec<_>>(), [&object.name]);
    let refused = bench.repo.document("report", "of the arxiv").await.unwrap_err();
    assert!(matches!(&refused, Error::Damaged { object: named, .. } if *named == object.name), "{refused}");
    // Nor can one stand in the place of another.
    bench.repo.put_document("report", "second", b"2").await.unwrap();
    let second = bench.store().list("documents/report/").await.unwrap();
    let second = second.iter().find(|other| other.name != object.name).unwrap();
    fs::remove_file(&path).unwrap();
    fs::copy(bench.store_path().join(&second.name), &path).unwrap();
    assert!(matches!(
        bench.repo.document("report", "of the arxiv").await.unwrap_err(),
        Error::Damaged { .. }
    ));
}

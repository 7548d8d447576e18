//! The contract of a storage, kept by a real object store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fletching::checkpoint::{Storage, StorageErrorKind, StorageResult, StorageScheme};
use fletching_connectors::S3Storage;
use fletching_tests::object_store::{ObjectStore, shared};

fn open_with(
    store: &ObjectStore,
    path: &str,
    (key, secret): (&str, &str),
) -> StorageResult<Arc<dyn Storage>> {
    let settings = [
        ("s3.endpoint", store.endpoint()),
        ("s3.retry.timeout", "5s".into()),
    ];
    let settings: BTreeMap<_, _> = settings
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    S3Storage::default()
        .with_credentials(key, secret, None)
        .open(path, &settings)
}

fn open(store: &ObjectStore, path: &str) -> Arc<dyn Storage> {
    open_with(store, path, store.credentials()).unwrap()
}

#[test]
fn objects_are_written_listed_read_and_removed() {
    let Some(store) = shared() else { return };
    let root = open(store, &format!("{}/a/b", store.bucket("objects")));
    root.make().unwrap();
    let folder = root.folder("table.caf%e9 x");
    assert!(
        folder.place().ends_with("/a/b/table.caf%e9 x"),
        "{}",
        folder.place()
    );
    assert!(folder.names().unwrap().is_empty() && root.folders().unwrap().is_empty());
    folder.write("one", b"1").unwrap();
    folder.write("one", b"11").unwrap();
    folder.create("two", b"").unwrap();
    let taken = folder.create("two", b"2").unwrap_err();
    assert_eq!(taken.kind, StorageErrorKind::AlreadyExists, "{taken}");
    assert_eq!(folder.read("one").unwrap(), b"11");
    assert_eq!(folder.read("two").unwrap(), b"");
    assert_eq!(folder.read("three").unwrap_err().kind, StorageErrorKind::NotFound);
    let objects = folder.objects().unwrap();
    let objects: Vec<_> = objects
        .iter()
        .map(|object| (object.name.as_str(), object.bytes))
        .collect();
    assert_eq!(objects, [("one", 2), ("two", 0)]);
    assert_eq!(root.folders().unwrap(), ["table.caf%e9 x"]);
    assert!(root.objects().unwrap().is_empty());
    folder.remove("one").unwrap();
    folder.remove("one").unwrap();
    assert_eq!(folder.names().unwrap(), ["two"]);
}

/// A listing comes in pages of a thousand, and a large object goes out in parts.
#[test]
fn many_and_large_objects_come_back_whole() {
    let Some(store) = shared() else { return };
    let root = open(store, &store.bucket("large"));
    let many = root.folder("many");
    for at in 0..1100 {
        many.write(&format!("delta-{at:05}"), b"x").unwrap();
    }
    let names = many.names().unwrap();
    assert_eq!(names.len(), 1100);
    assert!(names.is_sorted());
    let large: Vec<u8> = (0..70_u32 << 20)
        .map(|at| ((at ^ (at >> 11)) & 0xff) as u8)
        .collect();
    root.create("rows", &large).unwrap();
    assert!(root.read("rows").unwrap() == large, "70 MB came back otherwise");
    assert_eq!(
        root.create("rows", &large).unwrap_err().kind,
        StorageErrorKind::AlreadyExists
    );
}

#[test]
fn one_has_the_lock_and_the_next_gets_it_at_once() {
    let Some(store) = shared() else { return };
    let path = format!("{}/p", store.bucket("lock"));
    let (one, other) = (open(store, &path), open(store, &path));
    let held = one.lock().unwrap();
    assert!(held.is_held());
    assert!(other.try_lock().unwrap().is_none());
    assert!(one.try_lock().unwrap().is_none(), "it was given out twice");
    assert!(
        one.names().unwrap().is_empty(),
        "the lock is no object of the pipeline's"
    );
    drop(held);
    let began = Instant::now();
    for _ in 0..5 {
        let held = other.try_lock().unwrap().unwrap();
        assert!(one.try_lock().unwrap().is_none());
        drop(held);
        drop(one.try_lock().unwrap().unwrap());
    }
    // No lease was waited for to lapse: that takes ten seconds each.
    assert!(began.elapsed() < Duration::from_secs(60));
}

/// A lock is renewed for as long as it is held.
#[test]
fn a_lock_outlasts_its_lease() {
    let Some(store) = shared() else { return };
    let path = format!("{}/p", store.bucket("renewed"));
    let (one, other) = (open(store, &path), open(store, &path));
    let held = one.lock().unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(12) {
        assert!(other.try_lock().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(held.is_held());
    // Whoever finds that it is another's does not hold it.
    one.write("lock", b"held by somebody else").unwrap();
    while held.is_held() {
        assert!(began.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_is_wrong_is_told_with_its_remedy_and_no_secret() {
    let Some(store) = shared() else { return };
    let (key, secret) = store.credentials();
    let bucket = store.bucket("refused");
    let insist = |path: &str, credentials: (&str, &str), kind: StorageErrorKind, said: &str, remedy: &str| {
        let error = open_with(store, path, credentials).unwrap().make().unwrap_err();
        let (text, hint) = (error.to_string(), error.hint.clone().unwrap_or_default());
        assert_eq!(error.kind, kind, "{text}");
        assert!(text.contains(said) && text.contains(path), "{text}");
        assert!(hint.contains(remedy), "{hint}");
        assert!(
            !text.contains(credentials.1) && !text.contains("Signature="),
            "{text}"
        );
    };
    let (missing, denied) = (StorageErrorKind::NotFound, StorageErrorKind::Denied);
    insist(
        "no-such-bucket/p",
        (key, secret),
        missing,
        "NoSuchBucket",
        "make the bucket",
    );
    insist(
        &bucket,
        (key, "another-secret"),
        denied,
        "SignatureDoesNotMatch",
        "AWS_SECRET_ACCESS_KEY",
    );
    insist(
        &bucket,
        ("nobody", secret),
        denied,
        "InvalidAccessKeyId",
        "AWS_ACCESS_KEY_ID",
    );
}

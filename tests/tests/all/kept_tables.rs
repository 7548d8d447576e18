//! Tables that are fed continuously, their state kept and restored: what comes back is what there was,
//! whatever has become of the files that keep it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use fletching::{Session, checkpoint};

use crate::following::{publish, session, until};
use crate::seed::seed;
use crate::sessions::{query, sorted_lines};

/// Waits until what a file has given is kept.
fn until_kept(folder: &Path, file: &str) {
    let began = Instant::now();
    loop {
        let tables = checkpoint::tables(folder).unwrap_or_default();
        let kept = tables.first().and_then(|table| table.contents().ok());
        let positions = kept.unwrap_or_default().positions;
        if positions.iter().any(|position| position.partition.contains(file)) {
            return;
        }
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{file} is not kept: {positions:?}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn create(session: &Session, kept: &Path, source: &Path, columns: &str, options: &str) {
    let sql = format!(
        "SET checkpoint.path = '{}'; SET checkpoint.interval = '10ms';
         CREATE TABLE t {columns} WITH (connector = 'file', path = '{}', format = 'csv', follow = true,
           follow.interval = '5ms', {options})",
        kept.display(),
        source.display()
    );
    session.sql(&sql).unwrap();
}

const UPSERTS: (&str, &str) = ("(k BIGINT, v VARCHAR, PRIMARY KEY (k))", "op = 'op'");

#[test]
fn a_table_comes_back_although_its_files_are_gone() {
    let (kept, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    publish(source.path(), "1.csv", "op,k,v\nc,1,a\nc,2,b\nc,3,c\n");
    let first = session();
    create(&first, kept.path(), source.path(), UPSERTS.0, UPSERTS.1);
    assert_eq!(
        sorted_lines(&query(&first, "SELECT * FROM t")),
        ["1|a", "2|b", "3|c"]
    );
    publish(source.path(), "2.csv", "op,k,v\nu,2,B\nd,3,\n");
    until(&first, "SELECT * FROM t", &["1|a", "2|B"]);
    until_kept(kept.path(), "2.csv");
    drop(first);

    for name in ["1.csv", "2.csv"] {
        fs::remove_file(source.path().join(name)).unwrap();
    }
    publish(source.path(), "3.csv", "op,k,v\nc,4,d\n");
    let second = session();
    create(&second, kept.path(), source.path(), UPSERTS.0, UPSERTS.1);
    assert_eq!(
        sorted_lines(&query(&second, "SELECT * FROM t")),
        ["1|a", "2|B", "4|d"]
    );
    drop(second);

    // A table that is declared otherwise is another one, and begins anew.
    publish(source.path(), "3.csv", "op,k,v,w\nc,4,d,1\n");
    let third = session();
    create(
        &third,
        kept.path(),
        source.path(),
        "(k BIGINT, v VARCHAR, w BIGINT, PRIMARY KEY (k))",
        UPSERTS.1,
    );
    until(&third, "SELECT * FROM t", &["4|d|1"]);
}

#[test]
fn versions_and_ended_keys_come_back() {
    let (kept, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let columns = "(k BIGINT, since BIGINT, v VARCHAR, PRIMARY KEY (k))";
    let options = "op = 'op', 'versioned' = 'true', version = 'since'";
    publish(source.path(), "1.csv", "op,k,since,v\nc,1,10,a\nc,2,10,b\n");
    let first = session();
    create(&first, kept.path(), source.path(), columns, options);
    query(&first, "SELECT * FROM t");
    publish(source.path(), "2.csv", "op,k,since,v\nu,1,20,A\nd,2,20,\n");
    until(&first, "SELECT k, v FROM t", &["1|A"]);
    until_kept(kept.path(), "2.csv");
    drop(first);
    fs::remove_file(source.path().join("1.csv")).unwrap();
    fs::remove_file(source.path().join("2.csv")).unwrap();

    let second = session();
    create(&second, kept.path(), source.path(), columns, options);
    query(&second, "CREATE TABLE moments (k BIGINT, at BIGINT)");
    query(
        &second,
        "INSERT INTO moments VALUES (1, 15), (1, 25), (2, 15), (2, 25), (1, 5)",
    );
    let sql = "SELECT m.k, m.at, t.v FROM moments m LEFT JOIN t FOR SYSTEM_TIME AS OF m.at ON m.k = t.k";
    assert_eq!(
        sorted_lines(&query(&second, sql)),
        ["1|15|a", "1|25|A", "1|5|NULL", "2|15|b", "2|25|NULL"]
    );
}

/// Damage anywhere in the files costs a look at the source at most.
#[test]
fn damage_is_found_and_gone_around() {
    let (kept, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    publish(source.path(), "1.csv", "op,k,v\nc,1,a\nc,2,b\nc,3,c\n");
    let first = session();
    create(&first, kept.path(), source.path(), UPSERTS.0, UPSERTS.1);
    query(&first, "SELECT * FROM t");
    until_kept(kept.path(), "1.csv");
    publish(source.path(), "2.csv", "op,k,v\nu,2,B\nd,3,\n");
    until(&first, "SELECT * FROM t", &["1|a", "2|B"]);
    until_kept(kept.path(), "2.csv");
    drop(first);
    let folder = kept.path().join("table.t");
    let whole: Vec<(String, Vec<u8>)> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name() != "lock")
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect();
    assert!(whole.len() > 1, "there is no change beside the base");
    let mut state = seed() | 1;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(below).unwrap()).unwrap()
    };
    for _ in 0..1000 {
        for (name, bytes) in &whole {
            fs::write(folder.join(name), bytes).unwrap();
        }
        let (name, bytes) = &whole[next(whole.len())];
        let mut bytes = bytes.clone();
        let at = next(bytes.len());
        let what = if next(2) == 0 {
            bytes.truncate(at);
            format!("{name} cut at {at}")
        } else {
            bytes[at] ^= 1 << next(8);
            format!("{name} flipped at {at}")
        };
        fs::write(folder.join(name), bytes).unwrap();
        let again = session();
        create(&again, kept.path(), source.path(), UPSERTS.0, UPSERTS.1);
        assert_eq!(
            sorted_lines(&query(&again, "SELECT * FROM t")),
            ["1|a", "2|B"],
            "{what}"
        );
    }
}

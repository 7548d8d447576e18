//! Schemas of a registry: a small server that answers as the registry's documentation says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use fletching::connector::RelationKind;
use fletching_tests::broker::shared;

use crate::formats::usual;
use crate::support::{Relation, texts};

/// A registry in memory, with the three calls that are used: a schema by number, the newest of a
/// subject, a new one.
pub(crate) struct FakeRegistry {
    pub(crate) address: String,
    schemas: Schemas,
}

/// Subjects and schemas; a schema's number is its place, from 1.
type Schemas = Arc<Mutex<Vec<(String, String)>>>;

impl FakeRegistry {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let schemas = Schemas::default();
        let served = Arc::clone(&schemas);
        // It ends with the process: nobody asks it after its test.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let schemas = Arc::clone(&served);
                thread::spawn(move || answer(stream, &schemas));
            }
        });
        Self { address, schemas }
    }

    pub(crate) fn register(&self, subject: &str, schema: &str) -> u8 {
        u8::try_from(put(&self.schemas, subject, schema)).unwrap()
    }
}

fn put(schemas: &Schemas, subject: &str, schema: &str) -> usize {
    let mut schemas = schemas.lock().unwrap();
    let entry = (subject.to_owned(), schema.to_owned());
    match schemas.iter().position(|known| *known == entry) {
        Some(at) => at + 1,
        None => {
            schemas.push(entry);
            schemas.len()
        }
    }
}

/// Answers one request and closes the connection.
fn answer(stream: TcpStream, schemas: &Schemas) {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line).unwrap();
    let request: Vec<String> = line.split(' ').map(str::to_owned).collect();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        if header.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let path: Vec<&str> = request[1].trim_start_matches('/').split('/').collect();
    let found = match path.as_slice() {
        ["schemas", "ids", id] => {
            let id: usize = id.parse().unwrap();
            let schemas = schemas.lock().unwrap();
            schemas
                .get(id - 1)
                .map(|(_, schema)| serde_json::json!({ "schema": schema }))
        }
        ["subjects", subject, "versions", "latest"] => {
            let schemas = schemas.lock().unwrap();
            let newest = schemas.iter().enumerate().rfind(|(_, (name, _))| name == subject);
            newest.map(|(at, (_, schema))| serde_json::json!({ "id": at + 1, "schema": schema }))
        }
        ["subjects", subject, "versions"] => {
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let id = put(schemas, subject, body["schema"].as_str().unwrap());
            Some(serde_json::json!({ "id": id }))
        }
        _ => None,
    };
    let (status, text) = match found {
        Some(found) => ("200 OK", found.to_string()),
        None => (
            "404 Not Found",
            "{\"error_code\":40401,\"message\":\"not found\"}".to_owned(),
        ),
    };
    let length = text.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    let mut stream = reader.into_inner();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_sink_registers_its_schema_and_a_source_finds_it() {
    let Some(broker) = shared() else { return };
    let registry = FakeRegistry::start();
    let topic = broker.topic("registered", 1);
    let with = |relation: Relation| relation.with("schema.registry", &registry.address);
    let sink = with(Relation::new(RelationKind::Sink, broker, &topic, "avro")).sink();
    let mut writer = sink.create(&usual().schema()).unwrap();
    writer.write(&usual()).unwrap();
    writer.commit().unwrap();
    let records = topic.records();
    assert_eq!(records[0].value.as_ref().unwrap()[..5], [0, 0, 0, 0, 1]);
    let stream = with(Relation::stream(broker, &topic, "avro"));
    let mut rows = stream.rows();
    // Without a declaration times are as the schema has them.
    rows.iter_mut().for_each(|row| *row = row.replace("Z", ""));
    assert_eq!(rows, texts(&usual()));
}

#[test]
fn protobuf_goes_by_way_of_the_registry() {
    let Some(broker) = shared() else { return };
    let registry = FakeRegistry::start();
    let topic = broker.topic("proto-registered", 1);
    let schema = "syntax = \"proto3\"; message A { int64 x = 1; } message B { optional int64 id = 1; }";
    let with = |relation: Relation| {
        relation
            .with("schema.registry", &registry.address)
            .with("schema.message", "B")
    };
    let batch = usual().project(&[0]).unwrap();
    let sink = with(Relation::new(RelationKind::Sink, broker, &topic, "protobuf")).with("schema", schema);
    let mut writer = sink.sink().create(&batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.commit().unwrap();
    // Zero, the schema's number, then the message's place: one index, which is 1.
    let records = topic.records();
    assert_eq!(records[0].value.as_ref().unwrap()[..7], [0, 0, 0, 0, 1, 2, 2]);
    assert_eq!(
        with(Relation::stream(broker, &topic, "protobuf")).rows(),
        texts(&batch)
    );
}

#[test]
fn a_registry_that_is_away_or_lacks_the_subject_is_an_error() {
    let Some(broker) = shared() else { return };
    let registry = FakeRegistry::start();
    let topic = broker.topic("lacking", 1);
    let stream = Relation::stream(broker, &topic, "avro").with("schema.registry", &registry.address);
    let text = stream.refusal();
    assert!(
        text.contains(&format!("no subject '{}-value'", topic.name)),
        "{text}"
    );
    let away = Relation::stream(broker, &topic, "avro").with("schema.registry", "http://127.0.0.1:1");
    let text = away.refusal();
    assert!(
        text.contains("it does not answer") && text.contains("check schema.registry"),
        "{text}"
    );
}

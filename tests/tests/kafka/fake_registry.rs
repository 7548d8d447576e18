//! A small schema registry that answers as the registry's documentation says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

/// A registry in memory, with the calls that are used: a schema by number, a version of a subject or the
/// newest, a new one.
pub(crate) struct FakeRegistry {
    pub(crate) address: String,
    pub(crate) port: u16,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    /// A schema's number is its place, from 1.
    schemas: Vec<Entry>,
    /// What each request must say of who asks.
    authorization: Option<String>,
    /// Paths that were asked for.
    asked: Vec<String>,
}

#[derive(Clone, PartialEq)]
struct Entry {
    subject: String,
    schema: String,
    references: Value,
}

impl FakeRegistry {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let kept = Arc::<Mutex<Kept>>::default();
        let served = Arc::clone(&kept);
        // It ends with the process: nobody asks it after its test.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&served);
                thread::spawn(move || answer(stream, &kept));
            }
        });
        let address = format!("http://127.0.0.1:{port}");
        Self { address, port, kept }
    }

    pub(crate) fn register(&self, subject: &str, schema: &str) -> u8 {
        self.register_with(subject, schema, &[])
    }

    /// Registers a schema that refers to others: name, subject, version.
    pub(crate) fn register_with(&self, subject: &str, schema: &str, references: &[(&str, &str, u64)]) -> u8 {
        let references = references
            .iter()
            .map(|(name, subject, version)| json!({"name": name, "subject": subject, "version": version}));
        let entry = Entry {
            subject: subject.to_owned(),
            schema: schema.to_owned(),
            references: references.collect(),
        };
        u8::try_from(put(&mut self.kept.lock().unwrap(), entry)).unwrap()
    }

    /// Has it answer nobody but who says so.
    pub(crate) fn insist_on(&self, authorization: &str) {
        self.kept.lock().unwrap().authorization = Some(authorization.to_owned());
    }

    /// Returns how often a path was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        let kept = self.kept.lock().unwrap();
        kept.asked.iter().filter(|asked| asked.as_str() == path).count()
    }
}

fn put(kept: &mut Kept, entry: Entry) -> usize {
    match kept.schemas.iter().position(|known| *known == entry) {
        Some(at) => at + 1,
        None => {
            kept.schemas.push(entry);
            kept.schemas.len()
        }
    }
}

/// A request: its path, who asks, and its body.
struct Request {
    path: String,
    authorization: Option<String>,
    body: Vec<u8>,
}

fn read(reader: &mut BufReader<TcpStream>) -> std::io::Result<Request> {
    let (mut line, mut length, mut authorization) = (String::new(), 0, None);
    reader.read_line(&mut line)?;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        if header.trim().is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').unwrap();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "authorization" => authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    Ok(Request {
        path,
        authorization,
        body,
    })
}

/// Answers one request and closes the connection.
fn answer(stream: TcpStream, kept: &Mutex<Kept>) {
    let mut reader = BufReader::new(stream);
    let Ok(request) = read(&mut reader) else { return };
    let (status, text) = {
        let mut kept = kept.lock().unwrap();
        kept.asked.push(request.path.clone());
        if kept.authorization.is_some() && kept.authorization != request.authorization {
            (
                "401 Unauthorized",
                json!({"error_code": 401, "message": "who are you?"}),
            )
        } else {
            match find(&mut kept, &request) {
                Some(found) => ("200 OK", found),
                None => (
                    "404 Not Found",
                    json!({"error_code": 40401, "message": "not found"}),
                ),
            }
        }
    };
    let text = text.to_string();
    let length = text.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    let mut stream = reader.into_inner();
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(text.as_bytes()));
}

fn find(kept: &mut Kept, request: &Request) -> Option<Value> {
    let path: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
    let shown =
        |id: usize, entry: &Entry| json!({"id": id, "schema": entry.schema, "references": entry.references});
    match path.as_slice() {
        ["schemas", "ids", id] => {
            let id: usize = id.parse().unwrap();
            kept.schemas.get(id.checked_sub(1)?).map(|entry| shown(id, entry))
        }
        ["subjects", subject, "versions", version] => {
            let all = kept.schemas.iter().enumerate();
            let mut all: Vec<_> = all.filter(|(_, entry)| entry.subject == *subject).collect();
            let found = match version.parse::<usize>() {
                Ok(version) => all.get(version.checked_sub(1)?).copied(),
                Err(_) => all.pop(),
            };
            found.map(|(at, entry)| shown(at + 1, entry))
        }
        ["subjects", subject, "versions"] => {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let entry = Entry {
                subject: (*subject).to_owned(),
                schema: body["schema"].as_str().unwrap().to_owned(),
                references: json!([]),
            };
            Some(json!({"id": put(kept, entry)}))
        }
        _ => None,
    }
}

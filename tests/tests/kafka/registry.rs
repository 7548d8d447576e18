//! Schemas of a registry: found, put there, referred to, over TLS.

use fletching::connector::{RelationKind, ScanRequest};
use fletching_tests::broker::{secured, shared};

use crate::evolution::framed;
use crate::fake_registry::FakeRegistry;
use crate::formats::usual;
use crate::support::{Relation, texts};

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

#[test]
fn schemas_that_refer_to_others_are_put_together() {
    let Some(broker) = shared() else { return };
    let registry = FakeRegistry::start();
    let country = r#"{"type": "enum", "name": "Country", "namespace": "geo", "symbols": ["DE", "FR"]}"#;
    registry.register("country", country);
    let address = r#"{"type": "record", "name": "Address", "namespace": "geo", "fields": [
        {"name": "city", "type": "string"}, {"name": "country", "type": "Country"}]}"#;
    registry.register_with("address", address, &[("geo.Country", "country", 1)]);
    let order = r#"{"type": "record", "name": "Order", "namespace": "shop", "fields": [
        {"name": "id", "type": "long"}, {"name": "home", "type": "geo.Address"},
        {"name": "work", "type": ["null", "geo.Address"]}]}"#;
    let topic = broker.topic("referring", 1);
    let subject = format!("{}-value", topic.name);
    let id = registry.register_with(
        &subject,
        order,
        &[("geo.Country", "country", 1), ("geo.Address", "address", 1)],
    );
    // 1, home in Ulm, DE; no work. 2, home in Ulm, DE; work in Metz, FR.
    topic.send_values([
        framed(id, &[2, 6, b'U', b'l', b'm', 0, 0]),
        framed(id, &[4, 6, b'U', b'l', b'm', 0, 2, 8, b'M', b'e', b't', b'z', 2]),
    ]);
    let stream = Relation::stream(broker, &topic, "avro").with("schema.registry", &registry.address);
    assert_eq!(
        stream.rows(),
        [
            "1|{city: Ulm, country: DE}|-",
            "2|{city: Ulm, country: DE}|{city: Metz, country: FR}"
        ]
    );
    // A version never changes: it is asked for once.
    assert_eq!(registry.asked("/subjects/country/versions/1"), 1);

    let topic = broker.topic("importing", 1);
    registry.register(
        "money.proto",
        "syntax = \"proto3\"; package m; message Money { int64 cents = 1; }",
    );
    let item = "syntax = \"proto3\"; package m; import \"money.proto\"; message Item { Money price = 1; }";
    registry.register_with("item", item, &[("money.proto", "money.proto", 1)]);
    let order = "syntax = \"proto3\"; import \"shop/item.proto\";
                 message Order { int32 id = 1; repeated m.Item items = 2; }";
    let subject = format!("{}-value", topic.name);
    let id = registry.register_with(&subject, order, &[("shop/item.proto", "item", 1)]);
    // The first message of the file; id 7, two items of 1 and 2 cents.
    let item = |cents: u8| vec![0x12, 4, 0x0a, 2, 0x08, cents];
    topic.send_values([framed(id, &[vec![0, 0x08, 7], item(1), item(2)].concat())]);
    let stream = Relation::stream(broker, &topic, "protobuf").with("schema.registry", &registry.address);
    assert_eq!(stream.rows(), ["7|[{price: {cents: 1}}, {price: {cents: 2}}]"]);
    // A sink with the registry's own schema puts none there, and uses its number.
    let batches = batches(&stream);
    let sink = Relation::new(RelationKind::Sink, broker, &topic, "protobuf");
    let sink = sink.with("schema.registry", &registry.address).sink();
    let mut writer = sink.create(&batches[0].schema()).unwrap();
    writer.write(&batches[0]).unwrap();
    writer.commit().unwrap();
    let records = topic.records();
    assert_eq!(records[0].value, records[1].value);
}

fn batches(relation: &Relation) -> Vec<arrow::array::RecordBatch> {
    let mut found = Vec::new();
    for mut reader in relation.source().scan(&ScanRequest::all()).unwrap() {
        while let Some(batch) = reader.next_batch().unwrap() {
            found.push(batch);
        }
    }
    found
}

#[test]
fn references_that_go_in_a_circle_or_nowhere_are_refused() {
    let Some(broker) = shared() else { return };
    let registry = FakeRegistry::start();
    let topic = broker.topic("circle", 1);
    let subject = format!("{}-value", topic.name);
    let record = r#"{"type": "record", "name": "R", "fields": []}"#;
    registry.register_with("a", record, &[("B", "b", 1)]);
    registry.register_with("b", record, &[("A", "a", 1)]);
    registry.register_with(&subject, record, &[("A", "a", 1)]);
    let stream = Relation::stream(broker, &topic, "avro").with("schema.registry", &registry.address);
    let said = stream.refusal();
    assert!(
        said.contains("in a circle: A (a), which refers to B (b), which refers to A (a)"),
        "{said}"
    );
    registry.register_with(&subject, record, &[("C", "c", 4)]);
    let said = stream.refusal();
    assert!(
        said.contains("refers to 'C', version 4 of subject 'c', which is not there"),
        "{said}"
    );
}

#[test]
fn a_registry_may_ask_who_is_there() {
    let Some(broker) = shared() else { return };
    let registry = FakeRegistry::start();
    registry.insist_on("Basic dXNlcjpodXNo");
    let topic = broker.topic("asked", 1);
    let schema = r#"{"type": "record", "name": "R", "fields": [{"name": "id", "type": "long"}]}"#;
    let id = registry.register(&format!("{}-value", topic.name), schema);
    topic.send_values([framed(id, &[2])]);
    let stream = |password: &str| {
        Relation::stream(broker, &topic, "avro")
            .with("schema.registry", &registry.address)
            .with("schema.registry.user", "user")
            .with("schema.registry.password", password)
    };
    assert_eq!(stream("hush").rows(), ["1"]);
    let said = stream("not-it").refusal();
    assert!(
        said.contains("status 401") && said.contains("schema.registry.password") && !said.contains("not-it"),
        "{said}"
    );
}

#[test]
fn a_registry_with_tls_by_an_authority_of_ones_own() {
    let Some(broker) = secured() else { return };
    let registry = FakeRegistry::start();
    let made = broker.certificates();
    let front = made.front(registry.port);
    let topic = broker.topic("https", 1);
    let schema = r#"{"type": "record", "name": "R", "fields": [{"name": "id", "type": "long"}]}"#;
    let id = registry.register(&format!("{}-value", topic.name), schema);
    topic.send_values([framed(id, &[2])]);
    let stream = || {
        let stream = Relation::stream(broker, &topic, "avro");
        stream.with("schema.registry", &format!("https://127.0.0.1:{}/", front.port))
    };
    let (location, pem) = ("schema.registry.ssl.ca.location", "schema.registry.ssl.ca.pem");
    assert_eq!(stream().with(location, &made.path("ca.pem")).rows(), ["1"]);
    assert_eq!(stream().with(pem, &made.text("ca.pem")).rows(), ["1"]);
    let asked = registry.asked("/schemas/ids/1");
    // By the system's authorities, and by another one.
    for refused in [stream(), stream().with(location, &made.path("other.pem"))] {
        let said = refused.refusal();
        assert!(
            said.contains("its certificate is refused") && said.contains(location),
            "{said}"
        );
    }
    assert_eq!(registry.asked("/schemas/ids/1"), asked);
    let said = stream().with(location, &made.path("client.key")).refusal();
    assert!(said.contains("holds no certificate in PEM"), "{said}");
}

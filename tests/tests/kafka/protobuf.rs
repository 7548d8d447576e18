//! Protobuf's messages within messages, lists and maps: in SQL, read and written.

use arrow::datatypes::{DataType, Field};
use fletching::Session;
use fletching::connector::RelationKind;
use fletching_tests::broker::{Topic, shared};

use crate::support::{Relation, texts};

const ORDERS: &str = r#"
    syntax = "proto3";
    import "google/protobuf/timestamp.proto";
    message Order {
      int64 id = 1;
      Customer customer = 2;
      repeated Line lines = 3;
      map<string, double> rates = 4;
      repeated int32 tags = 5;
      oneof pay { string iban = 6; Card card = 7; }
      google.protobuf.Timestamp at = 8;
      message Card { string number = 1; }
    }
    message Customer { string name = 1; optional int32 age = 2; }
    message Line { string symbol = 1; int32 quantity = 2; Side side = 3; }
    enum Side { NONE = 0; BUY = 1; SELL = 2; }"#;

fn session() -> Session {
    let builder = Session::builder().connectors(fletching_connectors::all());
    builder.threads(2).build().unwrap()
}

fn rows(session: &Session, sql: &str) -> Vec<String> {
    let batches = session
        .sql(sql)
        .and_then(fletching::Rows::collect_batches)
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    batches.iter().flat_map(texts).collect()
}

/// Two orders, written by SQL.
fn written(session: &Session, topic: &Topic, servers: &str) -> String {
    let place = format!(
        "WITH (connector = 'kafka', 'bootstrap.servers' = '{servers}', topic = '{}', format = 'protobuf', \
         schema = '{ORDERS}', schema.message = 'Order')",
        topic.name
    );
    let sink = format!(
        "CREATE SINK orders {place} AS
         SELECT 1 AS id, named_struct('age', 30, 'name', 'Ada') AS customer,
           [named_struct('symbol', 'AAA', 'quantity', 5, 'side', 'BUY'),
            named_struct('symbol', 'BBB', 'quantity', 7, 'side', 'SELL')] AS lines,
           MAP {{'EUR': 1.0, 'USD': 1.25}} AS rates, [1, -2, 300] AS tags,
           'DE00' AS iban, TIMESTAMP '2026-01-02T03:04:05' AS at
         UNION ALL
         SELECT 2, NULL, NULL, NULL, NULL, NULL, NULL
         ORDER BY id"
    );
    rows(session, &sink);
    place
}

#[test]
fn what_is_nested_is_written_read_and_queried() {
    let Some(broker) = shared() else { return };
    let session = session();
    let topic = broker.topic("nested", 1);
    let place = written(&session, &topic, broker.servers());
    // By the schema, in SQL.
    rows(&session, &format!("CREATE STREAM told {place}"));
    assert_eq!(
        rows(
            &session,
            "SELECT id, customer['name'], customer['age'], iban, card, at FROM told"
        ),
        [
            "1|Ada|30|DE00|-|2026-01-02T03:04:05",
            // Of a oneof and of a message nothing is there.
            "2|-|-|-|-|-"
        ]
    );
    assert_eq!(
        rows(
            &session,
            "SELECT id, tags, cardinality(lines), lines[2]['side'] FROM told"
        ),
        ["1|[1, -2, 300]|2|SELL", "2|[]|0|-"]
    );
    assert_eq!(
        rows(&session, "SELECT rates['USD'] FROM told WHERE id = 1"),
        ["1.25"]
    );
    assert_eq!(
        rows(
            &session,
            "SELECT line['symbol'], sum(line['quantity']) FROM (SELECT unnest(lines) AS line FROM told) AS l \
             GROUP BY 1 ORDER BY 1"
        ),
        ["AAA|5", "BBB|7"]
    );
    // Declared in part, in another order, and as other types.
    let columns = "(id INT, customer STRUCT<age BIGINT, name VARCHAR>, lines STRUCT<quantity BIGINT>[])";
    rows(&session, &format!("CREATE STREAM declared {columns} {place}"));
    assert_eq!(
        rows(&session, "SELECT * FROM declared"),
        ["1|{age: 30, name: Ada}|[{quantity: 5}, {quantity: 7}]", "2|-|[]"]
    );
}

#[test]
fn what_cannot_be_is_said_with_its_path() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("paths", 1);
    let stream = || Relation::stream(broker, &topic, "protobuf").with("schema", ORDERS);
    let list = |of: DataType| DataType::List(Field::new_list_field(of, true).into());
    let one = |name: &str, of: DataType| DataType::Struct(vec![Field::new(name, of, true)].into());
    let wrong = stream().columns(&[("lines", list(one("symbl", DataType::Utf8View)))]);
    let said = wrong.refusal_of_feed();
    assert!(said.contains("'lines[].symbl'; did you mean 'symbol'?"), "{said}");
    let wrong = stream().columns(&[("lines", list(one("symbol", list(DataType::Utf8View))))]);
    let said = wrong.refusal_of_feed();
    assert!(
        said.contains("column 'lines[].symbol' is VARCHAR, which cannot become"),
        "{said}"
    );
    // A value within, that does not fit what is declared.
    // Order 1 with lines of 1 and 300.
    topic.send_values([vec![0x1a, 2, 0x10, 1, 0x1a, 3, 0x10, 0xac, 0x02]]);
    let narrow = stream().columns(&[("lines", list(one("quantity", DataType::Int8)))]);
    let error = crate::support::scan(
        narrow.source().as_ref(),
        &fletching::connector::ScanRequest::all(),
    );
    let said = error.unwrap_err().to_string();
    assert!(
        said.contains("lines[].quantity") && said.contains("expected TINYINT, found '300'"),
        "{said}"
    );
}

#[test]
fn what_cannot_be_written_is_said_with_its_path() {
    let Some(broker) = shared() else { return };
    let session = session();
    let topic = broker.topic("unwritable", 1);
    let refused = |query: &str| {
        let sink = format!(
            "CREATE SINK out WITH (connector = 'kafka', 'bootstrap.servers' = '{}', topic = '{}', \
             format = 'protobuf', schema = '{ORDERS}') AS SELECT {query}",
            broker.servers(),
            topic.name
        );
        let ran = session.sql(&sink).and_then(fletching::Rows::collect_batches);
        ran.expect_err(query).to_string()
    };
    for (query, said) in [
        ("[1, NULL] AS tags", "column 'tags' has a NULL as element 1"),
        (
            "[named_struct('symbol', 'A', 'side', 'HOLD')] AS lines",
            "column 'lines[].side' is 'HOLD', which is no value of the enum Side",
        ),
        (
            "[named_struct('sides', 'A')] AS lines",
            "has no field 'lines[].sides'; did you mean 'side'?",
        ),
        (
            "named_struct('name', 'A', 'age', 3000000000) AS customer",
            "column 'customer.age': expected INTEGER, found '3000000000'",
        ),
        (
            "'DE00' AS iban, named_struct('number', '1') AS card",
            "column 'iban' and 'card' are both there",
        ),
        (
            "CAST(NULL AS BIGINT) AS id",
            "column 'id' is NULL, but its field is not optional",
        ),
        (
            "1 AS customer",
            "column 'customer' is BIGINT, which cannot become STRUCT",
        ),
    ] {
        let found = refused(query);
        assert!(found.contains(said), "{found}");
    }
}

#[test]
fn presence_by_proto2_and_what_no_column_can_be() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("proto2", 1);
    let schema = r#"
        syntax = "proto2";
        message Node {
          required int32 id = 1;
          optional int32 weight = 2 [default = 7];
          optional Node next = 3;
          repeated group Old = 4 { optional int32 x = 1; }
          repeated Node all = 5;
        }"#;
    let stream = || Relation::stream(broker, &topic, "protobuf").with("schema", schema);
    topic.send_values([vec![0x08, 1], vec![0x08, 2, 0x10, 3], vec![0x10, 4]]);
    let names: Vec<String> = stream()
        .source()
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    assert_eq!(names, ["id", "weight"]);
    // What is not there is NULL, whatever default the schema names; what is required must be there.
    assert_eq!(stream().with("on_bad_row", "skip").rows(), ["1|-", "2|3"]);
    let said = stream()
        .columns(&[("next", DataType::Utf8View)])
        .refusal_of_feed();
    assert!(
        said.contains("the field 'next' holds a message within itself"),
        "{said}"
    );
    let said = stream().columns(&[("old", DataType::Utf8View)]).refusal_of_feed();
    assert!(said.contains("the field 'old' is a group"), "{said}");
    // A message within another one can be the one that is read.
    let inner = stream()
        .with("schema", ORDERS)
        .with("schema.message", "Order.Card");
    assert_eq!(inner.source().schema().field(0).name(), "number");
    let sink = Relation::new(RelationKind::Sink, broker, &topic, "protobuf").with("schema", schema);
    let lacking = arrow::array::RecordBatch::try_from_iter([(
        "weight",
        std::sync::Arc::new(arrow::array::Int32Array::from(vec![1])) as arrow::array::ArrayRef,
    )]);
    let said = sink
        .sink()
        .create(&lacking.unwrap().schema())
        .err()
        .unwrap()
        .to_string();
    assert!(said.contains("its field 'id' is required"), "{said}");
}

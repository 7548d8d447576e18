//! `--set`: values for `${name}`, and settings.

use crate::Desk;

#[test]
fn names_in_the_script_are_replaced() {
    let desk = Desk::new();
    desk.write(
        "a.sql",
        "CREATE STREAM s WITH (path = '${in}');\nSELECT count(*) AS n FROM s WHERE amount > ${least};",
    );
    let arguments = ["run", "a.sql", "--set", "in=trades.csv", "--set", "least=2"];
    assert_eq!(desk.run(&arguments).fine(), "n\n2\n");
}

#[test]
fn a_name_without_a_value_is_shown_with_the_fix() {
    let desk = Desk::new();
    desk.write("a.sql", "SELECT 1;\nSELECT ${day};\n");
    let expected = "\
error: ${day} has no value
  --> a.sql:2:8
   |
 2 | SELECT ${day};
   |        ^^^^^^
   = help: give it one, as in --set day=VALUE
";
    assert_eq!(desk.run(&["run", "a.sql"]).failed(2), expected);
}

#[test]
fn other_names_are_settings() {
    let desk = Desk::new();
    let shown = desk.run(&["--set", "threads=1", "-c", "SHOW threads"]).fine();
    assert_eq!(shown, "name,value\nthreads,1\n");
    let shown = desk.run(&["--threads", "2", "-c", "SHOW threads"]).fine();
    assert_eq!(shown, "name,value\nthreads,2\n");
}

#[test]
fn a_misspelt_setting_is_named_with_the_nearest() {
    let desk = Desk::new();
    let message = desk.run(&["--set", "thread=1", "-c", "SELECT 1"]).failed(2);
    assert!(
        message.contains("thread") && message.contains("did you mean 'threads'?"),
        "{message}"
    );
}

#[test]
fn an_error_is_placed_in_the_script_as_it_was_written() {
    let desk = Desk::new();
    desk.write("a.sql", "SELECT ${long}, oops FROM (SELECT 1 AS a) t;");
    let message = desk
        .run(&["run", "a.sql", "--set", "long=1 + 2 + 3 + 4"])
        .failed(2);
    assert!(message.contains("--> a.sql:1:17\n"), "{message}");
    assert!(message.contains("\n 1 | SELECT ${long}, oops FROM"), "{message}");
    assert!(message.contains("\n   |                 ^^^^\n"), "{message}");
}

//! DuckDB's `loop`, `foreach` and `endloop`, written out before records are read.

/// A line of a script with its number, counted from one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) text: String,
}

/// Turns a text into numbered lines.
pub(super) fn lines_of(text: &str) -> Vec<Line> {
    text.lines()
        .enumerate()
        .map(|(at, text)| Line {
            number: at + 1,
            text: text.trim_end_matches('\r').to_string(),
        })
        .collect()
}

/// Writes loops out: the lines between are repeated with `${name}` replaced.
pub(super) fn unroll(lines: &[Line]) -> Vec<Line> {
    let mut out = Vec::with_capacity(lines.len());
    let mut at = 0;
    while at < lines.len() {
        let Some((name, values)) = loop_header(&lines[at].text) else {
            out.push(lines[at].clone());
            at += 1;
            continue;
        };
        let end = end_of_loop(lines, at);
        let body = &lines[at + 1..end];
        for value in &values {
            let replaced: Vec<Line> = body
                .iter()
                .map(|line| Line {
                    number: line.number,
                    text: replace(&line.text, &name, value),
                })
                .collect();
            out.extend(unroll(&replaced));
        }
        at = end + 1;
    }
    out
}

fn end_of_loop(lines: &[Line], start: usize) -> usize {
    let mut depth = 0;
    for (at, line) in lines.iter().enumerate().skip(start) {
        if loop_header(&line.text).is_some() {
            depth += 1;
        } else if line.text.trim() == "endloop" {
            depth -= 1;
            if depth == 0 {
                return at;
            }
        }
    }
    lines.len()
}

/// Reads `loop i 0 10` and `foreach name value …`: the name and its values.
fn loop_header(line: &str) -> Option<(String, Vec<String>)> {
    let mut words = line.split_whitespace();
    match (words.next()?, words.next()) {
        ("loop" | "concurrentloop", Some(name)) => {
            let from: i64 = words.next()?.parse().ok()?;
            let to: i64 = words.next()?.parse().ok()?;
            Some((
                name.to_string(),
                (from..to).map(|value| value.to_string()).collect(),
            ))
        }
        ("foreach" | "concurrentforeach", Some(name)) => {
            let mut values = Vec::new();
            for word in words {
                match word.strip_prefix('!') {
                    Some(not) => {
                        let not = named_values(not);
                        values.retain(|value| !not.contains(value));
                    }
                    None => values.extend(named_values(word)),
                }
            }
            Some((name.to_string(), values))
        }
        _ => None,
    }
}

/// DuckDB's names for sets of types, of which those that there are here.
fn named_values(word: &str) -> Vec<String> {
    const SIGNED: &[&str] = &["tinyint", "smallint", "integer", "bigint"];
    const UNSIGNED: &[&str] = &[
        "tinyint unsigned",
        "smallint unsigned",
        "int unsigned",
        "bigint unsigned",
    ];
    const FLOATS: &[&str] = &["float", "double"];
    const OTHERS: &[&str] = &["bool", "interval", "varchar"];
    let all: Vec<&[&str]> = match word {
        "<signed>" => vec![SIGNED],
        "<unsigned>" => vec![UNSIGNED],
        "<integral>" => vec![SIGNED, UNSIGNED],
        "<numeric>" => vec![SIGNED, UNSIGNED, FLOATS],
        "<alltypes>" => vec![SIGNED, UNSIGNED, FLOATS, OTHERS],
        "<all_types_columns>" => vec![SIGNED, FLOATS],
        one => return vec![one.to_string()],
    };
    all.concat().into_iter().map(str::to_string).collect()
}

/// Replaces `${name}`, and several values at once where the name is `a,b`.
fn replace(text: &str, name: &str, value: &str) -> String {
    name.split(',')
        .zip(value.split(','))
        .filter(|_| name.contains(','))
        .chain([(name, value)])
        .fold(text.to_string(), |text, (name, value)| {
            text.replace(&format!("${{{name}}}"), value)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unrolled(text: &str) -> Vec<String> {
        unroll(&lines_of(text))
            .into_iter()
            .map(|line| line.text)
            .collect()
    }

    #[test]
    fn loops_nest() {
        let text = "a\nloop i 0 2\nforeach t x y\n${t}${i}\nendloop\nendloop\nb";
        assert_eq!(unrolled(text), ["a", "x0", "y0", "x1", "y1", "b"]);
    }

    #[test]
    fn values_may_come_in_tuples_and_be_left_out() {
        assert_eq!(
            unrolled("foreach a,b 1,2 3,4\n${a}-${b}\nendloop"),
            ["1-2", "3-4"]
        );
        assert_eq!(
            unrolled("foreach t <signed> !integer !bigint\n${t}\nendloop"),
            ["tinyint", "smallint"]
        );
    }

    #[test]
    fn a_line_keeps_its_number() {
        let lines = unroll(&lines_of("loop i 0 2\nx\nendloop\nz"));
        let numbers: Vec<_> = lines.iter().map(|line| line.number).collect();
        assert_eq!(numbers, [2, 2, 4]);
    }
}

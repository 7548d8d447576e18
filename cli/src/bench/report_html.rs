//! A page with the findings: self-contained, no scripts, bars as SVG, light or dark as the reader
//! has it.

use std::fmt::Write;

use super::report_text::{conditions, micros, millions, times_faster};
use super::results::{CaseFindings, ContenderFindings, Findings, batch_gains};
use crate::figures::count;

const STYLE: &str = "\
:root { color-scheme: light dark; --ink: #1c1c1a; --faint: #6b6b66; --line: #deded8; --paper: #fcfcfa;
  --ours: #0b6e5f; --building: #6fb3a6; --rival: #a9a9a2; --wrong: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e9e9e4; --faint: #9c9c95; --line: #3a3a37;
  --paper: #191918; --ours: #3fbfa8; --building: #2b7d6f; --rival: #6d6d68; --wrong: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 2rem 1.25rem 4rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.25rem; margin: 3rem 0 .25rem; }
h3 { font-size: 1rem; margin: 2rem 0 .25rem; }
p { margin: .25rem 0 .75rem; max-width: 46rem; } .faint { color: var(--faint); font-size: .875rem; }
.wrong { color: var(--wrong); }
svg { display: block; width: 100%; height: auto; max-width: 46rem; margin: .5rem 0; }
svg text { font: 13px system-ui, sans-serif; fill: var(--ink); } svg .value { fill: var(--faint); }
.ours { fill: var(--ours); } .building { fill: var(--building); } .rival { fill: var(--rival); }
.table { overflow-x: auto; } table { border-collapse: collapse; font-size: .875rem; }
th, td { padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; font-variant-numeric: tabular-nums; }
th { color: var(--faint); font-weight: normal; } th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
pre { overflow-x: auto; font-size: .8125rem; padding: .75rem; border: 1px solid var(--line); border-radius: 4px; }
details summary { cursor: pointer; color: var(--faint); font-size: .875rem; }
";

/// Writes the page.
pub(super) fn page(findings: &Findings) -> String {
    let mut html = String::new();
    // Writing to a string cannot fail.
    let _ = write_page(findings, &mut html);
    html
}

fn write_page(findings: &Findings, html: &mut String) -> std::fmt::Result {
    let machine = &findings.machine;
    write!(
        html,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>fletching bench</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>fletching bench</h1>\n<p class=\"faint\">fletching {}, {}; {}, {} cores, {} GB, {}.</p>\n",
        findings.fletching,
        date(findings.began_unix_s),
        escaped(&machine.cpu),
        machine.cores,
        machine.memory_bytes.div_ceil(1 << 30),
        escaped(&machine.system),
    )?;
    if !findings.optimized {
        html.push_str("<p class=\"wrong\">This build is not optimised: its figures mean nothing.</p>\n");
    }
    if findings.scale > 1 {
        writeln!(
            html,
            "<p class=\"wrong\">Sizes are divided by {}.</p>",
            findings.scale
        )?;
    }
    html.push_str(
        "<p>Medians of runs that took turns with those of the others, on one machine, on the same \
         data, with results compared row by row. Output memory is fresh: every run asks the allocator.</p>\n",
    );
    let mut title = "";
    for case in &findings.cases {
        if case.title != title {
            title = &case.title;
            writeln!(
                html,
                "<h2>{}</h2>\n<p>{}</p>",
                escaped(title),
                escaped(&case.about)
            )?;
        }
        write_case(case, html)?;
    }
    for (name, micros, gain) in batch_gains(&findings.cases) {
        let name = escaped(&name);
        writeln!(
            html,
            "<p>{name}: {micros:.2} µs a record called singly; a record in a batch costs {gain:.1} times less.</p>"
        )?;
    }
    html.push_str("</body>\n</html>\n");
    Ok(())
}

fn write_case(case: &CaseFindings, html: &mut String) -> std::fmt::Result {
    let (name, said) = (escaped(&case.name), escaped(&conditions(case)));
    writeln!(html, "<section>\n<h3>{name}</h3>\n<p class=\"faint\">{said}.</p>")?;
    write_bars(case, html)?;
    write_table(case, html)?;
    for contender in &case.contenders {
        if let Some(error) = &contender.error {
            let name = escaped(&contender.name);
            writeln!(html, "<p class=\"wrong\">{name}: {}</p>", escaped(error))?;
        }
    }
    for left_out in &case.left_out {
        let (name, why) = (escaped(&left_out.name), escaped(&left_out.why));
        writeln!(html, "<p class=\"faint\">Left out: {name}: {why}</p>")?;
    }
    let (compared, sql) = (escaped(&case.compared), escaped(&case.sql));
    writeln!(
        html,
        "<p class=\"faint\">Results: {compared}.</p>\n\
         <details><summary>The query</summary><pre>{sql}</pre></details>\n</section>"
    )
}

/// Width of the plot, and where its bars begin, in its own units.
const WIDTH: f64 = 720.0;
const LEFT: f64 = 190.0;
/// Room for a value behind the longest bar.
const RIGHT: f64 = 130.0;
const BAR: f64 = 20.0;
const STEP: f64 = 28.0;

/// Draws rows a second, a bar for each contender.
fn write_bars(case: &CaseFindings, html: &mut String) -> std::fmt::Result {
    let shown: Vec<(&ContenderFindings, f64)> = case
        .contenders
        .iter()
        .filter_map(|contender| Some((contender, contender.figures.as_ref()?.rows_per_s)))
        .collect();
    let most = shown.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    if most <= 0.0 {
        return Ok(());
    }
    let height = STEP * shown.len() as f64;
    let name = escaped(&case.name);
    writeln!(
        html,
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Rows a second, {name}\">"
    )?;
    for (at, (contender, rate)) in shown.iter().enumerate() {
        let top = STEP * at as f64 + (STEP - BAR) / 2.0;
        let length = ((WIDTH - LEFT - RIGHT) * rate / most).max(1.0);
        let class = match (contender.is_ours, at) {
            (true, 0) => "ours",
            (true, _) => "building",
            (false, _) => "rival",
        };
        let (label, base) = (escaped(&contender.name), top + BAR * 0.72);
        writeln!(
            html,
            "<text x=\"{:.0}\" y=\"{base:.1}\" text-anchor=\"end\">{label}</text>\
             <rect class=\"{class}\" x=\"{LEFT}\" y=\"{top:.1}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"2\"/>\
             <text class=\"value\" x=\"{:.1}\" y=\"{base:.1}\">{} M rows/s</text>",
            LEFT - 10.0,
            LEFT + length + 8.0,
            millions(*rate)
        )?;
    }
    html.push_str("</svg>\n");
    Ok(())
}

fn write_table(case: &CaseFindings, html: &mut String) -> std::fmt::Result {
    let has_batches = case
        .contenders
        .iter()
        .any(|c| c.figures.as_ref().is_some_and(|f| f.batch_ns.is_some()));
    let is_building = case.contenders.iter().filter(|c| c.is_ours).count() > 1;
    let mut heads = vec!["contender", "mode", "M rows/s", "per core", "seconds"];
    if has_batches {
        heads.extend(["p50 µs", "p90 µs", "p99 µs", "max µs"]);
    }
    heads.extend(["peak RSS, MB", "fletching is"]);
    if is_building {
        heads.push("build counted");
    }
    heads.push("version");
    let cells = |tag: &str, cells: &[String]| {
        cells.iter().fold(String::new(), |row, cell| {
            row + &format!("<{tag}>{}</{tag}>", escaped(cell))
        })
    };
    let heads: Vec<String> = heads.into_iter().map(str::to_owned).collect();
    writeln!(
        html,
        "<div class=\"table\"><table>\n<tr>{}</tr>",
        cells("th", &heads)
    )?;
    for contender in &case.contenders {
        let Some(figures) = &contender.figures else {
            continue;
        };
        let mut row = vec![
            contender.name.clone(),
            contender.mode.clone(),
            millions(figures.rows_per_s),
            millions(figures.rows_per_s_per_core),
            format!("{:.4}", figures.seconds),
        ];
        if has_batches {
            let spread = figures.batch_ns;
            row.extend(
                spread
                    .into_iter()
                    .flat_map(|s| [s.p50, s.p90, s.p99, s.max])
                    .map(micros),
            );
        }
        row.push(count(figures.peak_rss_bytes / 1_000_000));
        row.push(figures.ratio.map_or(String::new(), times_faster));
        if is_building {
            row.push(figures.ratio_build.map_or(String::new(), times_faster));
        }
        row.push(contender.version.clone());
        writeln!(html, "<tr>{}</tr>", cells("td", &row))?;
    }
    html.push_str("</table></div>\n");
    Ok(())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Writes a day, from seconds since 1970 (Howard Hinnant, `civil_from_days`).
fn date(unix_s: u64) -> String {
    let days = unix_s / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_right_at_the_ends_of_months() {
        let days = [0, 951_782_400, 951_868_800, 1_767_139_200].map(date);
        assert_eq!(days, ["1970-01-01", "2000-02-29", "2000-03-01", "2025-12-31"]);
    }

    #[test]
    fn text_cannot_break_the_page() {
        assert_eq!(escaped("a < b & \"c\""), "a &lt; b &amp; &quot;c&quot;");
    }
}

//! The table of the plugins' figures.

use super::cni::{AT_ONCE, Figures};

/// A line for each figure: each plugin's, and how many times the last one's is that of the ones before.
pub(super) fn table(labels: &[&str; 3], figures: &[Figures; 3]) -> String {
    let mut lines = vec![line("", &labels.map(str::to_owned), &["ratio".into(), "ratio".into()])];
    for (what, unit, of) in rows() {
        let values = [of(&figures[0]), of(&figures[1]), of(&figures[2])];
        let digits = if unit.is_empty() { 0 } else { 2 };
        let shown = values.map(|value| format!("{value:.digits$}{unit}"));
        let ratios = [values[2] / values[0], values[2] / values[1]].map(|ratio| format!("{ratio:.1}"));
        lines.push(line(&what, &shown, &ratios));
    }
    lines.concat()
}

type Row = (String, &'static str, Box<dyn Fn(&Figures) -> f64>);

fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for percent in [50, 99] {
        rows.push((
            format!("ADD, one by one, p{percent}"),
            " ms",
            Box::new(move |of| of.add.percentile(percent)),
        ));
        rows.push((
            format!("DEL, one by one, p{percent}"),
            " ms",
            Box::new(move |of| of.del.percentile(percent)),
        ));
    }
    rows.push(("ADD, CPU of one".into(), " ms", Box::new(|of| of.add_cpu.mean())));
    for percent in [50, 99] {
        rows.push((
            format!("ADD, {AT_ONCE} at once, p{percent}"),
            " ms",
            Box::new(move |of| of.wave_add.percentile(percent)),
        ));
        rows.push((
            format!("DEL, {AT_ONCE} at once, p{percent}"),
            " ms",
            Box::new(move |of| of.wave_del.percentile(percent)),
        ));
    }
    rows.push((
        format!("ADD, {AT_ONCE} at once, to the last"),
        " ms",
        Box::new(|of| of.wave_add_all.percentile(50)),
    ));
    rows.push((
        format!("DEL, {AT_ONCE} at once, to the last"),
        " ms",
        Box::new(|of| of.wave_del_all.percentile(50)),
    ));
    rows.push(("programs executed by one ADD".into(), "", Box::new(|of| f64::from(of.traced_add.programs))));
    rows.push(("programs executed by one DEL".into(), "", Box::new(|of| f64::from(of.traced_del.programs))));
    rows.push(("memory of the largest process".into(), " MiB", Box::new(|of| of.traced_add.largest())));
    rows
}

fn line(what: &str, values: &[String; 3], ratios: &[String; 2]) -> String {
    let [ours, bridge, theirs] = values;
    format!("  {what:32} {ours:>12} {:>6} {bridge:>12} {:>6} {theirs:>12}\n", ratios[0], ratios[1])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_table_says_how_many_times_more_the_reference_takes() {
        let mut figures = [Figures::default(), Figures::default(), Figures::default()];
        for (figures, ms) in figures.iter_mut().zip([4, 2, 8]) {
            figures.add.push(Duration::from_millis(ms));
        }
        let text = table(&["a", "b", "c"], &figures);
        let line = text.lines().find(|line| line.contains("ADD, one by one, p50")).unwrap();
        let words: Vec<&str> = line.split_whitespace().skip(5).collect();
        assert_eq!(words, ["4.00", "ms", "2.0", "2.00", "ms", "4.0", "8.00", "ms"]);
    }
}

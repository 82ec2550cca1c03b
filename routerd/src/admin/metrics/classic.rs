//! From OpenMetrics, which the library writes, to the text format that everything reads.

/// The same metrics in the text format of Prometheus, version 0.0.4, which kube-router has too. A counter's samples end in `_total`, and
/// there its help and type do as well. A unit has no line of its own, and the text no end.
pub(super) fn classic(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 16);
    let mut help = None;
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", "HELP", name, said] => help = Some((*name, *said)),
            ["#", "TYPE", name, kind] => {
                let suffix = if *kind == "counter" { "_total" } else { "" };
                if let Some((_, said)) = help.take().filter(|(of, _)| of == name) {
                    out.extend(["# HELP ", name, suffix, " ", said, "\n"]);
                }
                out.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
            }
            ["#", ..] => {}
            _ => out.extend([line, "\n"]),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_has_one_name_and_nothing_is_there_that_the_format_does_not_know() {
        let open = "# HELP a_runs Runs of it.\n# TYPE a_runs counter\na_runs_total{x=\"# TYPE b\"} 2\n\
                    # HELP a_seconds How long.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\na_seconds_sum 1.0\n\
                    # TYPE bare gauge\nbare 1\n# EOF\n";
        let expected = "# HELP a_runs_total Runs of it.\n# TYPE a_runs_total counter\na_runs_total{x=\"# TYPE b\"} 2\n\
                        # HELP a_seconds How long.\n# TYPE a_seconds histogram\na_seconds_sum 1.0\n\
                        # TYPE bare gauge\nbare 1\n";
        assert_eq!(classic(open), expected);
    }
}

//! Counts in what other programs print.

/// Sums the lines `test result: ok. 12 passed; 0 failed; …` of test programs.
pub(super) fn tests(text: &str) -> (u64, u64) {
    let results = text.lines().filter(|line| line.trim_start().starts_with("test result:"));
    results.fold((0, 0), |(passed, failed), line| {
        (passed + number_before(line, "passed"), failed + number_before(line, "failed"))
    })
}

/// The summary of the demo: `…: 12 shown, 0 failed, 31.2 s`.
pub(super) fn demo(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().rev().find(|line| line.contains(" shown, "))?;
    Some((number_before(line, "shown"), number_before(line, "failed")))
}

/// What test programs said of the tests that failed: for each its name and at most `lines` lines of its output.
pub(super) fn failures(text: &str, lines: usize) -> Vec<String> {
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            found.push((name, Vec::new()));
            inside = true;
        } else if line == "failures:" {
            // The list of names that follows the outputs.
            inside = false;
        } else if let (true, Some((_, said))) = (inside, found.last_mut()) {
            said.push(line);
        }
    }
    // A test says last why it failed.
    let shown = |said: &[&str]| said[said.len().saturating_sub(lines)..].join("\n");
    found.into_iter().map(|(name, said)| format!("{name}\n{}", shown(&said).trim_end())).collect()
}

fn number_before(line: &str, word: &str) -> u64 {
    let words: Vec<&str> = line.split([' ', ';', ',']).filter(|word| !word.is_empty()).collect();
    let place = words.iter().position(|candidate| *candidate == word);
    place.and_then(|place| words.get(place.checked_sub(1)?)?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn results_of_several_test_programs_add_up() {
        let text = "x\ntest result: ok. 12 passed; 0 failed; 1 ignored; 0 measured\n\
                    test result: FAILED. 3 passed; 2 failed; 0 ignored\n";
        assert_eq!(super::tests(text), (15, 2));
        assert_eq!(super::tests("nothing"), (0, 0));
    }

    #[test]
    fn each_failed_test_is_told_with_the_end_of_its_output() {
        let text = "failures:\n\n---- a::b stdout ----\none\ntwo\nthree\n\n---- c stdout ----\nfour\n\nfailures:\n    a::b\n";
        assert_eq!(super::failures(text, 2), ["a::b\nthree", "c\nfour"]);
        assert_eq!(super::failures("test result: ok. 1 passed\n", 2), Vec::<String>::new());
    }

    #[test]
    fn the_demos_summary_is_found() {
        assert_eq!(super::demo("  NOT as it should be: 9 shown, 3 failed, 21.1 s\n"), Some((9, 3)));
        assert_eq!(super::demo("it did not get that far"), None);
    }
}

//! Words for messages: what was meant by a word that nobody knows, and lists of those that are known.

use std::fmt::Display;

/// The known word that `word` is most likely a misspelling of.
pub(crate) fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = plain(word);
    known
        .into_iter()
        .map(|candidate| (distance(&plain, &self::plain(candidate)), candidate))
        .filter(|(distance, candidate)| distance * 3 <= candidate.len().max(word.len()))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// What is added to a message about an unknown word: a suggestion, else the list of what is known.
pub(crate) fn advice<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match closest(word, known.clone()) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => format!("expected {}", choice(known)),
    }
}

/// ``"`a`, `b` or `c`"``.
pub(crate) fn choice(words: impl IntoIterator<Item = impl Display>) -> String {
    let quoted: Vec<_> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match quoted.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        words => words.concat(),
    }
}

fn plain(word: &str) -> String {
    word.to_lowercase().replace('-', "_")
}

/// How many letters have to be put in, left out, replaced or swapped with their neighbour.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::{choice, closest, distance};

    #[test]
    fn distances() {
        for (from, to, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("flavor", "flavor", 0),
            ("flavour", "flavor", 1),
            ("falvor", "flavor", 1),
            ("singal", "signal", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(from, to), expected, "{from} and {to}");
            assert_eq!(distance(to, from), expected, "{to} and {from}");
        }
    }

    #[test]
    fn near_misses() {
        let known = ["multi_thread", "current_thread", "local"];
        assert_eq!(closest("multi-thread", known), Some("multi_thread"));
        assert_eq!(closest("MultiThread", known), Some("multi_thread"));
        assert_eq!(closest("locale", known), Some("local"));
        assert_eq!(closest("single_thread", known), None);
        assert_eq!(closest("", known), None);
    }

    #[test]
    fn lists() {
        assert_eq!(choice([""; 0]), "");
        assert_eq!(choice(["a"]), "`a`");
        assert_eq!(choice(["a", "b", "c"]), "`a`, `b` or `c`");
    }
}

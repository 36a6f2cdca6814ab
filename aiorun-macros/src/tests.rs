//! Tests of the whole way from an attribute to its expansion.

mod any_text;
mod expansions;
mod messages;

use std::fs;
use std::path::Path;

#[test]
fn whatever_the_fuzzer_has_found_expands() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/corpus");
    let texts = fs::read_dir(corpus).expect("the corpus is kept");
    let tried = texts.map(|text| {
        let text = fs::read(text.expect("a readable folder").path()).expect("a readable file");
        any_text::check(&String::from_utf8_lossy(&text));
    });
    assert!(tried.count() > 0);
}

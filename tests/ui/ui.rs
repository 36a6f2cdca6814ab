//! What the compiler says to wrong uses of the attributes, and that it accepts unusual right ones.
//!
//! After a change, `TRYBUILD=overwrite cargo test --test ui` writes the new messages down.

#[rustversion::attr(not(stable(1.95)), ignore = "UI snapshots are blessed with 1.95")]
#[test]
fn ui() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("fail/*.rs");
    cases.pass("pass/*.rs");
}

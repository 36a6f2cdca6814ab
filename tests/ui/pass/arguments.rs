//! Functions of other names than `main` take arguments: borrowed ones, patterns, generics.

use std::fmt::Display;
use std::rc::Rc;

#[aiorun::main(flavor = "current_thread", run_forever = false)]
async fn borrowed(text: &mut String, suffix: &str) {
    text.push_str(suffix);
}

#[aiorun::main(flavor = "local", run_forever = false)]
async fn patterns((a, b): (u8, u8), [first, ..]: [u8; 3], mut c: u8, _: u8, _d: u8, r#type: u8) {
    c += a + b + first;
    assert_eq!(c, 7 + r#type);
}

#[aiorun::main(flavor = "current_thread", run_forever = false)]
async fn generic<'a, T, const N: usize>(
    items: [&'a T; N],
    show: impl Fn(&T) -> String,
) -> Result<(), String>
where
    T: Display + 'a,
{
    for item in items {
        assert_eq!(show(item), item.to_string());
    }
    assert_eq!(N, items.len());
    Ok(())
}

#[aiorun::main(flavor = "current_thread", run_forever = false)]
async fn defaults<T: Default>() {
    let _ = T::default();
}

#[aiorun::main(worker_threads = threads, run_forever = false)]
async fn configured(threads: usize, not_sent: Rc<u8>) {
    assert_eq!((threads, *not_sent), (1, 2));
}

#[aiorun::main(flavor = "current_thread", run_forever = false)]
async fn recursive(depth: u8) {
    if depth > 0 {
        Box::pin(recursive(depth - 1)).await;
    }
}

fn main() {
    let mut text = String::from("a");
    assert!(borrowed(&mut text, "b").is_success());
    assert_eq!(text, "ab");
    assert!(patterns((1, 2), [3, 0, 0], 4, 5, 6, 3).is_success());
    assert!(generic([&1, &2], |item| item.to_string()).is_success());
    assert!(defaults::<u8>().is_success());
    assert!(configured(1, Rc::new(2)).is_success());
    assert!(recursive(3).is_success());
}

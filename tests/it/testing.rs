//! The tests on the page `docs::testing`. Those that fail do so on purpose, and what they say is what
//! the page shows.

use std::cell::RefCell;
use std::panic::catch_unwind;
use std::time::Duration;

use aiorun::testing::cancel_at_every_await;
use aiorun::{Builder, Handle, Phase, Signal, StopReason, shield};
use proptest::prelude::*;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

#[ignore = "it fails, as it is to"]
#[aiorun::test]
async fn imports() {
    aiorun::task("reader").spawn(async { panic!("the file is gone") });
    assert_eq!(aiorun::spawn(async { 6 * 7 }).await.unwrap(), 42);
}

#[ignore = "it fails, as it is to"]
#[aiorun::test(shutdown_timeout = 2)]
async fn exports() {
    aiorun::task("writer").spawn(async { shield(write()).await });
    yield_now().await; // it has begun
}

async fn write() {
    sleep(Duration::from_secs(60)).await;
}

#[aiorun::test]
async fn hears_sigterm() {
    aiorun::shutdown_waits_for(async {
        let reason = aiorun::stopping().await;
        assert_eq!(reason, StopReason::Signal(Signal::TERM));
    });
    Handle::current().raise(Signal::TERM);
}

#[aiorun::test(start_paused, shutdown_delay = 600)]
async fn serves_until_the_delay_is_over() {
    let began = Instant::now();
    let server = aiorun::task("server").cooperative().spawn(async move {
        aiorun::stopping().await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        aiorun::cancelled().await;
        assert_eq!(began.elapsed().as_secs(), 600);
        sleep(Duration::from_secs(3600)).await; // its last request
    });
    aiorun::on_exit("check", async move {
        assert_eq!(began.elapsed().as_secs(), 600 + 3600);
        assert_eq!(Handle::current().phase(), Phase::Finishing);
    });
    aiorun::stop();
    shield(server).await.unwrap();
}

#[tokio::test]
async fn leaves_nothing_behind() {
    let exit = Builder::new()
        .signals([])
        .shutdown_timeout(Duration::from_secs(5))
        .supervise(async {
            aiorun::task("worker").spawn(std::future::pending::<()>());
            yield_now().await; // it has begun
            aiorun::stop_with(3);
        })
        .await;
    assert_eq!(exit.reason, StopReason::Stop);
    assert!(exit.error.is_none(), "{}", exit.report);
    assert_eq!(exit.report.tasks.cancelled, 1);
}

proptest! {
    #[test]
    fn whoever_is_spawned_is_counted(short in 0_u64..20, endless in 0_u64..20) {
        let exit = Builder::new().signals([]).run(async move {
            for _ in 0..short {
                aiorun::spawn(async {}).await.unwrap();
            }
            for _ in 0..endless {
                aiorun::spawn(std::future::pending::<()>());
            }
            aiorun::stop();
        });
        prop_assert!(exit.is_success(), "{}", exit.report);
        prop_assert_eq!(exit.report.tasks.completed, short + 1); // and main
        prop_assert_eq!(exit.report.tasks.cancelled, endless);
    }
}

#[derive(Default)]
struct Shop {
    orders: RefCell<Vec<&'static str>>,
    baked: RefCell<Vec<&'static str>>,
}

impl Shop {
    async fn bake(&self) {
        let order = self.orders.borrow_mut().pop().unwrap();
        oven().await;
        self.baked.borrow_mut().push(order);
    }

    fn all(&self) -> usize {
        self.orders.borrow().len() + self.baked.borrow().len()
    }
}

#[ignore = "it fails, as it is to"]
#[aiorun::test]
async fn no_order_is_lost() {
    let shop = Shop::default();
    shop.orders.borrow_mut().extend(["cake"; 10]);
    cancel_at_every_await(|| shop.bake())
        .check(async |_| assert_eq!(shop.all(), 10))
        .await;
}

impl Shop {
    async fn bake_at_once(&self) {
        oven().await;
        // Between two awaits nothing is cut.
        let order = self.orders.borrow_mut().pop().unwrap();
        self.baked.borrow_mut().push(order);
    }
}

async fn oven() {
    yield_now().await;
}

#[aiorun::test]
async fn no_order_is_lost_any_more() {
    let shop = Shop::default();
    shop.orders.borrow_mut().extend(["cake"; 10]);
    cancel_at_every_await(|| shop.bake_at_once())
        .check(async |_| assert_eq!(shop.all(), 10))
        .await;
}

#[aiorun::test]
#[should_panic(expected = "the program was stopped before it was through with all awaits")]
async fn a_run_that_stops_its_test_fails_it() {
    cancel_at_every_await(async || {
        aiorun::stop();
        std::future::pending::<()>().await;
    })
    .await;
}

/// Ages are another matter each time.
fn without_ages(text: &str) -> String {
    let words = text.split(' ').collect::<Vec<_>>();
    let mut kept = words.clone();
    for (at, pair) in words.windows(2).enumerate() {
        if pair[1] == "old" {
            kept[at] = "…";
        }
    }
    let lines = kept.join(" ");
    let lines = lines.lines().map(str::trim_end).filter(|it| !it.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
#[cfg_attr(
    not(debug_assertions),
    ignore = "what a trace shows of a release build is less"
)]
fn the_page_shows_what_they_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/docs/testing.md");
    let mut page = std::fs::read_to_string(path).unwrap();
    let blocks = page.split("\n```text\n").skip(1);
    let blocks = blocks.map(|rest| rest.split_once("```").unwrap().0.to_owned());
    let blocks = blocks.collect::<Vec<_>>();
    let tests: [fn() -> _; 3] = [imports, exports, no_order_is_lost];
    assert_eq!(blocks.len(), tests.len());
    for (block, test) in blocks.iter().zip(tests) {
        let payload = catch_unwind(test).expect_err("the test fails");
        let said = payload.downcast::<String>().expect("a text");
        if without_ages(block) != without_ages(&said) {
            page = page.replace(block, &format!("{}\n", said.trim_end()));
            let update = std::env::var_os("UPDATE_EXPECT").is_some();
            assert!(update, "the page shows:\n{block}\nbut it says:\n{said}");
            std::fs::write(path, &page).unwrap();
        }
    }
}

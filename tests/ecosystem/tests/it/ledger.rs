//! Workers on a database, killed at random.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::process::Signal;
use sqlx::any::{AnyPoolOptions, install_default_drivers};
use sqlx::{AnyPool, AssertSqlSafe};
use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::program::{Ended, Program};

/// How often the program is told to stop.
const STOPS: u32 = 50;
/// And how often it is killed, which it does not notice.
const KILLS: u32 = 10;
/// The signal comes when so many lines were said, or fewer.
const MOST: u32 = 60;

type Ids = BTreeSet<i64>;

/// What was ever said by a program.
#[derive(Debug, Default)]
struct Said {
    taken: Ids,
    booked: Ids,
}

impl Said {
    fn of(ended: &Ended) -> Self {
        let ids = |word: &str| -> Ids {
            let lines = ended.lines.iter();
            let ids = lines.filter_map(|line| line.strip_prefix(word)?.parse().ok());
            ids.collect()
        };
        Self {
            taken: ids("taken "),
            booked: ids("booked "),
        }
    }
}

/// Kills the program again and again, in random order, and looks at the ledger after each time.
async fn rounds(name: &str, program: &str, argument: &str, url: &str) {
    let mut kills = [Signal::TERM].repeat(STOPS as usize);
    kills.extend([Signal::KILL].repeat(KILLS as usize));
    fastrand::shuffle(&mut kills);
    let mut said = Said::default();
    for kill in kills {
        let ended = round(program, argument, kill).await;
        let mut news = Said::of(&ended);
        if kill == Signal::TERM {
            ends_in_order(&ended);
            assert_eq!(news.taken, news.booked, "{ended:#?}");
        }
        said.taken.append(&mut news.taken);
        said.booked.append(&mut news.booked);
        check(url, &said).await;
    }
    let (taken, booked) = (said.taken.len(), said.booked.len());
    println!(
        "{name}: {STOPS} stops, {KILLS} kills, {taken} taken, {booked} acknowledged, all there"
    );
}

async fn round(program: &str, argument: &str, kill: Signal) -> Ended {
    let mut worker = Program::start(program, argument);
    worker.wait_for("ready").await;
    for _ in 0..fastrand::u32(0..MOST) {
        worker.line().await.expect("it goes on");
    }
    worker.signal(kill);
    worker.finish().await
}

/// Every worker has ended before the pool is closed, and after that nothing happens.
fn ends_in_order(ended: &Ended) {
    ended.well();
    let place = |what: &str| ended.lines.iter().rposition(|line| line == what);
    let workers = ended
        .lines
        .iter()
        .filter(|line| *line == "a worker has ended");
    assert_eq!(workers.count(), 4, "{ended:#?}");
    assert!(
        place("a worker has ended") < place("the pool is closed"),
        "{ended:#?}"
    );
    assert_eq!(
        place("the pool is closed"),
        Some(ended.lines.len() - 1),
        "{ended:#?}"
    );
}

/// All that was acknowledged is in the ledger, nothing else but what was in hand, and nothing by half.
async fn check(url: &str, said: &Said) {
    let pool = AnyPoolOptions::new().max_connections(1);
    let pool = pool.connect(url).await.expect("the ledger can be opened");
    let there = ids(&pool, "SELECT DISTINCT transfer FROM entries").await;
    let lost: Vec<_> = said.booked.difference(&there).collect();
    assert!(lost.is_empty(), "acknowledged and not there: {lost:?}");
    let unknown: Vec<_> = there.difference(&said.taken).collect();
    assert!(unknown.is_empty(), "nobody asked for these: {unknown:?}");
    let halves = "SELECT transfer FROM entries GROUP BY transfer \
                  HAVING count(*) <> 2 OR sum(amount) <> 0";
    assert_eq!(ids(&pool, halves).await, Ids::new(), "booked by half");
    let wrong = "SELECT account FROM accounts WHERE balance <> \
                 (SELECT coalesce(sum(amount), 0) FROM entries \
                 WHERE entries.account = accounts.account)";
    assert_eq!(
        ids(&pool, wrong).await,
        Ids::new(),
        "accounts that do not add up"
    );
    pool.close().await;
}

async fn ids(pool: &AnyPool, query: &str) -> Ids {
    let query = sqlx::query_scalar::<_, i64>(AssertSqlSafe(query));
    let ids = query.fetch_all(pool).await.expect("an answer");
    ids.into_iter().collect()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is a text")
}

#[aiorun::test(test_timeout = "3m")]
async fn sqlite() {
    install_default_drivers();
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("ledger.sqlite");
    let url = format!("sqlite://{}", text(&file));
    rounds("sqlite", env!("CARGO_BIN_EXE_sqlite"), text(&file), &url).await;
}

#[aiorun::test(test_timeout = "3m")]
async fn postgres() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    install_default_drivers();
    let url = cluster.url();
    rounds("postgres", env!("CARGO_BIN_EXE_postgres"), &url, &url).await;
    cluster.stop().await;
}

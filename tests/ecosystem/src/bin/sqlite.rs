//! Workers that never leave a transaction half-way, on SQLite.
//!
//! Type `cargo run -p ecosystem --bin sqlite` and press Ctrl-C: every transfer that was taken is booked,
//! and the pool of connections is closed when the last worker has ended. The first argument may name
//! another file than `ledger.sqlite`.

use std::time::Duration;

use aiorun::{catch_cancel, shield};
use ecosystem::ledger::{ACCOUNTS, Transfer, WorkerEnd};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};

const WORKERS: u32 = 4;

#[aiorun::main]
async fn main() -> Result<(), sqlx::Error> {
    let file = std::env::args().nth(1);
    let pool = open(file.as_deref().unwrap_or("ledger.sqlite")).await?;
    for number in 1..=WORKERS {
        let worker = worker(pool.clone(), WorkerEnd);
        aiorun::task(format!("worker {number}")).spawn_fallible(worker);
    }
    println!("ready");
    Ok(())
}

/// Whoever opens the pool says right there how to close it: when no task is left that could want it.
async fn open(file: &str) -> Result<SqlitePool, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(Duration::from_secs(30));
    let pool = SqlitePoolOptions::new()
        .max_connections(WORKERS)
        .connect_with(options)
        .await?;
    let opened = pool.clone();
    aiorun::on_exit("close the pool", async move {
        opened.close().await;
        println!("the pool is closed");
    });
    create_tables(&pool).await?;
    Ok(pool)
}

async fn worker(pool: SqlitePool, _end: WorkerEnd) -> Result<(), sqlx::Error> {
    // Either there is a transfer, or there is an `Err`: never is one taken and lost.
    while let Ok(transfer) = catch_cancel(Transfer::asked_for()).await {
        // No await in there is cut, neither for a connection of the pool nor for the commit.
        shield(book(&pool, transfer)).await?;
    }
    Ok(())
}

async fn book(pool: &SqlitePool, transfer: Transfer) -> Result<(), sqlx::Error> {
    // SQLite has one writer at a time: who begins as one waits here, and never in the middle.
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    for (account, amount) in transfer.halves() {
        sqlx::query("INSERT INTO entries (transfer, account, amount) VALUES ($1, $2, $3)")
            .bind(transfer.id)
            .bind(account)
            .bind(amount)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("UPDATE accounts SET balance = balance + $1 WHERE account = $2")
            .bind(amount)
            .bind(account)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    transfer.acknowledge();
    Ok(())
}

async fn create_tables(pool: &SqlitePool) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    for statement in [
        "CREATE TABLE IF NOT EXISTS accounts \
         (account INTEGER PRIMARY KEY, balance INTEGER NOT NULL)",
        "CREATE TABLE IF NOT EXISTS entries \
         (transfer INTEGER, account INTEGER, amount INTEGER, PRIMARY KEY (transfer, account))",
    ] {
        sqlx::query(statement).execute(&mut *transaction).await?;
    }
    for account in 0..ACCOUNTS {
        sqlx::query("INSERT INTO accounts VALUES ($1, 0) ON CONFLICT DO NOTHING")
            .bind(account)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await
}

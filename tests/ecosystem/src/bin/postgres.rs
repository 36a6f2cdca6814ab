//! Workers that never leave a transaction half-way, on PostgreSQL.
//!
//! Type `cargo run -p ecosystem --bin postgres postgres://localhost/ledger`, with the address of a
//! database of yours, and press Ctrl-C: every transfer that was taken is booked, and the pool of
//! connections is closed when the last worker has ended.

use std::error::Error;

use aiorun::{catch_cancel, shield};
use ecosystem::ledger::{ACCOUNTS, Transfer, WorkerEnd};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

const WORKERS: u32 = 4;

#[aiorun::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("usage: postgres URL")?;
    let pool = open(&url).await?;
    for number in 1..=WORKERS {
        let worker = worker(pool.clone(), WorkerEnd);
        aiorun::task(format!("worker {number}")).spawn_fallible(worker);
    }
    println!("ready");
    Ok(())
}

/// Whoever opens the pool says right there how to close it: when no task is left that could want it.
async fn open(url: &str) -> Result<PgPool, sqlx::Error> {
    let pool = PgPoolOptions::new()
        .max_connections(WORKERS)
        .connect(url)
        .await?;
    let opened = pool.clone();
    aiorun::on_exit("close the pool", async move {
        opened.close().await;
        println!("the pool is closed");
    });
    create_tables(&pool).await?;
    Ok(pool)
}

async fn worker(pool: PgPool, _end: WorkerEnd) -> Result<(), sqlx::Error> {
    // Either there is a transfer, or there is an `Err`: never is one taken and lost.
    while let Ok(transfer) = catch_cancel(Transfer::asked_for()).await {
        // No await in there is cut, neither for a connection of the pool nor for the commit.
        shield(book(&pool, transfer)).await?;
    }
    Ok(())
}

async fn book(pool: &PgPool, transfer: Transfer) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
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

async fn create_tables(pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    for statement in [
        "CREATE TABLE IF NOT EXISTS accounts \
         (account BIGINT PRIMARY KEY, balance BIGINT NOT NULL)",
        "CREATE TABLE IF NOT EXISTS entries \
         (transfer BIGINT, account BIGINT, amount BIGINT, PRIMARY KEY (transfer, account))",
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

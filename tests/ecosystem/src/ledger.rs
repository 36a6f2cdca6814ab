//! Transfers between accounts, where they come from, and what is said of them.

/// As many as there are in the ledger.
pub const ACCOUNTS: i64 = 8;

/// An amount that goes from one account to another.
#[derive(Debug, Clone, Copy)]
pub struct Transfer {
    /// Its identity: of all that were ever made no two have the same.
    pub id: i64,
    from: i64,
    to: i64,
    amount: i64,
}

impl Transfer {
    /// Waits for somebody to ask for one. Says so on standard output: from here on it is in hand.
    pub async fn asked_for() -> Self {
        crate::pause().await;
        let from = fastrand::i64(0..ACCOUNTS);
        let transfer = Self {
            id: fastrand::i64(..),
            from,
            to: (from + fastrand::i64(1..ACCOUNTS)) % ACCOUNTS,
            amount: fastrand::i64(1..100),
        };
        println!("taken {}", transfer.id);
        transfer
    }

    /// Account and amount of its two halves. The lower account is first, so that two transfers never wait
    /// for each other.
    pub fn halves(&self) -> [(i64, i64); 2] {
        let mut halves = [(self.from, -self.amount), (self.to, self.amount)];
        halves.sort_unstable();
        halves
    }

    /// Tells whoever asked for it that it is done.
    pub fn acknowledge(&self) {
        println!("booked {}", self.id);
    }
}

/// Says on standard output when a worker has ended, in whatever way. It is given to the worker, for one
/// that is cancelled before it has begun ends too.
#[derive(Debug)]
pub struct WorkerEnd;

impl Drop for WorkerEnd {
    fn drop(&mut self) {
        println!("a worker has ended");
    }
}

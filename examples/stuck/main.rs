//! A program that does not want to end: its argument says what holds it up.
//!
//! Type `cargo run --example stuck -- shield` and press Ctrl-C: three seconds later you have your
//! prompt back, and know what the program was waiting for, and in which line. `kill -USR1` shows that
//! at any time. Without an argument it lists what there is to try; a second one is the flavour, say
//! `local`.

mod culprit;

use std::future::pending;
use std::process::ExitCode;
use std::time::Duration;

use aiorun::{Builder, Flavor, Signal};

use crate::culprit::CULPRITS;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let flavor = arguments.next().map(|flavor| flavor.parse());
    let culprit = CULPRITS.iter().find(|(known, _, _)| *known == name);
    let (Some((_, _, begin)), Ok(flavor)) = (culprit, flavor.transpose()) else {
        return usage();
    };

    let mut builder = Builder::new();
    builder
        .flavor(flavor.unwrap_or(Flavor::MultiThread))
        .shutdown_timeout(Duration::from_secs(3))
        .dump_signal(Signal::USR1);
    match &*name {
        "callback" => builder.shutdown_callback(culprit::save),
        "sync_callback" => builder.shutdown_callback(culprit::block),
        _ => &mut builder,
    };
    let exit = builder.run(async {
        begin();
        println!("ready, press Ctrl-C");
        pending::<()>().await;
    });
    println!("\n{}", exit.report);
    std::process::Termination::report(exit)
}

fn usage() -> ExitCode {
    eprintln!("usage: stuck CULPRIT [multi_thread|current_thread|local]\n");
    for (name, mistake, _) in CULPRITS {
        eprintln!("  {name:<14} {mistake}");
    }
    ExitCode::FAILURE
}

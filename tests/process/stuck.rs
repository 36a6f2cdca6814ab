//! Each kind of culprit that the example `stuck` has, in each flavour: the program ends within its
//! limit, with the right code, and says who held it up, where that was started, and where it waits.

use std::time::Duration;

use aiorun::Flavor;
use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::child::Child;
use crate::ended::Ended;
use crate::example::example;
use crate::scene::{ALL_FLAVORS, flavor_name};

/// Far more than the limit of three seconds, and far less than what the culprits would take.
const MOST: Duration = Duration::from_secs(20);

const MAIN: &str = "examples/stuck/main.rs";
const CULPRIT: &str = "examples/stuck/culprit.rs";

/// What a culprit is expected to look like.
struct Culprit {
    name: &'static str,
    /// The exit code where there are workers, and where there is one thread.
    codes: [i32; 2],
    /// How it is called.
    label: &'static str,
    /// The source line that starts it: a file, and a text that only this line has.
    begun: (&'static str, &'static str),
    /// What else is said of it.
    said: &'static str,
    /// The source lines of its trace, outermost first.
    trace: &'static [&'static str],
    /// Whether a dump shows it before the shutdown begins.
    is_there: bool,
}

const SAVE: &[&str] = &["write_all().await;", "sleep(AGES).await;"];

const CULPRITS: [Culprit; 14] = [
    Culprit {
        name: "catch",
        codes: [1, 1],
        label: "task `reader` spawned at",
        begun: (CULPRIT, "task(\"reader\")"),
        said: "caught at",
        trace: &["catch_cancel(queue.recv()).await"],
        is_there: true,
    },
    Culprit {
        name: "cooperative",
        codes: [1, 1],
        label: "task `poller` spawned at",
        begun: (CULPRIT, "task(\"poller\")"),
        said: "asked at",
        trace: &["sleep(Duration::from_secs(1)).await"],
        is_there: true,
    },
    Culprit {
        name: "protected",
        codes: [1, 1],
        label: "task `saver` spawned at",
        begun: (CULPRIT, "task(\"saver\")"),
        said: "protected",
        trace: SAVE,
        is_there: true,
    },
    Culprit {
        name: "shield",
        codes: [1, 1],
        label: "task `payments` spawned at",
        begun: (CULPRIT, "task(\"payments\")"),
        said: "shielded at",
        trace: SAVE,
        is_there: true,
    },
    Culprit {
        name: "bare_shield",
        codes: [1, 1],
        label: "a shield in a task that is not aiorun's at",
        begun: (CULPRIT, "tokio::spawn(async {"),
        said: "not done",
        trace: SAVE,
        is_there: true,
    },
    Culprit {
        name: "deadlock",
        codes: [1, 1],
        label: "2 tasks spawned at",
        begun: (CULPRIT, "task(name)"),
        said: "protected",
        trace: &["second.lock().await"],
        is_there: true,
    },
    Culprit {
        name: "block",
        codes: [1, 70],
        label: "task `hasher` spawned at",
        begun: (CULPRIT, "task(\"hasher\")"),
        said: "stuck, running on ",
        trace: &[],
        is_there: true,
    },
    Culprit {
        name: "spin",
        codes: [1, 70],
        label: "task `miner` spawned at",
        begun: (CULPRIT, "task(\"miner\")"),
        said: "stuck, running on ",
        trace: &[],
        is_there: true,
    },
    Culprit {
        name: "job",
        codes: [1, 1],
        label: "blocking job `export` spawned at",
        begun: (CULPRIT, "task(\"export\")"),
        said: "running on ",
        trace: &[],
        is_there: true,
    },
    Culprit {
        name: "stdin",
        codes: [0, 0],
        label: "task `prompt` spawned at",
        begun: (CULPRIT, "task(\"prompt\")"),
        said: "suspended",
        trace: &["read_u8().await"],
        is_there: true,
    },
    Culprit {
        name: "destructor",
        codes: [1, 70],
        label: "task `client` spawned at",
        begun: (CULPRIT, "task(\"client\")"),
        said: "stuck, in a destructor on ",
        trace: &[],
        is_there: false,
    },
    Culprit {
        name: "callback",
        codes: [1, 1],
        label: "shutdown callback spawned at",
        begun: (MAIN, "shutdown_callback(culprit::save)"),
        said: "suspended",
        trace: SAVE,
        is_there: false,
    },
    Culprit {
        name: "sync_callback",
        codes: [1, 1],
        label: "shutdown callback spawned at",
        begun: (MAIN, "shutdown_callback(culprit::block)"),
        said: "stuck, running on ",
        trace: &[],
        is_there: false,
    },
    Culprit {
        name: "hook",
        codes: [1, 1],
        label: "exit hook `flush` (registered at",
        begun: (CULPRIT, "on_exit(\"flush\""),
        said: "did not end within",
        trace: SAVE,
        is_there: false,
    },
];

pub(crate) fn trials() -> Vec<Trial> {
    let cases = CULPRITS
        .iter()
        .flat_map(|culprit| ALL_FLAVORS.map(|flavor| (culprit, flavor)));
    let trial = |(culprit, flavor): (&'static Culprit, Flavor)| {
        let name = format!("stuck::{}::{}", culprit.name, flavor_name(flavor));
        Trial::test(name, move || {
            culprit.holds_up(flavor);
            Ok(())
        })
    };
    let mut trials: Vec<_> = cases.map(trial).collect();
    trials.push(Trial::test(
        "stuck::without_an_argument_it_lists_all",
        || {
            let ended = example("stuck", &[]).run();
            ended.exited(1).says_once("usage: stuck CULPRIT");
            for Culprit { name, .. } in CULPRITS {
                ended.says_in_a_line(&[&format!("  {name} ")]);
            }
            Ok(())
        },
    ));
    trials
}

/// Where in a file of this package a text is, as it is named in what a program says.
fn place(file: &str, text: &str) -> String {
    let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
    let source = std::fs::read_to_string(&path).expect("a source file");
    let mut lines = (1..)
        .zip(source.lines())
        .filter(|(_, line)| line.contains(text));
    let (number, _) = lines
        .next()
        .unwrap_or_else(|| panic!("{file} has no {text:?}"));
    assert!(lines.next().is_none(), "{file} has {text:?} twice");
    format!("{file}:{number}:")
}

impl Culprit {
    fn holds_up(&self, flavor: Flavor) {
        let program = example("stuck", &[self.name, flavor_name(flavor)]).with_open_stdin();
        let mut child = program.start();
        child.wait_for("ready");
        self.is_in_the_dump(&mut child);
        child.signal(Signal::TERM);
        let ended = child.finish();
        let code = self.codes[usize::from(flavor != Flavor::MultiThread)];
        ended.exited(code).within(MOST);
        if code == 0 {
            ended
                .never_says("aiorun: warning")
                .never_says("aiorun: error");
        } else {
            self.is_named(&ended);
        }
    }

    /// It has begun to hold the program up, where it does so before the shutdown.
    fn is_in_the_dump(&self, child: &mut Child) {
        child.signal_until_it_says(Signal::USR1, "aiorun: process");
        child.wait_for("main spawned at examples/stuck/main.rs:");
        if self.is_there {
            child.signal_until_it_says(Signal::USR1, self.label);
            match self.trace.last() {
                Some(last) => child.signal_until_it_says(Signal::USR1, &place(CULPRIT, last)),
                None => child.signal_until_it_says(Signal::USR1, "running on "),
            }
        }
    }

    fn is_named(&self, ended: &Ended) {
        let begun = place(self.begun.0, self.begun.1);
        ended.says_in_a_line(&[self.label, &begun, self.said]);
        for line in self.trace {
            ended.says_in_a_line(&[&format!("at {}", place(CULPRIT, line)), "stuck::culprit::"]);
        }
        let lines: Vec<_> = self.trace.iter().map(|line| place(CULPRIT, line)).collect();
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        if let [_, _, ..] = lines[..] {
            ended.in_order(&lines);
        }
    }
}

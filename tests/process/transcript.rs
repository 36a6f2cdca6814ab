//! What the documentation shows of programs is what they print.
//!
//! A block that begins with `$ cargo run --example` is played: `^C` and `$ kill -…` are signals, and
//! what follows is what the program says to that. Figures need not agree. With `UPDATE_EXPECT` the
//! block is written anew.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::child::Child;
use crate::example::example;

const PAGES: [&str; 3] = [
    "src/docs/diagnosing.md",
    "src/docs/quick_start.md",
    "README.md",
];
const BEGIN: &str = "$ cargo run --example ";
/// Whose screen is shown as it is with a client, who is no part of the block.
const WITH_A_CLIENT: &str = "echo_server";
/// Anything may follow.
const ELLIPSIS: &str = "[…]";
/// How long a program needs to do what it does after a signal that does not stop it, and to be told
/// again.
const PAUSE: Duration = Duration::from_millis(700);
/// Held by whoever writes to a page.
static PAGE: Mutex<()> = Mutex::new(());

pub(crate) fn trials() -> Vec<Trial> {
    let blocks = PAGES.iter().flat_map(|page| {
        blocks(&read(page))
            .into_iter()
            .map(move |block| (*page, block))
    });
    let trial = |(number, (page, block)): (usize, (&'static str, String))| {
        let command = block.lines().next().unwrap_or_default();
        let name = command.strip_prefix(BEGIN).unwrap_or_default();
        let name = name.strip_prefix("stuck -- ").unwrap_or(name);
        let name = format!("transcript::{page}::{number}::{}", name.replace(' ', "_"));
        Trial::test(name, move || {
            check(page, &block);
            Ok(())
        })
    };
    // What a compiler makes of names and lines is the one thing here that it has a say in.
    let known = cfg!(target_os = "linux") && cfg!(debug_assertions);
    let trials = blocks.enumerate().map(trial);
    trials
        .map(|trial| trial.with_ignored_flag(!known))
        .collect()
}

fn path(page: &str) -> String {
    format!("{}/{page}", env!("CARGO_MANIFEST_DIR"))
}

fn read(page: &str) -> String {
    std::fs::read_to_string(path(page)).expect("a page")
}

/// The blocks of a page that are transcripts.
fn blocks(page: &str) -> Vec<String> {
    let blocks = page.split("\n```text\n").skip(1);
    let blocks = blocks.filter_map(|rest| rest.split_once("```").map(|(block, _)| block));
    blocks
        .filter(|block| {
            let program = block.strip_prefix(BEGIN);
            program.is_some_and(|program| !program.starts_with(WITH_A_CLIENT))
        })
        .map(str::to_owned)
        .collect()
}

fn check(page: &'static str, block: &str) {
    let steps = steps(block);
    let played = play(&steps);
    let wrong = steps
        .iter()
        .zip(&played)
        .find(|(step, said)| !step.is_right(said));
    let Some((step, said)) = wrong else {
        return;
    };
    assert!(
        std::env::var_os("UPDATE_EXPECT").is_some(),
        "{page} is out of date: `UPDATE_EXPECT=1 cargo test --test process transcript`\n\
         expected after {}:\n{}\nbut it said:\n{}",
        step.instruction,
        step.said.join("\n"),
        said.join("\n"),
    );
    let new = rendered(&steps, &played);
    let _others_wait = PAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let text = read(page).replace(
        &format!("\n```text\n{block}```"),
        &format!("\n```text\n{new}```"),
    );
    std::fs::write(path(page), text).expect("a page that can be written");
}

/// Something that is typed, and what the program says to it.
struct Step {
    instruction: String,
    said: Vec<String>,
}

impl Step {
    fn is_right(&self, said: &[String]) -> bool {
        let said: Vec<_> = said.iter().map(|line| without_figures(line)).collect();
        let expected: Vec<_> = self.said.iter().map(|line| without_figures(line)).collect();
        match expected.split_last() {
            Some((last, first)) if last == ELLIPSIS => said.starts_with(first),
            _ => said == expected,
        }
    }
}

fn steps(block: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in block.lines() {
        if line.starts_with("$ ") || line == "^C" {
            steps.push(Step {
                instruction: line.to_owned(),
                said: Vec::new(),
            });
        } else if let Some(step) = steps.last_mut() {
            step.said.push(line.to_owned());
        }
    }
    steps
}

/// Types each instruction, and listens.
fn play(steps: &[Step]) -> Vec<Vec<String>> {
    let typed = steps[0].instruction.strip_prefix(BEGIN).expect("a command");
    let (name, arguments) = typed.split_once(" -- ").unwrap_or((typed, ""));
    let arguments: Vec<_> = arguments.split_whitespace().collect();
    let program = example(name, &arguments).with("NO_COLOR", "1");
    let mut child = program.with_open_stdin().in_one_stream().start();
    child.wait_for("ready");
    let mut ends = Vec::new();
    for pair in steps.windows(2) {
        listen(&child, &pair[0], ends.last());
        ends.push(child.count());
        tell(&mut child, &pair[1].instruction);
    }
    // What does not stop it is played to its end as well, which is not shown.
    if let Some(last) = steps.last() {
        listen(&child, last, ends.last());
    }
    let shown = child.count();
    let is_stopped = steps.iter().any(|step| step.instruction == "^C");
    if !is_stopped {
        child.signal(Signal::KILL);
    }
    let ended = child.finish();
    ends.push(if is_stopped { ended.lines.len() } else { shown });
    let mut begin = 0;
    let mut played = Vec::new();
    for end in ends {
        let lines = &ended.lines[begin..end];
        played.push(
            lines
                .iter()
                .map(|line| without_sender(&line.text))
                .collect(),
        );
        begin = end;
    }
    played
}

/// We send what a terminal would, and that has no number.
fn without_sender(line: &str) -> String {
    let sender = format!(" sender={}", std::process::id());
    line.replace(&sender, "")
}

/// Gives the child the time to say what is expected after a step, or whatever it has to say.
fn listen(child: &Child, step: &Step, begin: Option<&usize>) {
    thread::sleep(PAUSE);
    let is_open = step.said.last().is_some_and(|line| line == ELLIPSIS);
    if std::env::var_os("UPDATE_EXPECT").is_none() && step.instruction != "^C" {
        let said = step.said.len() - usize::from(is_open);
        child.wait_for_lines(begin.copied().unwrap_or_default() + said);
    }
}

fn tell(child: &mut Child, instruction: &str) {
    let signals = [
        ("^C", Signal::INT),
        ("$ kill -TERM ", Signal::TERM),
        ("$ kill -USR1 ", Signal::USR1),
    ];
    let known = signals
        .iter()
        .find(|(begin, _)| instruction.starts_with(begin));
    child.signal(known.unwrap_or_else(|| panic!("{instruction}?")).1);
}

/// The block anew, no longer than it was where it ends in an ellipsis.
fn rendered(steps: &[Step], played: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (step, said) in steps.iter().zip(played) {
        let _ = writeln!(text, "{}", step.instruction);
        let open = step.said.last().is_some_and(|line| line == ELLIPSIS);
        let relevant = |line: &&String| !open || !line.is_empty();
        // Up to the report, which is shown once.
        for line in said.iter().take_while(relevant) {
            let _ = writeln!(text, "{line}");
        }
        if open {
            let _ = writeln!(text, "{ELLIPSIS}");
        }
    }
    text
}

/// Durations, and the numbers of processes and threads, are another matter each time; and so is how
/// long the bars of a timeline are.
fn without_figures(line: &str) -> String {
    let words = line.split_whitespace().map(|word| {
        let bare = word.trim_matches(['(', ')', ',', ';', ':']);
        let bare = bare.split_once('=').map_or(bare, |(_, field)| field);
        let is_figure = bare.starts_with(|c: char| c.is_ascii_digit())
            && !bare.contains(".rs")
            && bare
                .trim_start_matches(|c: char| c.is_ascii_digit() || c == '.')
                .len()
                <= 2;
        let is_bar = bare.starts_with('#') && bare.trim_matches('#').is_empty();
        match (is_figure, is_bar) {
            (true, _) => word.replace(bare, "0"),
            (_, true) => "#".to_owned(),
            _ => word.to_owned(),
        }
    });
    // `1m 0s` is a duration of two words.
    let mut words: Vec<_> = words.collect();
    words.dedup_by(|next, kept| next == "0" && kept == "0");
    words.join(" ")
}

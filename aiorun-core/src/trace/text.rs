//! From backtraces to the lines that a person reads.
//!
//! [`Backtrace`] tells its frames by its `Display` only, as `RUST_BACKTRACE` prints them. What is
//! not understood is left out.

use std::backtrace::Backtrace;
use std::fmt;

use super::{Branch, Frame};
use crate::text::Printable;

/// The crates that carry futures about and are of no interest in themselves.
const PLUMBING: [&str; 19] = [
    "aiorun",
    "aiorun_core",
    "alloc",
    "async_compat",
    "core",
    "futures",
    "futures_concurrency",
    "futures_core",
    "futures_lite",
    "futures_util",
    "pin_project",
    "pin_project_lite",
    "pin_utils",
    "std",
    "tokio",
    "tokio_stream",
    "tokio_util",
    "tracing",
    "tracing_futures",
];

/// Futures of those crates that await what they were given, and so are no answer to "what for?"
/// where there is a better one.
const COMBINATORS: [&str; 24] = [
    "AndThen",
    "AssertUnwindSafe",
    "CatchCancel",
    "CatchUnwind",
    "Coop",
    "Either",
    "Flatten",
    "Fuse",
    "Inspect",
    "Instrumented",
    "Join",
    "JoinAll",
    "Map",
    "MapErr",
    "MaybeDone",
    "Next",
    "OrElse",
    "Select",
    "Shield",
    "Then",
    "TryJoin",
    "TryMaybeDone",
    "Unconstrained",
    "WithDispatch",
];

/// Those of [`PLUMBING`] that have nothing to await.
const STD: [&str; 3] = ["alloc", "core", "std"];

/// Not inlined: that is a comparison with each of the names, wherever it is asked.
#[inline(never)]
fn is_among(names: &[&str], name: &str) -> bool {
    names.contains(&name)
}

/// What stands between the root and the user's future.
const WRAPPINGS: [&str; 6] = [
    "aiorun_core::callback::",
    "aiorun_core::entry::",
    "aiorun_core::registry::",
    "aiorun_core::shield::Shield::poll_traced",
    "aiorun_core::supervised::",
    "aiorun_core::testing::",
];

/// What polls a task: outside of it is the runtime, or the task that polls this one. A build that has
/// inlined it tells nothing of the runtime either.
const ROOT: &str = "<aiorun_core::supervised::Supervised<";

/// The same for a task that is not ours.
const OTHER_ROOTS: [&str; 3] = [
    "tokio::runtime::task::core::Core<",
    "tokio::runtime::task::harness::poll_future",
    "tokio::runtime::task::raw::poll",
];

/// How many rows are shown at each end of a chain of more than twice as many.
const MOST_ROWS: usize = 32;

/// A line or two of a backtrace.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Symbol<'a> {
    name: &'a str,
    file: Option<&'a str>,
    line: Option<u32>,
    column: Option<u32>,
}

impl Symbol<'_> {
    /// Whether it is the poll of the task as a whole.
    fn is_root(&self) -> bool {
        let is_poll = |name: &str| name == "poll" || name.starts_with("poll<");
        let file = self
            .file
            .and_then(|file| file.strip_suffix("supervised.rs"));
        let name = self.name.trim_start_matches('<');
        self.name.starts_with(ROOT)
            || OTHER_ROOTS.iter().any(|root| name.starts_with(root))
            || is_poll(self.name) && file.and_then(package) == Some("aiorun-core")
    }
}

/// What a name says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Function {
    /// Without generics and closures.
    path: String,
    /// That of the type, or of the trait where the type is only a parameter.
    of_crate: Option<String>,
    /// Whether it is a `poll`, or the closure that an async function is to the compiler.
    is_async: bool,
}

/// The awaits behind some backtraces of one task, in a fixed order: that of a `select!` is random.
pub(super) fn branches(backtraces: &[Backtrace]) -> Vec<Branch> {
    let texts = backtraces.iter().map(ToString::to_string);
    fold(texts.map(|text| branch(&symbols(&text))))
}

fn fold(branches: impl IntoIterator<Item = Branch>) -> Vec<Branch> {
    let mut folded: Vec<Branch> = Vec::new();
    for branch in branches {
        let place = |it: &Branch| (&it.frames, &it.awaits).cmp(&(&branch.frames, &branch.awaits));
        match folded.binary_search_by(place) {
            Ok(at) => folded[at].count += 1,
            Err(at) => folded.insert(at, branch),
        }
    }
    folded
}

/// The symbols of a backtrace, innermost first.
fn symbols(text: &str) -> Vec<Symbol<'_>> {
    let mut symbols: Vec<Symbol<'_>> = Vec::new();
    for line in text.lines() {
        let words = line.trim_start();
        if let Some(place) = words.strip_prefix("at ")
            && let Some(symbol) = symbols.last_mut()
        {
            (symbol.file, symbol.line, symbol.column) = place_of(place);
            continue;
        }
        // One that was inlined into the next has no number.
        let name = match words.split_once(": ") {
            Some((number, name)) if number.parse::<usize>().is_ok() => name,
            _ => words,
        };
        symbols.push(Symbol {
            name,
            file: None,
            line: None,
            column: None,
        });
    }
    symbols
}

/// `FILE:LINE:COLUMN`, or less of it.
fn place_of(place: &str) -> (Option<&str>, Option<u32>, Option<u32>) {
    let mut parts = place.rsplitn(3, ':');
    let last = parts.next().and_then(|number| number.parse().ok());
    let middle = parts.next();
    let line = middle.and_then(|number| number.parse().ok());
    match (parts.next(), line, last) {
        (Some(file), Some(line), Some(column)) => (Some(file), Some(line), Some(column)),
        _ => match place.rsplit_once(':') {
            Some((file, line)) if last.is_some() => (Some(file), line.parse().ok(), None),
            _ => (Some(place), None, None),
        },
    }
}

/// What is left of a backtrace when everything of the runtime is gone from it.
fn branch(symbols: &[Symbol<'_>]) -> Branch {
    let root = symbols.iter().position(Symbol::is_root);
    let mut frames: Vec<Frame> = Vec::new();
    let mut leaf = Leaf::default();
    for symbol in symbols[..root.unwrap_or(symbols.len())].iter().rev() {
        let function = unnamed(symbol).or_else(|| function(symbol.name));
        let Some(function) = function.filter(|it| it.is_async) else {
            continue;
        };
        if is_plumbing(&function) {
            leaf.go_in(function);
            continue;
        }
        // What a macro of theirs has put into the user's function is of no interest either.
        let package = symbol.file.and_then(package);
        if package.is_some_and(|name| is_among(&PLUMBING, &name.replace('-', "_"))) {
            continue;
        }
        leaf = Leaf::default();
        let frame = Frame {
            function: function.path,
            package: package.map(str::to_owned),
            file: symbol.file.map(|file| shown_file(file).to_owned()),
            line: symbol.line,
            column: symbol.column,
        };
        // A block inside a function has the same name; where there are no lines, so has all of it.
        if frames.last() != Some(&frame) {
            frames.push(frame);
        }
    }
    Branch {
        frames,
        awaits: leaf.name(),
        count: 1,
    }
}

/// What the innermost function awaits, as far as it is looked into.
#[derive(Default)]
struct Leaf {
    name: Option<String>,
    /// A limit on it.
    timeout: Option<String>,
    /// Passed on to what it was given.
    combinator: Option<String>,
    /// What follows are insides.
    found: bool,
}

impl Leaf {
    fn go_in(&mut self, function: Function) {
        let Function { path, of_crate, .. } = function;
        let (module, last) = path.rsplit_once("::").unwrap_or_default();
        let wraps = || WRAPPINGS.iter().any(|ours| path.starts_with(ours));
        if self.found || of_crate.is_none_or(|name| is_among(&STD, &name)) || wraps() {
            // Insides, or nothing but a pointer to it.
        } else if self
            .timeout
            .as_deref()
            .is_some_and(|it| it.starts_with(module))
        {
            // The limit itself, and not what it is a limit on.
            self.found = true;
        } else if path.contains("::AtomicWaker::") {
            // The user's future itself stores the waker.
            self.found = true;
        } else if last == "Timeout" {
            self.timeout = Some(path);
        } else if is_among(&COMBINATORS, last) {
            self.combinator = Some(path);
        } else {
            self.name = Some(path);
            self.found = true;
        }
    }

    fn name(self) -> Option<String> {
        let name = self.name.or(self.combinator);
        match (self.timeout, name.map(public_name)) {
            (Some(timeout), Some(name)) => Some(format!("{timeout} > {name}")),
            (timeout, name) => timeout.or(name),
        }
    }
}

/// A type of this crate by the name that users know.
fn public_name(path: String) -> String {
    let Some(inside) = path.strip_prefix("aiorun_core::") else {
        return path;
    };
    let names: Vec<_> = inside.split("::").collect();
    let is_type = |name: &&str| name.starts_with(char::is_uppercase);
    // A function has no type before it.
    let begin = names.iter().position(is_type).unwrap_or(names.len() - 1);
    format!("aiorun::{}", names[begin..].join("::"))
}

fn crate_of(path: &str) -> Option<&str> {
    path.split_once("::").map(|(name, _)| name)
}

/// Whether it only carries others about.
fn is_plumbing(function: &Function) -> bool {
    let of_crate = function.of_crate.as_deref();
    of_crate.is_none_or(|name| is_among(&PLUMBING, name))
}

/// What is known of a function where the debug information has lines only, and so no path: what sort
/// of function it is.
fn unnamed(symbol: &Symbol<'_>) -> Option<Function> {
    const SORTS: [(&str, &str); 5] = [
        ("{async_fn#", "async fn"),
        ("{async_block#", "async block"),
        ("{async_closure#", "async closure"),
        ("{closure#", "closure"),
        ("poll", "poll"),
    ];
    symbol.file?;
    // `poll<demo::Reader>`
    let name = symbol.name.split('<').next()?;
    let is_poll = matches!(name, "poll" | "poll_next");
    let (_, sort) = SORTS
        .into_iter()
        .find(|(start, _)| name.starts_with(start) && (is_poll || name.ends_with('}')))?;
    Some(Function {
        path: sort.to_owned(),
        // Nothing to go by, but its file is looked at all the same.
        of_crate: Some(String::new()),
        is_async: true,
    })
}

/// The package whose source it is, where cargo has put it or where it came with the compiler. `None`
/// for the program's own.
fn package(file: &str) -> Option<&str> {
    let (of_registry, directory) = below_registry(file);
    if of_registry {
        let name = directory.split(SEPARATORS).next()?;
        return Some(without_version(name).unwrap_or(name));
    }
    if file.starts_with("/rustc/") || file.contains("/rustlib/src/rust/library/") {
        return Some("std");
    }
    // In a checkout, or where sources are kept beside the program.
    let (before, _) = directory
        .rsplit_once("/src/")
        .or_else(|| directory.rsplit_once("\\src\\"))?;
    let (outside, name) = before.rsplit_once(SEPARATORS).unwrap_or(("", before));
    let version = without_version(name);
    let is_foreign = version.is_some() || outside.split(SEPARATORS).any(|it| it == "vendor");
    let name = version.unwrap_or(name);
    let is_plumbing = is_among(&PLUMBING, &name.replace('-', "_")) && !is_among(&STD, name);
    (name == "aiorun-core" || is_foreign && is_plumbing).then_some(name)
}

const SEPARATORS: [char; 2] = ['/', '\\'];

/// `tokio` of `tokio-1.54.1`.
fn without_version(directory: &str) -> Option<&str> {
    let is_version = |text: &str| {
        let (major, rest) = text.split_once('.').unwrap_or_default();
        !major.is_empty() && major.bytes().all(|it| it.is_ascii_digit()) && !rest.is_empty()
    };
    let mut dashes = directory.match_indices('-');
    let (at, _) = dashes.find(|(at, _)| is_version(&directory[at + 1..]))?;
    Some(&directory[..at])
}

/// Where a file is below cargo's sources, or all of the path.
fn below_registry(file: &str) -> (bool, &str) {
    for directory in ["/registry/src/", "\\registry\\src\\"] {
        if let Some((_, rest)) = file.split_once(directory)
            && let Some((host, rest)) = rest.split_once(SEPARATORS)
            && let Some((_, hash)) = host.rsplit_once('-')
            && hash.len() >= 8
            && hash.bytes().all(|it| it.is_ascii_hexdigit())
        {
            return (true, rest);
        }
    }
    (false, file)
}

/// A path without what is the same for all: the working directory and cargo's.
fn shown_file(file: &str) -> &str {
    let (_, file) = below_registry(file);
    file.strip_prefix("./")
        .or_else(|| file.strip_prefix(".\\"))
        .unwrap_or(file)
}

/// What a name of a symbol says. `None` where there is none.
fn function(name: &str) -> Option<Function> {
    if name == "<unknown>" {
        return None;
    }
    let (name, is_closure) = without_closures(name);
    let Some(method) = method(name) else {
        let path = without_generics(name);
        return Some(Function {
            of_crate: crate_of(&path).map(str::to_owned),
            path,
            is_async: is_closure,
        });
    };
    let Method {
        module,
        of_type,
        of_trait,
        name: method,
    } = method;
    let of_trait = of_trait.map(without_generics);
    let of_type = without_generics(of_type.trim_start_matches(['&', '*']));
    let of_type = of_type.trim_start_matches("mut ");
    // Of an `impl` either the type or the trait is at home in the crate that has written it.
    let of_type_crate = crate_of(of_type);
    let crates = [
        module.and_then(|module| module.split("::").next()),
        of_type_crate,
        of_trait.as_deref().and_then(crate_of),
    ];
    let mut crates = crates.into_iter().flatten();
    let author = crates.clone().find(|name| !is_among(&PLUMBING, name));
    let of_crate = author.or_else(|| crates.next()).map(str::to_owned);
    let polls = of_trait.as_deref().is_some_and(|it| {
        it.ends_with("::Future") && method == "poll"
            || it.ends_with("::Stream") && method == "poll_next"
    });
    let path = if polls {
        of_type.to_owned()
    } else {
        format!("{of_type}::{}", without_generics(method))
    };
    Some(Function {
        path,
        of_crate,
        is_async: polls || is_closure,
    })
}

/// The parts of a name that tells the type.
struct Method<'a> {
    /// Where the `impl` is, if it is elsewhere than its type.
    module: Option<&'a str>,
    of_type: &'a str,
    of_trait: Option<&'a str>,
    name: &'a str,
}

/// `<Type as Trait>::method` and `<Type>::method`; or, where the type is at home elsewhere,
/// `module::<impl Trait for Type>::method` and `module::<impl Type>::method`.
fn method(name: &str) -> Option<Method<'_>> {
    let (module, rest) = if let Some(rest) = name.strip_prefix('<') {
        (None, rest)
    } else {
        let (module, rest) = name.split_once("::<impl ")?;
        (Some(module), rest)
    };
    let end = end_of_generics(rest)?;
    let (inside, name) = (&rest[..end], rest[end + 1..].trim_start_matches("::"));
    let (of_type, of_trait) = if module.is_some() {
        match split_outside(inside, " for ") {
            Some((of_trait, of_type)) => (of_type, Some(of_trait)),
            None => (inside, None),
        }
    } else {
        match split_outside(inside, " as ") {
            Some((of_type, of_trait)) => (of_type, Some(of_trait)),
            None => (inside, None),
        }
    };
    Some(Method {
        module,
        of_type,
        of_trait,
        name,
    })
}

/// A name without `::{{closure}}` at its end, or `::{closure#0}::<u8>`; and whether there was one.
fn without_closures(name: &str) -> (&str, bool) {
    let mut name = name;
    let mut found = false;
    while let Some((outer, inner)) = without_last_generics(name).rsplit_once("::")
        && (inner == "{{closure}}" || inner.starts_with("{closure#"))
    {
        (name, found) = (outer, true);
    }
    (name, found)
}

/// A name without `::<u8>` at its end.
fn without_last_generics(name: &str) -> &str {
    if !name.ends_with('>') {
        return name;
    }
    let mut depth = 0_usize;
    for (at, c) in name.char_indices().rev() {
        match c {
            '>' if !name[..at].ends_with('-') => depth += 1,
            '<' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return name[..at].strip_suffix("::").unwrap_or(name);
        }
    }
    name
}

/// A path without what stands in angle brackets.
fn without_generics(path: &str) -> String {
    let mut shown = String::with_capacity(path.len());
    let mut depth = 0_usize;
    let mut before = ' ';
    for c in path.chars() {
        match c {
            '<' => depth += 1,
            // The arrow of a function type closes nothing.
            '>' if before != '-' => depth = depth.saturating_sub(1),
            _ if depth == 0 => shown.push(c),
            _ => {}
        }
        before = c;
    }
    shown.trim_end_matches("::").replace("::::", "::")
}

/// Where the bracket that was opened before `text` is closed.
fn end_of_generics(text: &str) -> Option<usize> {
    let mut depth = 1_usize;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '<' => depth += 1,
            '>' if before != '-' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
        before = c;
    }
    None
}

/// Splits `Type as Trait`, where the ` as ` of another such pair may stand in the type's generics.
fn split_outside<'a>(inside: &'a str, between: &str) -> Option<(&'a str, &'a str)> {
    let mut depth = 0_usize;
    let mut before = ' ';
    for (at, c) in inside.char_indices() {
        match c {
            '<' => depth += 1,
            '>' if before != '-' => depth = depth.saturating_sub(1),
            ' ' if depth == 0 => {
                if let Some(rest) = inside[at..].strip_prefix(between) {
                    return Some((&inside[..at], rest));
                }
            }
            _ => {}
        }
        before = c;
    }
    None
}

/// Shows them as a tree: what all have in common once, then each.
pub(super) fn write(f: &mut fmt::Formatter<'_>, branches: &[Branch], more: usize) -> fmt::Result {
    let rows = branches.iter().flat_map(|branch| rows(&branch.frames));
    let width = rows.filter_map(|row| match row {
        Row::Frame(frame) => Some(Place(frame).to_string().chars().count()),
        Row::Insides(_) => None,
    });
    let width = width.max();
    let mut lines = Lines {
        f,
        begun: false,
        width: width.unwrap_or(0),
    };
    if branches.is_empty() {
        let why = "`std::future::pending`, or one that has it from before";
        return lines.line(
            "",
            format_args!("at an await that asked for no waker ({why})"),
        );
    }
    let branches: Vec<_> = branches
        .iter()
        .map(|branch| (&branch.frames[..], branch))
        .collect();
    lines.tree(&branches, "", "")?;
    match more {
        0 => Ok(()),
        _ => lines.line("", format_args!("and at {more} more awaits")),
    }
}

/// What is shown in one line.
enum Row<'a> {
    Frame(&'a Frame),
    Insides(&'a [Frame]),
}

/// Of several functions of libraries in a row the first, which is what the program has called.
fn rows(frames: &[Frame]) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for run in frames.chunk_by(|one, next| one.package.is_some() && next.package.is_some()) {
        match run {
            [first, insides @ ..] if insides.len() > 1 => {
                rows.extend([Row::Frame(first), Row::Insides(insides)]);
            }
            _ => rows.extend(run.iter().map(Row::Frame)),
        }
    }
    rows
}

/// Functions of libraries that are told by their number.
struct Insides<'a>(&'a [Frame]);

impl fmt::Display for Insides<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "… {} functions of ", self.0.len())?;
        let mut packages = Vec::new();
        for package in self.0.iter().filter_map(|frame| frame.package.as_deref()) {
            if !packages.contains(&package) {
                packages.push(package);
            }
        }
        for (number, package) in packages.iter().enumerate() {
            let between = if number == 0 { "" } else { ", " };
            write!(f, "{between}{}", Printable(package))?;
        }
        f.write_str(" …")
    }
}

struct Lines<'a, 'b> {
    f: &'a mut fmt::Formatter<'b>,
    begun: bool,
    /// Of the longest place.
    width: usize,
}

impl Lines<'_, '_> {
    fn line(&mut self, indent: &str, text: fmt::Arguments<'_>) -> fmt::Result {
        if std::mem::replace(&mut self.begun, true) {
            self.f.write_str("\n")?;
        }
        write!(self.f, "{indent}{text}")
    }

    /// Each branch with the frames of it that are not shown yet; the first line has its own indent.
    fn tree(&mut self, branches: &[(&[Frame], &Branch)], first: &str, indent: &str) -> fmt::Result {
        let Some((frames, others)) = branches.split_first().map(|((it, _), rest)| (it, rest))
        else {
            return Ok(());
        };
        // What they have in common.
        let shared = others.iter().fold(frames.len(), |most, (it, _)| {
            let same = frames
                .iter()
                .zip(*it)
                .take_while(|(one, other)| one == other);
            same.count().min(most)
        });
        self.chain(&frames[..shared], first, indent)?;
        let first = if shared > 0 { indent } else { first };
        let rest: Vec<_> = branches
            .iter()
            .map(|(it, branch)| (&it[shared..], *branch))
            .collect();
        if let [([], branch)] = rest[..] {
            return self.leaf(branch, first);
        }
        // As deep as there are branches at the most.
        let (first, indent) = (format!("{first}- "), format!("{indent}  "));
        rest.chunk_by(|(one, _), (other, _)| !one.is_empty() && one.first() == other.first())
            .try_for_each(|group| self.tree(group, &first, &indent))
    }

    /// Frames that stand in each other; of a long recursion both ends.
    fn chain(&mut self, frames: &[Frame], first: &str, indent: &str) -> fmt::Result {
        let rows = rows(frames);
        let left_out = rows.len().saturating_sub(2 * MOST_ROWS);
        let hidden = MOST_ROWS..MOST_ROWS + left_out;
        let mut first = Some(first);
        for (number, row) in rows.iter().enumerate() {
            let indent = first.take().unwrap_or(indent);
            match row {
                _ if number == hidden.start && left_out > 0 => {
                    self.line(indent, format_args!("… {left_out} more …"))?;
                }
                _ if hidden.contains(&number) => {}
                Row::Frame(frame) => self.frame(frame, indent)?,
                Row::Insides(insides) => self.line(indent, format_args!("{}", Insides(insides)))?,
            }
        }
        Ok(())
    }

    fn frame(&mut self, frame: &Frame, indent: &str) -> fmt::Result {
        let function = Printable(&frame.function);
        if frame.file.is_none() {
            return self.line(indent, format_args!("in {function}"));
        }
        let (place, width) = (Place(frame).to_string(), self.width);
        self.line(indent, format_args!("at {place:<width$}  {function}"))
    }

    fn leaf(&mut self, branch: &Branch, indent: &str) -> fmt::Result {
        let times = match branch.count {
            1 => String::new(),
            count => format!(" ({count} times)"),
        };
        match &branch.awaits {
            Some(what) => self.line(indent, format_args!("awaiting {}{times}", Printable(what))),
            None if branch.frames.is_empty() => self.line(
                indent,
                format_args!("at an await whose name is not known{times}"),
            ),
            None if branch.count > 1 => self.line(indent, format_args!("{}", times.trim_start())),
            None => Ok(()),
        }
    }
}

/// Where a frame is.
struct Place<'a>(&'a Frame);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Frame {
            file, line, column, ..
        } = self.0;
        if let Some(file) = file {
            Printable(file).fmt(f)?;
        }
        for number in [line, column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

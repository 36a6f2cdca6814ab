use super::*;
use crate::trace::Trace;

/// A backtrace as std prints it, between the copy of the waker and the root of the task.
fn backtrace(lines: &str) -> String {
    let inside = "   0: aiorun_core::trace::waker::clone
             at ./aiorun-core/src/trace/waker.rs:120:12
   1: <core::task::wake::Waker as core::clone::Clone>::clone
             at /rustc/59807616e1fa/library/core/src/task/wake.rs:619:29
   2: tokio::sync::task::atomic_waker::AtomicWaker::do_register::{{closure}}
             at /somewhere/registry/src/index-1949cf8c/tokio-1.54.1/src/sync/task/atomic_waker.rs:195:73
";
    let outside =
        "  91: <aiorun_core::supervised::Supervised<F,E> as core::future::future::Future>::poll
             at ./aiorun-core/src/supervised.rs:99:9
  92: app::not_a_part_of_the_task::{{closure}}
             at ./src/main.rs:1:1
";
    format!("{inside}{lines}{outside}")
}

fn read(lines: &str) -> Branch {
    branch(&symbols(&backtrace(lines)))
}

/// The lines that a person gets to see.
fn shown(branches: Vec<Branch>) -> String {
    struct Shown(Vec<Branch>);
    impl fmt::Display for Shown {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write(f, &self.0, 0)
        }
    }
    Shown(fold(branches)).to_string()
}

#[test]
fn names_are_read_in_both_manglings() {
    let cases = [
        // async functions and blocks, by closures
        ("app::serve::{{closure}}", "app::serve", true),
        ("app::serve::{{closure}}::{{closure}}", "app::serve", true),
        ("app::serve::{closure#0}::{closure#3}", "app::serve", true),
        ("app::Server<T>::run::{{closure}}", "app::Server::run", true),
        (
            "<app::Server<u8>>::run::<app::Job>::{closure#0}",
            "app::Server::run",
            true,
        ),
        (
            "<app::Server as app::Service>::call::{{closure}}",
            "app::Server::call",
            true,
        ),
        (
            "<app::Server<alloc::vec::Vec<u8>> as app::Service<fn(u8) -> u8>>::call::{closure#0}",
            "app::Server::call",
            true,
        ),
        (
            "app::closure::{closure#0}::{closure#1}::<i16, fn() -> u8>",
            "app::closure",
            true,
        ),
        // of a type that is at home elsewhere
        (
            "app::server::<impl app::Server<alloc::vec::Vec<u8>>>::run::{{closure}}",
            "app::Server::run",
            true,
        ),
        (
            "app::far::<impl core::future::future::Future for app::near::Tick>::poll",
            "app::near::Tick",
            true,
        ),
        (
            "app::far::<impl app::Service<<u8 as app::For>::It> for &app::Server>::call::{{closure}}",
            "app::Server::call",
            true,
        ),
        // futures by hand
        (
            "<app::Tick as core::future::future::Future>::poll",
            "app::Tick",
            true,
        ),
        (
            "<&mut app::Tick as core::future::future::Future>::poll",
            "app::Tick",
            true,
        ),
        (
            "<app::Both<<app::Left as app::Side>::Of, u8> as core::future::future::Future>::poll",
            "app::Both",
            true,
        ),
        (
            "<app::Ticks as futures_core::stream::Stream>::poll_next",
            "app::Ticks",
            true,
        ),
        // anything else
        ("app::parse", "app::parse", false),
        ("app::Server::poll", "app::Server::poll", false),
        (
            "<app::Server as app::Poll>::poll",
            "app::Server::poll",
            false,
        ),
        ("__rust_try", "__rust_try", false),
        ("_start", "_start", false),
    ];
    for (name, path, is_async) in cases {
        let function = function(name).unwrap();
        assert_eq!(
            (&*function.path, function.is_async),
            (path, is_async),
            "{name}"
        );
    }
    assert_eq!(function("<unknown>"), None);
}

#[test]
fn an_impl_belongs_to_who_has_written_it() {
    let cases = [
        ("app::serve::{{closure}}", "app"),
        ("<app::Tick as core::future::future::Future>::poll", "app"),
        (
            "<alloc::vec::Vec<u8> as app::Wire>::send::{{closure}}",
            "app",
        ),
        (
            "<tokio::net::TcpStream as app::Wire>::send::{closure#0}",
            "app",
        ),
        (
            "app::wire::<impl app::Wire for alloc::string::String>::send::{{closure}}",
            "app",
        ),
        (
            "app::<impl core::future::future::Future for alloc::vec::Vec<app::Tick>>::poll",
            "app",
        ),
        (
            "<tokio::time::sleep::Sleep as core::future::future::Future>::poll",
            "tokio",
        ),
        (
            "<tokio::net::TcpStream as hyper::rt::Read>::fill::{{closure}}",
            "hyper",
        ),
        (
            "<F as futures_core::future::TryFuture>::try_poll",
            "futures_core",
        ),
    ];
    for (name, of_crate) in cases {
        assert_eq!(
            function(name).unwrap().of_crate.as_deref(),
            Some(of_crate),
            "{name}"
        );
    }
}

#[test]
fn files_are_known_by_their_packages() {
    let registry = "/somewhere/registry/src/index-1949cf8c6b5b557f";
    let cases = [
        (
            format!("{registry}/tokio-1.54.1/src/time/sleep.rs"),
            Some("tokio"),
        ),
        (format!("{registry}/md-5-0.10.6/src/lib.rs"), Some("md-5")),
        (
            format!("{registry}/aiorun-core-0.1.0/src/supervised.rs"),
            Some("aiorun-core"),
        ),
        (
            "C:\\cargo\\registry\\src\\x-1949cf8c6b5b557f\\h2-0.4.1\\src\\a.rs".into(),
            Some("h2"),
        ),
        (
            "/rustc/59807616e1fa/library/core/src/task/wake.rs".into(),
            Some("std"),
        ),
        (
            "/r/lib/rustlib/src/rust/library/core/src/pin.rs".into(),
            Some("std"),
        ),
        (
            "./aiorun-core/src/supervised.rs".into(),
            Some("aiorun-core"),
        ),
        ("aiorun-core/src/trace/text.rs".into(), Some("aiorun-core")),
        (
            "/v/aiorun-core-0.1.0/src/supervised.rs".into(),
            Some("aiorun-core"),
        ),
        (
            "a\\aiorun-core\\src\\supervised.rs".into(),
            Some("aiorun-core"),
        ),
        ("./vendor/tokio/src/time/sleep.rs".into(), Some("tokio")),
        (
            "/build/futures-util-0.3.31/src/lib.rs".into(),
            Some("futures-util"),
        ),
        // the program's own
        ("./src/main.rs".into(), None),
        ("/elsewhere/my-aiorun-core/src/bin/x.rs".into(), None),
        ("./crates/registry/src/api/conn.rs".into(), None),
        ("./crates/core/src/lib.rs".into(), None),
        ("./crates/tokio/src/lib.rs".into(), None),
        ("/build/app-1.2.0/src/main.rs".into(), None),
        ("/vendor/core/src/lib.rs".into(), None),
    ];
    for (file, of_package) in cases {
        assert_eq!(package(&file), of_package, "{file}");
    }
}

#[test]
fn the_task_ends_at_its_root_whoever_polls_it() {
    let lines = |root: &str| {
        format!(
            "   3: <tokio::time::sleep::Sleep as core::future::future::Future>::poll
   4: aiorun_core::registry::survey::<impl aiorun_core::registry::Slot>::poll_traced::{{{{closure}}}}
   5: aiorun_core::shield::Shield<F>::poll_traced
   6: {root}
   7: aiorun_core::supervisor::Launched::drive::{{{{closure}}}}
   8: app::main::{{{{closure}}}}
"
        )
    };
    for root in [
        "<aiorun_core::supervised::Supervised<F,E> as core::future::future::Future>::poll",
        "tokio::runtime::task::core::Core<T,S>::poll::{{closure}}",
        "<tokio::runtime::task::core::Core<app::main::{closure#0}, S>>::poll",
        "tokio::runtime::task::harness::poll_future",
    ] {
        let text = lines(root);
        assert_eq!(
            shown(vec![branch(&symbols(&text))]),
            "awaiting tokio::time::sleep::Sleep",
            "{root}"
        );
    }
    assert_eq!(
        public_name("aiorun_core::checkpoint::checkpoint".into()),
        "aiorun::checkpoint"
    );
}

#[test]
fn nonsense_is_no_reason_to_panic() {
    let names = [
        "",
        "<",
        "<>",
        "<<",
        ">",
        "<a as",
        "< as >",
        "::",
        "a::",
        "::{{closure}}",
        "<a>>::b",
        "->",
        "<a -> b",
        "<F as G>::h::{{closure}}",
        "{{closure}}",
        "ä<ö>ü",
        "a::<impl ",
        "a::<impl >",
        "a::<impl  for >::b",
        "::<>",
        "->::<->",
        "a>",
    ];
    for name in names {
        let _ = function(name);
        let text = format!("   0: {name}\n             at {name}:1\n 1:\n at \n at :::\nat 5:x:7");
        let _ = shown(vec![branch(&symbols(&text))]);
    }
}

#[test]
fn places_are_read() {
    assert_eq!(
        place_of("./src/a.rs:3:14"),
        (Some("./src/a.rs"), Some(3), Some(14))
    );
    assert_eq!(place_of("src/a.rs:3"), (Some("src/a.rs"), Some(3), None));
    assert_eq!(
        place_of("C:\\a\\b.rs:3:14"),
        (Some("C:\\a\\b.rs"), Some(3), Some(14))
    );
    assert_eq!(place_of("src/a.rs"), (Some("src/a.rs"), None, None));
}

#[test]
fn what_is_left_is_the_users() {
    let branch = read(
        "  12: tokio::sync::mpsc::chan::Rx<T,S>::recv::{{closure}}
             at /somewhere/registry/src/index-1949cf8c/tokio-1.54.1/src/sync/mpsc/chan.rs:340:33
  13: tokio::sync::mpsc::chan::Rx<T,S>::recv
             at /somewhere/registry/src/index-1949cf8c/tokio-1.54.1/src/sync/mpsc/chan.rs:313:30
  15: tokio::sync::mpsc::bounded::Receiver<T>::recv::{{closure}}::{{closure}}
             at /somewhere/registry/src/index-1949cf8c/tokio-1.54.1/src/sync/mpsc/bounded.rs:245:32
  16: <core::future::poll_fn::PollFn<F> as core::future::future::Future>::poll
             at /rustc/59807616e1fa/library/core/src/future/poll_fn.rs:151:9
  17: tokio::sync::mpsc::bounded::Receiver<T>::recv::{{closure}}
             at /somewhere/registry/src/index-1949cf8c/tokio-1.54.1/src/sync/mpsc/bounded.rs:245:42
  18: app::feed::read::{{closure}}
             at ./src/feed.rs:17:80
  19: <sqlx_core::pool::Acquire as core::future::future::Future>::poll
             at /somewhere/registry/src/index-1949cf8c/sqlx-core-0.8.2/src/pool.rs:9:6
  21: app::helper
             at ./src/main.rs:7:7
  22: app::main::{{closure}}
             at /elsewhere/app/src/main.rs:19:118
",
    );
    let frames: Vec<_> = branch
        .frames
        .iter()
        .map(|frame| {
            (
                &*frame.function,
                frame.file.as_deref().unwrap(),
                frame.line.unwrap(),
            )
        })
        .collect();
    assert_eq!(
        frames,
        [
            ("app::main", "/elsewhere/app/src/main.rs", 19),
            ("sqlx_core::pool::Acquire", "sqlx-core-0.8.2/src/pool.rs", 9),
            ("app::feed::read", "src/feed.rs", 17),
        ]
    );
    let packages: Vec<_> = branch
        .frames
        .iter()
        .map(|it| it.package.as_deref())
        .collect();
    assert_eq!(packages, [None, Some("sqlx-core"), None]);
    assert_eq!(
        branch.awaits.as_deref(),
        Some("tokio::sync::mpsc::bounded::Receiver::recv")
    );
}

#[test]
fn what_macros_put_into_a_function_is_not_shown() {
    let branch = read(
        "  17: app::inner::{{closure}}
             at ./src/main.rs:16:73
  18: app::sel::{{closure}}::{{closure}}
             at ./src/main.rs:18:71
  19: app::sel::{{closure}}::{{closure}}
             at /somewhere/registry/src/index-1949cf8c/tokio-1.54.1/src/macros/select.rs:710:49
  20: <core::future::poll_fn::PollFn<F> as core::future::future::Future>::poll
             at /rustc/59807616e1fa/library/core/src/future/poll_fn.rs:151:9
  21: app::sel::{{closure}}
             at ./src/main.rs:18:17
  25: app::main::{{closure}}::{{closure}}
             at C:\\cargo\\registry\\src\\index-1949cf8c\\futures-util-0.3.34\\src\\async_await\\join_mod.rs:95:13
",
    );
    assert_eq!(
        shown(vec![branch]),
        "at src/main.rs:18:17  app::sel\n\
         at src/main.rs:18:71  app::sel\n\
         at src/main.rs:16:73  app::inner"
    );
}

#[test]
fn the_leaf_is_what_the_user_awaits() {
    let awaits = |lines: &str| read(lines).awaits;
    let sleep = "<tokio::time::sleep::Sleep as core::future::future::Future>::poll";
    let timeout = "<tokio::time::timeout::Timeout<T> as core::future::future::Future>::poll";
    let join = "<futures_util::future::join::Join<A,B> as core::future::future::Future>::poll";
    let boxed = "<core::pin::Pin<P> as core::future::future::Future>::poll";
    let parameter = "<F as futures_core::future::TryFuture>::try_poll";
    let user = "app::main::{{closure}}";
    let lines = |names: &[&str]| {
        let lines = names.iter().map(|name| format!("   4: {name}\n"));
        lines.collect::<String>()
    };
    let is = |names: &[&str], expected: Option<&str>| {
        assert_eq!(awaits(&lines(names)).as_deref(), expected, "{names:?}");
    };
    is(&[sleep, user], Some("tokio::time::sleep::Sleep"));
    is(
        &[sleep, boxed, parameter, user],
        Some("tokio::time::sleep::Sleep"),
    );
    is(&[sleep, join, user], Some("tokio::time::sleep::Sleep"));
    is(
        &[sleep, timeout, user],
        Some("tokio::time::timeout::Timeout > tokio::time::sleep::Sleep"),
    );
    let limit = "tokio::time::timeout::poll_delay::{{closure}}";
    is(
        &[sleep, limit, timeout, user],
        Some("tokio::time::timeout::Timeout"),
    );
    let wrapping = "aiorun_core::supervised::Supervised<F,E>::poll_traced::{{closure}}";
    is(&[sleep, wrapping], Some("tokio::time::sleep::Sleep"));
    is(&[wrapping], None);
    is(&[join, user], Some("futures_util::future::join::Join"));
    is(&[user], None);
    let own = "<aiorun_core::cancellation::Cancellation as core::future::future::Future>::poll";
    is(&[own, user], Some("aiorun::Cancellation"));
    let dump = "aiorun_core::handle::Handle::dump::{{closure}}";
    is(&[dump, user], Some("aiorun::Handle::dump"));
    // A user's own future that polls itself is the last that is known of.
    is(
        &["<app::Tick as core::future::future::Future>::poll", user],
        None,
    );
}

#[test]
fn without_debug_information_there_are_names() {
    let branch = read(
        "   3: <tokio::time::sleep::Sleep as core::future::future::Future>::poll
   4: app::sel::{{closure}}
   5: app::sel::{{closure}}::{{closure}}
   6: <tokio::time::timeout::Timeout<T> as core::future::future::Future>::poll
   7: app::main::{{closure}}
",
    );
    assert_eq!(
        shown(vec![branch]),
        "in app::main\nin app::sel\nawaiting tokio::time::sleep::Sleep"
    );
}

/// As rustc names what it inlines into a function with `debug = "line-tables-only"`.
#[test]
fn with_lines_only_there_are_sorts_of_functions() {
    let inside = "   0: {closure#0}
             at ./aiorun-core/src/trace/waker.rs:120:12
   1: poll
             at /somewhere/registry/src/index-1949cf8c/tokio-1.54.1/src/time/sleep.rs:40:9
   2: {async_fn#0}
             at ./src/feed.rs:17:5
   3: poll<alloc::boxed::Box<app::serve::{async_fn#0}::{async_block_env#0}, alloc::alloc::Global>>
             at /rustc/59807616e1fa/library/core/src/future/future.rs:133:9
   4: poll<core::pin::Pin<alloc::boxed::Box<(dyn core::future::future::Future<Output=()>)>>>
             at ./src/hand.rs:6:145
   5: {async_closure#0}
             at ./src/main.rs:11:94
   6: {async_block#0}
             at /elsewhere/registry/src/index-1949cf8c/sqlx-core-0.8.2/src/pool.rs:9:7
   7: {closure#1}
             at ./src/main.rs:19:9
   8: {async_block#0}
             at /elsewhere/aiorun-core/src/entry.rs:19:9
";
    let root = "  17: poll<app::main::{async_block_env#0}, aiorun_core::supervised::Main>
             at /elsewhere/registry/src/index-1949cf8c/aiorun-core-0.1.0/src/supervised.rs:110:50
";
    let outside = "  18: {async_block#0}
             at ./src/outside.rs:1:1
";
    let at_root = |root: &str| shown(vec![branch(&symbols(&format!("{inside}{root}{outside}")))]);
    let chain = "\
at src/main.rs:19:9            closure
at sqlx-core-0.8.2/src/pool.rs:9:7  async block
at src/main.rs:11:94           async closure
at src/hand.rs:6:145           poll
at src/feed.rs:17:5            async fn";
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(squeezed(&at_root(root)), squeezed(chain));
    let here = "  17: poll<F, E>\n             at ./aiorun-core/src/supervised.rs:110:50\n";
    assert_eq!(squeezed(&at_root(here)), squeezed(chain));
    assert!(at_root("").contains("src/outside.rs"));
}

#[test]
fn without_names_there_is_nothing_to_say() {
    let stripped = "   0: <unknown>\n   1: <unknown>\n   2: __libc_start_main\n   3: <unknown>\n";
    assert_eq!(
        shown(vec![branch(&symbols(stripped))]),
        "at an await whose name is not known"
    );
}

#[test]
fn a_backtrace_without_the_root_is_read_to_its_end() {
    let branch = branch(&symbols(
        "   1: app::serve::{closure#0}\n             at ./src/main.rs:2:3\n",
    ));
    assert_eq!(shown(vec![branch]), "at src/main.rs:2:3  app::serve");
}

fn frame(function: &str, line: u32) -> Frame {
    Frame {
        function: function.into(),
        package: None,
        file: Some("src/main.rs".into()),
        line: Some(line),
        column: Some(5),
    }
}

fn branch_of(frames: &[Frame], awaits: &str) -> Branch {
    Branch {
        frames: frames.to_vec(),
        awaits: Some(awaits.into()),
        count: 1,
    }
}

#[test]
fn several_awaits_are_a_tree() {
    let main = frame("app::main", 10);
    let (read, write) = (frame("app::read", 120), frame("app::write", 7));
    let branches = vec![
        branch_of(&[main.clone(), write.clone(), read.clone()], "a::Socket"),
        branch_of(&[main.clone(), read.clone()], "a::Sleep"),
        branch_of(&[main.clone(), write.clone()], "a::Lock"),
        branch_of(&[main.clone(), read.clone()], "a::Sleep"),
        branch_of(&[main], "a::Timer"),
    ];
    let tree = "\
at src/main.rs:10:5   app::main
- awaiting a::Timer
- at src/main.rs:120:5  app::read
  awaiting a::Sleep (2 times)
- at src/main.rs:7:5    app::write
  - awaiting a::Lock
  - at src/main.rs:120:5  app::read
    awaiting a::Socket";
    assert_eq!(shown(branches.clone()), tree);
    // In whatever order a `select!` has polled them.
    assert_eq!(shown(branches.into_iter().rev().collect()), tree);
}

#[test]
fn of_a_long_recursion_both_ends_are_shown() {
    let chain = |count| {
        let frames: Vec<_> = (1..=count).map(|line| frame("app::down", line)).collect();
        shown(vec![branch_of(&frames, "a::Sleep")])
    };
    let lines = |count| chain(count).lines().count();
    assert_eq!(lines(64), 65);
    assert_eq!(lines(65), 66);
    assert_eq!(lines(100_000), 66);
    let text = chain(100);
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[31].starts_with("at src/main.rs:32:5 "), "{text}");
    assert_eq!(lines[32], "… 36 more …");
    assert!(lines[33].starts_with("at src/main.rs:69:5 "), "{text}");
    assert_eq!(lines[65], "awaiting a::Sleep");
}

#[test]
fn of_the_insides_of_libraries_the_entrance_is_shown() {
    let of = |package: &'static str, function, line| Frame {
        package: Some(package.into()),
        ..frame(function, line)
    };
    let frames = [
        of("axum", "axum::serve", 1),
        of("hyper", "hyper::Connection", 2),
        frame("app::handle", 3),
        of("sqlx", "sqlx::fetch", 4),
        of("sqlx-core", "sqlx_core::Pool", 5),
        of("sqlx", "sqlx::Waiter", 6),
    ];
    assert_eq!(
        shown(vec![branch_of(&frames, "a::Sleep")]),
        "\
at src/main.rs:1:5  axum::serve
at src/main.rs:2:5  hyper::Connection
at src/main.rs:3:5  app::handle
at src/main.rs:4:5  sqlx::fetch
… 2 functions of sqlx-core, sqlx …
awaiting a::Sleep"
    );
}

#[test]
fn nothing_in_a_name_steers_the_terminal() {
    let evil = branch_of(&[frame("app::\u{1b}[2J", 1)], "x::\u{7}");
    let shown = shown(vec![evil]);
    assert_eq!(
        shown,
        "at src/main.rs:1:5  app::\\u{1b}[2J\nawaiting x::\\u{7}"
    );
}

#[test]
fn many_and_none_are_told() {
    let trace = |more| {
        let taken = crate::trace::waker::Taken {
            places: Vec::new(),
            more,
        };
        Trace::new(taken)
    };
    assert!(trace(0).to_string().contains("asked for no waker"));
    assert_eq!(trace(0).branches(), []);
    assert_eq!(trace(3).more(), 3);
    assert_eq!(trace(0), trace(0));
    assert_ne!(trace(0), trace(3));
}

//! The ways to run: each builds the shared state, starts the control thread, starts main, waits for
//! the word to close, and puts together the `Exit`.

use std::future::poll_fn;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;

use crate::builder::Builder;
use crate::config::{Flavor, Options, RepeatSignal, SignalExitStatus};
use crate::control::{ControlThread, Ending, Setup};
use crate::current::{self, Claim};
use crate::error::RunError;
use crate::exit::{Exit, StopReason};
use crate::handle::Handle;
use crate::manager::Manager;
use crate::phase::{CLOSE, Machine};
use crate::registry::{Birth, COOPERATIVE};
use crate::reporter::{self, Handlers, Message};
use crate::run::{Command, MainEnd, Parts, Run};
use crate::runtime::UserRuntime;
use crate::spawn::{internal, reserve_in};
use crate::supervised::{self, Place, Supervised};
use crate::task::Kind;
use crate::thread::Helper;
#[cfg(feature = "tokio-util")]
use crate::token::StopWhen;

/// Whose the runtime is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Us,
    Them,
}

/// Where main runs, on the heap: what drives it is compiled with this crate, and not with each
/// program.
enum Seat<'a> {
    /// On the thread that calls `run`, under `block_on`.
    Here(Pin<Box<dyn Future<Output = Option<ExitCode>> + 'a>>),
    Worker(Pin<Box<dyn Future<Output = Option<ExitCode>> + Send>>),
}

/// Runs with main on this thread, under `block_on`.
pub(crate) fn run_here<F>(
    builder: &mut Builder,
    location: &'static Location<'static>,
    main: Option<F>,
) -> Exit
where
    F: Future<Output = Option<ExitCode>>,
{
    run(
        builder,
        location,
        main.map(|main| Seat::Here(Box::pin(main))),
    )
}

/// Runs with main on a worker, where there is one.
pub(crate) fn run_on_worker<F>(
    builder: &mut Builder,
    location: &'static Location<'static>,
    main: F,
) -> Exit
where
    F: Future<Output = Option<ExitCode>> + Send + 'static,
{
    let main = if builder.options.flavor() == Flavor::MultiThread {
        Seat::Worker(Box::pin(main))
    } else {
        Seat::Here(Box::pin(main))
    };
    run(builder, location, Some(main))
}

fn run(
    builder: &mut Builder,
    location: &'static Location<'static>,
    main: Option<Seat<'_>>,
) -> Exit {
    if let Err(what) = builder.options.validate() {
        return Exit::not_started(RunError::Config(what));
    }
    if current::kind().is_some_and(|kind| kind != Kind::Blocking) {
        return Exit::not_started(RunError::Config(
            "`run` was called inside an async task, whose thread must not be blocked: use \
             `Builder::supervise(..).await` on a runtime of its own, or `spawn_blocking`"
                .into(),
        ));
    }
    // What runs on this thread from here on belongs to the new runtime.
    let _outer = current::enter(None);
    let mut launched = match Launched::start(builder, main.is_some(), Owner::Us) {
        Ok(launched) => launched,
        Err(error) => return Exit::not_started(error),
    };
    let runtime = match UserRuntime::build(&builder.options) {
        Ok(runtime) => runtime,
        Err(error) => return launched.fail(RunError::Start(error)),
    };
    if let Err(error) = launched.settle_on(runtime.handle(), &builder.options) {
        return launched.fail(error);
    }
    let run = Arc::clone(&launched.run);
    if let Some(on_start) = builder.on_start.take() {
        on_start(Handle::new(Arc::clone(&run)));
    }
    let most = match main {
        Some(Seat::Worker(main)) => runtime.block_on(pin!(async {
            if may_start(&run).await {
                let birth = Birth::plain(Kind::Main, location);
                internal::<_, supervised::Main>(&run, &birth, main);
            }
            launched.closing().await
        })),
        Some(Seat::Here(main)) => {
            runtime.block_on(pin!(launched.drive(&run, Main { main, location })))
        }
        None => runtime.block_on(pin!(async {
            may_start(&run).await;
            launched.closing().await
        })),
    };
    run.send(Command::Closing(strays(&run)));
    if !runtime.close(most) {
        run.keep_claim();
    }
    run.send(Command::Closed);
    let (exit, panic) = launched.finish(&builder.options);
    builder.main_panic = panic;
    exit
}

/// Runs inside a runtime that is there.
pub(crate) async fn supervise<F>(
    builder: &mut Builder,
    location: &'static Location<'static>,
    main: F,
) -> Exit
where
    F: Future<Output = Option<ExitCode>>,
{
    let runtime = runtime::Handle::current();
    if let Err(what) = builder.options.validate_for_supervise() {
        return Exit::not_started(RunError::Config(what));
    }
    let mut launched = match Launched::start(builder, true, Owner::Them) {
        Ok(launched) => launched,
        Err(error) => return Exit::not_started(error),
    };
    if let Err(error) = launched.settle_on(&runtime, &builder.options) {
        return launched.fail(error);
    }
    let run = Arc::clone(&launched.run);
    launched.drive(&run, Main { main, location }).await;
    run.send(Command::Closed);
    let options = Options {
        signal_exit_status: builder.options.signal_exit_status,
        ..Options::default()
    };
    let (exit, panic) = launched.finish_elsewhere(options).await;
    builder.main_panic = panic;
    exit
}

/// Whether main is to start: not if a signal came during the start.
async fn may_start(run: &Run) -> bool {
    let (go, answer) = oneshot::channel();
    run.send(Command::Started(go));
    if run.has_early_stop() {
        answer.await.unwrap_or(false)
    } else {
        true
    }
}

/// The strays at the close. tokio forgets a task a moment after we do, and on a busy machine its
/// thread may be interrupted in between, so a number that is too high is looked at again.
fn strays(run: &Run) -> usize {
    const MOST: Duration = Duration::from_millis(10);
    let mut strays = run.strays();
    let mut pause = Duration::from_micros(100);
    let mut paused = Duration::ZERO;
    while strays > 0 && paused < MOST {
        thread::sleep(pause);
        paused += pause;
        pause *= 2;
        strays = run.strays();
    }
    strays
}

/// Main, and where it was started.
struct Main<F> {
    main: F,
    location: &'static Location<'static>,
}

/// A run whose control thread is up.
struct Launched {
    run: Arc<Run>,
    /// Taken at the end.
    control: Option<ControlThread>,
    close: oneshot::Receiver<Duration>,
    reporter: Option<Helper>,
    messages: Option<UnboundedReceiver<Message>>,
    handlers: Option<Handlers>,
    owner: Owner,
    #[cfg(feature = "tokio-util")]
    stop_when: Option<StopWhen>,
}

impl Launched {
    fn start(builder: &mut Builder, has_main: bool, owner: Owner) -> Result<Self, RunError> {
        let options = &mut builder.options;
        let callback = options.callback.take();
        let may_leave = owner == Owner::Us && !options.test;
        let repeat = match options.repeat_signal {
            // Neither a test nor `supervise` ever leaves the process.
            RepeatSignal::Exit if !may_leave => RepeatSignal::Abort,
            repeat => repeat,
        };
        let (commands, commanded) = unbounded_channel();
        let (say, messages) = unbounded_channel();
        let (close, closing) = oneshot::channel();
        let signals = options.signals();
        let run = Run::new(Parts {
            default_marks: if options.cooperative { COOPERATIVE } else { 0 },
            machine: Machine::new(options.limits, repeat, callback.is_some()),
            reporter: say,
            owns_runtime: owner == Owner::Us,
            commands,
            stop_on_unhandled_errors: options.stop_on_unhandled_errors(),
            may_pause: may_pause(options, owner),
        });
        let control = ControlThread::start(Setup {
            run: Arc::clone(&run),
            commands: commanded,
            close,
            exit_on: (repeat == RepeatSignal::Exit).then(|| signals.clone()),
            signals,
            dump_signal: options.dump_signal,
            callback: callback
                .map(|it| (it, builder.callback_location.unwrap_or(Location::caller()))),
            // A test is no service, whatever runs the tests.
            manager: (!options.test).then(Manager::of_environment).flatten(),
            asks_handler: options.shutdown_handler.is_some(),
            run_forever: options.run_forever(),
            has_main,
            may_leave,
        });
        let control = match control {
            Ok(control) => control,
            Err(error) => {
                run.abolish();
                return Err(RunError::Start(error));
            }
        };
        let handlers = Handlers {
            shutdown: options.shutdown_handler.clone(),
            error: options.error_handler.clone(),
        };
        Ok(Self {
            run,
            control: Some(control),
            close: closing,
            reporter: None,
            messages: Some(messages),
            handlers: Some(handlers),
            owner,
            #[cfg(feature = "tokio-util")]
            stop_when: None,
        })
    }

    /// Claims the runtime and starts what needs one.
    fn settle_on(
        &mut self,
        runtime: &runtime::Handle,
        #[cfg_attr(
            not(feature = "tokio-util"),
            expect(unused_variables, reason = "a token is")
        )]
        options: &Options,
    ) -> Result<(), RunError> {
        let Some(claim) = Claim::new(runtime, &self.run) else {
            return Err(RunError::Config(
                "this runtime has a supervisor already, and it can have one: spawn the work with \
                 `aiorun::spawn`, or run it on a runtime of its own"
                    .into(),
            ));
        };
        self.run.settle_on(runtime.clone(), claim);
        if let (Some(messages), Some(handlers)) = (self.messages.take(), self.handlers.take()) {
            let reporter = reporter::start(Arc::clone(&self.run), messages, handlers);
            self.reporter = Some(reporter.map_err(RunError::Start)?);
        }
        #[cfg(feature = "tokio-util")]
        if let Some(token) = options.stop_when.clone() {
            self.stop_when = Some(StopWhen::watch(token, &self.run));
        }
        Ok(())
    }

    /// Runs main here until the control thread says close; what is left of it is dropped then.
    async fn drive<F>(&mut self, run: &Run, main: Main<F>) -> Duration
    where
        F: Future<Output = Option<ExitCode>>,
    {
        let main = may_start(run).await.then_some(main);
        let main = main.and_then(|Main { main, location }| {
            let birth = Birth::plain(Kind::Main, location);
            let (slot, _) = reserve_in(run, None, &birth);
            let place = Place::new(slot?);
            Some(Supervised::<F, supervised::Main>::new(main, place))
        });
        let owner = self.owner;
        let mut main = pin!(main);
        let mut closing = pin!(self.closing());
        let most = poll_fn(|cx| {
            if let Some(main) = main.as_mut().as_pin_mut().filter(|_| owner == Owner::Them) {
                main.polled_with(cx.waker());
            }
            let ended = main
                .as_mut()
                .as_pin_mut()
                .is_some_and(|main| main.poll(cx).is_ready());
            if ended {
                main.set(None);
            }
            closing.as_mut().poll(cx)
        })
        .await;
        main.set(None);
        most
    }

    /// Waits for the word to close; yields how long that may take.
    async fn closing(&mut self) -> Duration {
        (&mut self.close).await.unwrap_or(CLOSE)
    }

    fn fail(mut self, error: RunError) -> Exit {
        self.run.send(Command::Abandon);
        self.close.close();
        self.end();
        Exit::not_started(error)
    }

    /// Waits for the control thread, and a moment for those that still have something to say.
    fn end(&mut self) -> Option<Ending> {
        let mut ending = self.control.take().map(ControlThread::join);
        let until = Instant::now() + reporter::PATIENCE;
        let printer = ending.as_mut().and_then(|it| it.printer.take());
        if let Some(printer) = printer {
            printer.finish(until);
        }
        if let Some(reporter) = self.reporter.take() {
            reporter.wait(until);
        }
        ending
    }

    /// As [`Launched::finish`]. The last lines of the log may take a moment, in which the owner's
    /// thread should not be blocked; and all threads of its pool may be taken.
    async fn finish_elsewhere(self, options: Options) -> (Exit, Option<Payload>) {
        let (finished, wait) = oneshot::channel();
        let (launch, launched) = oneshot::channel();
        let thread = thread::Builder::new().name("aiorun-finish".into());
        let spawned = thread.spawn(move || {
            if let Ok((launched, options)) = launched.blocking_recv() {
                let launched: Self = launched;
                let _ = finished.send(launched.finish(&options));
            }
        });
        if spawned.is_err() {
            return self.finish(&options);
        }
        let _ = launch.send((self, options));
        match wait.await {
            Ok(finished) => finished,
            Err(_) => unreachable!("the thread answers or panics with us"),
        }
    }

    fn finish(mut self, options: &Options) -> (Exit, Option<Payload>) {
        let Some(ending) = self.end() else {
            unreachable!("a run ends once")
        };
        let mut report = ending.report;
        let mut failures = self.run.take_failures();
        report.failures = std::mem::take(&mut failures.kept);
        report.more_failures = failures.more;
        let main = ending.main;
        let error = ending
            .error
            .map(|blame| blame.into_error(main.as_ref(), &report));
        let code = match (&main, &error) {
            (Some(MainEnd::Failed(code)), _) => *code,
            (Some(MainEnd::Panicked(_)), _) => ExitCode::from(101),
            (_, Some(_)) => ExitCode::FAILURE,
            (_, None) => match (ending.stop_code, ending.reason) {
                (Some(code), _) => code,
                (None, StopReason::Signal(signal))
                    if options.signal_exit_status == SignalExitStatus::Signal =>
                {
                    ExitCode::from(signal.exit_code())
                }
                _ => ExitCode::SUCCESS,
            },
        };
        let panic = match main {
            Some(MainEnd::Panicked(payload)) => Some(payload),
            _ => None,
        };
        // Main's `Termination`, the panic hook or a line of the log has shown it, unless it is the
        // `Err` of a critical task that somebody took and kept.
        let shown = match &error {
            Some(RunError::TaskFailed(failure)) => {
                let reported = report
                    .failures
                    .iter()
                    .any(|known| known.id() == failure.id());
                let shown = reported || failures.critical == Some(failure.id());
                shown && !self.run.has_unshown()
            }
            Some(RunError::MainFailed | RunError::MainPanicked(_)) => true,
            _ => !self.run.has_unshown(),
        };
        (
            Exit {
                reason: ending.reason,
                error,
                report,
                code,
                shown,
            },
            panic,
        )
    }
}

/// What a panic was raised with.
pub(crate) type Payload = Box<dyn std::any::Any + Send>;

impl Drop for Launched {
    /// The future of `supervise` was dropped, or `block_on` panicked. The control thread goes on by
    /// itself: it cancels everything and cleans up behind itself.
    fn drop(&mut self) {
        let Some(control) = self.control.take() else {
            return;
        };
        self.close.close();
        self.run.send(Command::Abandon);
        if self.owner == Owner::Us {
            // The runtime is ours and about to be dropped.
            control.wait();
        }
    }
}

/// Whether the runtime's clock may be paused: known for our own, possible for a single-threaded one
/// of somebody else's.
fn may_pause(options: &Options, owner: Owner) -> bool {
    cfg!(feature = "test-util")
        && match owner {
            Owner::Us => options.start_paused == Some(true),
            Owner::Them => runtime::Handle::try_current().is_ok_and(|handle| {
                handle.runtime_flavor() == runtime::RuntimeFlavor::CurrentThread
            }),
        }
}

//! Expansions as they are printed.
//!
//! After a change, `UPDATE_EXPECT=1 cargo test -p aiorun-macros` writes the new ones down.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use expect_test::{Expect, expect};
use proc_macro2::TokenStream;
use quote::quote;

use crate::attribute::{Role, expand};

#[test]
fn main_alone() {
    let expansion = expand(
        Role::Main,
        quote!(),
        &quote! {
            /// Serves.
            async fn main() {
                serve().await
            }
        },
    );
    check(
        expansion,
        &expect![[r#"
            /// Serves.
            fn main() -> ::aiorun::Exit {
                use ::aiorun as __aiorun;
                #[allow(clippy::future_not_send, clippy::unused_async)]
                async fn main() {
                    serve().await
                }
                let builder = &mut __aiorun::Builder::new();
                let main = __aiorun::__private::reported(main());
                {
                    use __aiorun::__private::{LocalEntry as _, SendEntry as _};
                    (&&__aiorun::__private::probe(&main)).entry().run(builder, main)
                }
            }
        "#]],
    );
}

#[test]
fn every_option() {
    let expansion = expand(
        Role::Main,
        quote! {
            flavor = "multi_thread",
            worker_threads = 4,
            thread_stack_size = 2 * MIB,
            executor_workers = 16usize,
            run_forever = false,
            cooperative,
            stop_on_unhandled_errors = false,
            shutdown_timeout = "1m30s",
            timeout_task_shutdown = 0.5,
            timeout_executor_shutdown = "none",
            shutdown_delay = Duration::from_secs(5),
            shutdown_callback = callbacks::last,
            shutdown_handler = |_, handle| ask(handle),
            unhandled_error_handler = |error: &UnhandledError| note(error),
            signals = ["SIGHUP", "SIGTERM"],
            repeat_signal = "exit",
            signal_exit_status = "signal",
            dump_signal = "SIGUSR1",
            start_paused = false,
            name = "server",
            crate = "framework::aiorun",
        },
        &quote! {
            async fn main() -> Result<(), Error> {}
        },
    );
    check(
        expansion,
        &expect![[r#"
            fn main() -> framework::aiorun::Exit {
                use framework::aiorun as __aiorun;
                #[allow(clippy::future_not_send, clippy::unused_async)]
                async fn main() -> Result<(), Error> {}
                let builder = &mut __aiorun::Builder::new();
                builder.flavor(__aiorun::Flavor::MultiThread);
                builder.worker_threads(4);
                builder.thread_stack_size(2 * MIB);
                builder.executor_workers(16usize);
                builder.run_forever(false);
                builder.cooperative(true);
                builder.stop_on_unhandled_errors(false);
                builder
                    .shutdown_timeout(
                        __aiorun::__private::Option::Some(__aiorun::__private::Duration::new(90, 0)),
                    );
                builder
                    .timeout_task_shutdown(
                        __aiorun::__private::Option::Some(
                            __aiorun::__private::Duration::new(0, 500000000),
                        ),
                    );
                builder.timeout_executor_shutdown(__aiorun::__private::Option::None);
                builder.shutdown_delay(Duration::from_secs(5));
                builder.shutdown_callback(callbacks::last);
                builder
                    .shutdown_handler(|_: __aiorun::Signal, handle: &__aiorun::Handle| ask(handle));
                builder.unhandled_error_handler(|error: &UnhandledError| note(error));
                builder.signals([__aiorun::Signal::HUP, __aiorun::Signal::TERM]);
                builder.repeat_signal(__aiorun::RepeatSignal::Exit);
                builder.signal_exit_status(__aiorun::SignalExitStatus::Signal);
                builder.dump_signal(__aiorun::Signal::USR1);
                builder.start_paused(false);
                builder.name("server");
                let main = __aiorun::__private::reported(main());
                {
                    use __aiorun::__private::{LocalEntry as _, SendEntry as _};
                    (&&__aiorun::__private::probe(&main)).entry().run(builder, main)
                }
            }
        "#]],
    );
}

#[test]
fn arguments_and_generics() {
    let expansion = expand(
        Role::Main,
        quote!(worker_threads = threads),
        &quote! {
            #[cfg(unix)]
            pub(crate) async fn serve<'a, T: Into<String>, const N: usize>(
                #[allow(unused)] mut threads: usize,
                (a, b): (&'a str, impl Fn()),
                _: [T; N],
                _last: u8,
            ) -> impl Termination
            where
                T: 'static,
            {
            }
        },
    );
    check(
        expansion,
        &expect![[r#"
            #[cfg(unix)]
            pub(crate) fn serve<'a, T: Into<String>, const N: usize>(
                threads: usize,
                arg1: (&'a str, impl Fn()),
                arg2: [T; N],
                arg3: u8,
            ) -> ::aiorun::Exit
            where
                T: 'static,
            {
                use ::aiorun as __aiorun;
                #[allow(clippy::future_not_send, clippy::unused_async)]
                async fn serve<'a, T: Into<String>, const N: usize>(
                    #[allow(unused)]
                    mut threads: usize,
                    (a, b): (&'a str, impl Fn()),
                    _: [T; N],
                    _last: u8,
                ) -> impl Termination
                where
                    T: 'static,
                {}
                let builder = &mut __aiorun::Builder::new();
                builder.worker_threads(threads);
                builder.run(serve::<T, N>(threads, arg1, arg2, arg3))
            }
        "#]],
    );
}

#[test]
fn test_alone() {
    let expansion = expand(
        Role::Test,
        quote!(),
        &quote! {
            #[ignore]
            async fn it_works() {}
        },
    );
    check(
        expansion,
        &expect![[r#"
            #[ignore]
            #[::core::prelude::v1::test]
            fn it_works() {
                use ::aiorun as __aiorun;
                #[allow(clippy::future_not_send, clippy::unused_async)]
                async fn it_works() {}
                let builder = __aiorun::__private::test_builder();
                __aiorun::__private::test(
                    builder,
                    __aiorun::__private::Option::None,
                    move |builder: &mut __aiorun::Builder| {
                        let main = __aiorun::__private::reported(it_works());
                        {
                            use __aiorun::__private::{LocalEntry as _, SendEntry as _};
                            (&&__aiorun::__private::probe(&main)).entry().run(builder, main)
                        }
                    },
                );
            }
        "#]],
    );
}

#[test]
fn test_with_options_and_arguments() {
    let expansion = expand(
        Role::Test,
        quote!(
            test_timeout = 5,
            unhandled_error_handler = |error| note(error),
            signals = []
        ),
        &quote! {
            async fn case(x: u8) -> Result<(), Error> {}
        },
    );
    check(
        expansion,
        &expect![[r#"
            #[::core::prelude::v1::test]
            fn case(x: u8) -> ::aiorun::__private::ExitCode {
                use ::aiorun as __aiorun;
                #[allow(clippy::future_not_send, clippy::unused_async)]
                async fn case(x: u8) -> Result<(), Error> {}
                let mut builder = __aiorun::__private::test_builder();
                {
                    let builder = &mut builder;
                    builder.unhandled_error_handler(|error: &__aiorun::UnhandledError| note(error));
                    builder.signals([] as [__aiorun::Signal; 0]);
                    builder.stop_on_unhandled_errors(false);
                }
                __aiorun::__private::test(
                    builder,
                    __aiorun::__private::Option::Some(__aiorun::__private::Duration::new(5, 0)),
                    move |builder: &mut __aiorun::Builder| { builder.run(case(x)) },
                )
            }
        "#]],
    );
}

#[test]
fn closures() {
    let expansion = expand(
        Role::Main,
        quote!(
            shutdown_callback = async move |mut h| h.stop(),
            shutdown_handler = |s: Signal, (h)| Stop
        ),
        &quote! {
            async fn main() {}
        },
    );
    check(
        expansion,
        &expect![[r#"
            fn main() -> ::aiorun::Exit {
                use ::aiorun as __aiorun;
                #[allow(clippy::future_not_send, clippy::unused_async)]
                async fn main() {}
                let builder = &mut __aiorun::Builder::new();
                builder.shutdown_callback(async move |mut h: __aiorun::Handle| h.stop());
                builder.shutdown_handler(|s: Signal, (h): &__aiorun::Handle| Stop);
                let main = __aiorun::__private::reported(main());
                {
                    use __aiorun::__private::{LocalEntry as _, SendEntry as _};
                    (&&__aiorun::__private::probe(&main)).entry().run(builder, main)
                }
            }
        "#]],
    );
}

#[test]
fn fallback_of_main() {
    let expansion = expand(
        Role::Main,
        quote!(),
        &quote! {
            #[tokio::main]
            #[allow(unused)]
            pub const unsafe extern "C" fn main<T>(x: T, ...) -> T {
                x
            }
        },
    );
    check(
        expansion,
        &expect![[r##"
            #[allow(unused)]
            pub fn main() -> ::aiorun::Exit {
                #[allow(dead_code)]
                #[allow(clippy::future_not_send, clippy::unused_async)]
                async fn main<T>(x: T) -> T {
                    x
                }
                ::core::unreachable!()
            }
            ::core::compile_error! {
                "`#[aiorun::main]` does the work of this attribute: remove it"
            }
            ::core::compile_error! {
                "`main` must be an `async fn`"
            }
            ::core::compile_error! {
                "the function cannot be `const`"
            }
            ::core::compile_error! {
                "the function cannot be `unsafe`"
            }
            ::core::compile_error! {
                "the function cannot be `extern \"C\"`"
            }
            ::core::compile_error! {
                "the function cannot be variadic"
            }
            ::core::compile_error! {
                "the function `main` takes no arguments"
            }
            ::core::compile_error! {
                "the function `main` has no generic parameters"
            }
        "##]],
    );
}

#[test]
fn fallback_of_another_function() {
    let expansion = expand(
        Role::Main,
        quote!(crate = "other", flavour = "local"),
        &quote! {
            fn serve<T>(x: T) -> T { x }
        },
    );
    check(
        expansion,
        &expect![[r#"
            fn serve<T>(x: T) -> other::Exit {
                #[allow(dead_code)]
                #[allow(clippy::future_not_send, clippy::unused_async)]
                async fn serve<T>(x: T) -> T {
                    x
                }
                ::core::unreachable!()
            }
            ::core::compile_error! {
                "unknown option `flavour`: did you mean `flavor`?"
            }
            ::core::compile_error! {
                "`serve` must be an `async fn`"
            }
        "#]],
    );
}

#[test]
fn fallback_of_a_method() {
    let expansion = expand(
        Role::Main,
        quote!(),
        &quote! {
            async fn serve(&self) {}
        },
    );
    check(
        expansion,
        &expect![[r#"
        async fn serve(&self) {}
        ::core::compile_error! {
            "`#[aiorun::main]` cannot run a method: remove `self`"
        }
    "#]],
    );
}

#[test]
fn fallback_of_something_else() {
    let expansion = expand(
        Role::Test,
        quote!(),
        &quote!(
            struct Unit;
        ),
    );
    check(
        expansion,
        &expect![[r#"
        struct Unit;
        ::core::compile_error! {
            "`#[aiorun::test]` belongs on an `async fn` with a body"
        }
    "#]],
    );
}

fn check(expansion: TokenStream, expected: &Expect) {
    let file = syn::parse2(expansion).unwrap();
    expected.assert_eq(&prettyplease::unparse(&file));
}

//! Nothing that is generated comes from the prelude.

mod bare {
    #![no_implicit_prelude]

    #[::aiorun::main(
        flavor = "current_thread",
        run_forever = false,
        cooperative,
        shutdown_timeout = 5,
        timeout_executor_shutdown = "none",
        shutdown_callback = |_| (),
        signals = []
    )]
    pub(crate) async fn main() {}

    #[::aiorun::main(flavor = "local", run_forever = false)]
    pub(crate) async fn serve(_: &str) -> ::std::result::Result<(), ::std::string::String> {
        ::std::result::Result::Ok(())
    }

    #[::aiorun::test(test_timeout = 5)]
    async fn works() {}
}

fn main() -> aiorun::Exit {
    assert!(bare::serve("localhost").is_success());
    bare::main()
}

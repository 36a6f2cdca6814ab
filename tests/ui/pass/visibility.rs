//! Visibility, attributes and the place of the function are the user's affair.

#![deny(unused, dead_code, deprecated)]

mod inner {
    #[aiorun::main(run_forever = false)]
    pub(in crate::inner) async fn within() {}

    /// Documented.
    #[aiorun::main(run_forever = false)]
    #[allow(unused_variables)]
    pub(crate) async fn outward() {
        #![allow(unused_mut)]
        let mut unused = 5;
    }

    pub(crate) fn again() -> aiorun::Exit {
        within()
    }
}

struct Server;

impl Server {
    #[aiorun::main(run_forever = false)]
    pub async fn serve() {}
}

trait Run {
    #[aiorun::main(run_forever = false)]
    async fn run() {}
}

impl Run for Server {}

#[deprecated]
#[aiorun::main(run_forever = false)]
async fn old() {}

#[cfg(any())]
#[aiorun::main]
async fn absent() {}

#[aiorun::main(run_forever = false)]
#[cfg(any())]
async fn absent_too() {}

#[aiorun::main(run_forever = false)]
async fn r#match() {}

fn main() {
    #[aiorun::main(run_forever = false)]
    async fn local() {}

    #[expect(deprecated)]
    let runs = [
        inner::outward,
        inner::again,
        Server::serve,
        Server::run,
        old,
        r#match,
        local,
    ];
    for run in runs {
        assert!(run().is_success());
    }
}

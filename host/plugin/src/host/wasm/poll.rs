//! WASI's `poll`, which waits for readiness, limited by the time of the plugin's call.

use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::io::poll::{Host as Waiting, HostPollable as WaitingPollable};
use wasmtime_wasi::p2::bindings::sync::io::poll;
use wasmtime_wasi::runtime::in_tokio;

use super::state::State;

/// The view for each call of the linker.
pub(super) struct Polls;

impl HasData for Polls {
    type Data<'a> = PollsOf<'a>;
}

/// The wait of one plugin.
pub(super) struct PollsOf<'a>(pub(super) &'a mut State);

impl poll::Host for PollsOf<'_> {
    fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        let pace = self.0.pace();
        let table = self.0.ctx().table;
        in_tokio(async { pace.within(Waiting::poll(table, pollables)).await })?
    }
}

impl poll::HostPollable for PollsOf<'_> {
    fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        let pace = self.0.pace();
        let table = self.0.ctx().table;
        in_tokio(async { pace.within(WaitingPollable::ready(table, pollable)).await })?
    }

    fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        let pace = self.0.pace();
        let table = self.0.ctx().table;
        in_tokio(async { pace.within(WaitingPollable::block(table, pollable)).await })?
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        WaitingPollable::drop(self.0.ctx().table, pollable)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use wasmtime_wasi::async_trait;
    use wasmtime_wasi::p2::{Pollable, subscribe};

    use super::super::pace::Interrupted;
    use super::*;
    use crate::package::Grants;

    struct Never;

    #[async_trait]
    impl Pollable for Never {
        async fn ready(&mut self) {
            std::future::pending().await
        }
    }

    #[test]
    fn polling_ends_at_the_time_limit() {
        let mut grants = Grants::default();
        grants.limits.timeout = Duration::from_millis(100);
        let log = Arc::new(|_, _: &str| ());
        let mut state = State::new(&grants, 0, Box::new(std::io::sink()), log, Arc::default()).unwrap();
        let table = state.ctx().table;
        let never = table.push(Never).unwrap();
        let pollable = subscribe(table, never).unwrap();
        let start = Instant::now();
        for round in 0..2 {
            state.begin();
            let same = Resource::new_borrow(pollable.rep());
            let mut polls = PollsOf(&mut state);
            let error = match round {
                0 => poll::HostPollable::block(&mut polls, same).unwrap_err(),
                _ => poll::Host::poll(&mut polls, vec![same]).unwrap_err(),
            };
            assert_eq!(error.downcast_ref(), Some(&Interrupted::TimeOut));
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
}

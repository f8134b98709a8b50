//! Ends a call into Lua that continues after the trace was stopped.
//!
//! While all is well this costs two stores a call: a hook that counts instructions would slow every one of them. A
//! thread waits for the request. If a call is still the same one some time later, the thread sends a signal to the
//! thread that runs Lua, and the signal's handler sets a hook, which raises an error if the call then goes on for as many
//! instructions as no useful call has. So a call that was only kept from running is safe. Lua's own interpreter sets its
//! hook at Ctrl-C in the same way; `lua_sethook` is made to be called in a handler (`ldebug.c` says under what
//! assumptions), but not by another thread.
//!
//! A coroutine is a state with hooks of its own. [`super::coroutine`] reports which of them runs; the handler sets its hook
//! there too, and from then on every state that the call goes on in gets one. A C function that waits is not reached. A
//! second signal ends the process in any case.

use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering, compiler_fence};
use std::thread::JoinHandle;
use std::time::Duration;

use mlua::ffi;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// How long a call may continue after the request until its instructions are counted.
const PATIENCE: Duration = Duration::from_millis(200);

/// How many instructions it may execute from then on: about as many as take another such time.
const INSTRUCTIONS: c_int = 10_000_000;

/// Watches the calls into one Lua state.
#[derive(Debug)]
pub(super) struct Watch {
    calls: &'static Calls,
    stop: Option<Arc<OwnedFd>>,
    /// Tells the thread to end.
    end: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    handler: Option<signal_hook::SigId>,
}

/// State shared by the threads, the handler and Lua's functions.
#[derive(Debug)]
pub(super) struct Calls {
    state: AtomicPtr<ffi::lua_State>,
    /// The coroutine in which the call goes on, or the state itself.
    running: AtomicPtr<ffi::lua_State>,
    /// The thread that runs Lua.
    thread: libc::pid_t,
    /// Odd while a call goes on, and different for each.
    number: AtomicU64,
    /// The call that must end; 0 for none.
    overdue: AtomicU64,
}

impl Watch {
    /// Watches `state`, which this thread runs and which must outlive the watch, from when `stop` becomes readable.
    pub(super) fn new(state: *mut ffi::lua_State, stop: Option<OwnedFd>) -> io::Result<Self> {
        // Lua's functions have its address until Lua has ended, which may be after the watch. A program has one script.
        let calls: &'static Calls = Box::leak(Box::new(Calls {
            state: AtomicPtr::new(state),
            running: AtomicPtr::new(state),
            thread: this_thread(),
            number: AtomicU64::new(0),
            overdue: AtomicU64::new(0),
        }));
        KNOWN.with_borrow_mut(|known| known.push(calls));
        let mut watch = Watch {
            calls,
            stop: stop.map(Arc::new),
            end: Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?),
            thread: None,
            handler: None,
        };
        if let Some(stop) = &watch.stop {
            // SAFETY: the handler reads and writes atomics, asks for the thread's number and sets a hook, all of which
            // are allowed in a handler. The state is alive: the watch, which is dropped first, takes the handler away.
            let handler = unsafe { signal_hook::low_level::register(signal(), move || calls.interrupt()) };
            watch.handler = Some(handler?);
            watch.thread = Some(std::thread::Builder::new().name("script".into()).spawn({
                let (stop, end) = (Arc::clone(stop), Arc::clone(&watch.end));
                move || calls.watch(&stop, &end)
            })?);
        }
        Ok(watch)
    }

    /// A call into Lua begins. One that a jump has left may not have ended.
    #[inline]
    pub(super) fn begin(&self) {
        let number = self.calls.number.load(Ordering::Relaxed);
        self.calls.set((number + 1) | 1);
    }

    /// It has ended, or there was none: a jump may have come from outside of it. True if its instructions were counted:
    /// the hook is still set, and must be removed.
    #[inline]
    #[must_use]
    pub(super) fn end(&self) -> bool {
        let number = self.calls.number.load(Ordering::Relaxed);
        self.calls.set((number + 1) & !1);
        // A handler that ran before the step set the hook, and one that runs after it does not.
        compiler_fence(Ordering::SeqCst);
        !number.is_multiple_of(2) && self.calls.overdue.load(Ordering::Relaxed) == number
    }

    /// For what tells in which coroutine a call goes on.
    pub(super) fn calls(&self) -> &'static Calls {
        self.calls
    }

    /// Returns whether the trace was stopped.
    pub(super) fn stop_requested(&self) -> bool {
        self.stop
            .as_ref()
            .is_some_and(|stop| readable(&[stop], Some(Duration::ZERO)) == [true])
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(handler) = self.handler.take() {
            signal_hook::low_level::unregister(handler);
        }
        if let Some(thread) = self.thread.take() {
            // Adding 1 to an eventfd without other writers cannot fail.
            let _ = rustix::io::write(&*self.end, &1u64.to_ne_bytes());
            let _ = thread.join();
        }
    }
}

thread_local! {
    /// Those of this thread's scripts, which live for ever.
    static KNOWN: RefCell<Vec<&'static Calls>> = const { RefCell::new(Vec::new()) };
}

impl Calls {
    /// Returns the calls at this address, if they belong to this thread. An address from Lua may be invalid: a script
    /// can change the upvalues of every function.
    pub(super) fn at(address: *const c_void) -> Option<&'static Calls> {
        let is_there = |calls: &&&'static Calls| std::ptr::eq(std::ptr::from_ref(**calls).cast(), address);
        KNOWN.with_borrow(|known| known.iter().rev().find(is_there).copied())
    }

    /// Only the thread that runs Lua changes the number.
    #[inline]
    fn set(&self, number: u64) {
        self.number.store(number, Ordering::Release);
    }

    /// The call goes on in another state: in a coroutine, or in what resumed it.
    ///
    /// # Safety
    ///
    /// The state must be alive, and stay so until the call goes on in yet another.
    pub(super) unsafe fn goes_on_in(&self, state: *mut ffi::lua_State) {
        self.running.store(state, Ordering::Relaxed);
        // A handler that runs from here on finds this state; an earlier one has already reported that it ran.
        compiler_fence(Ordering::SeqCst);
        let late = self.overdue.load(Ordering::Relaxed) == self.number.load(Ordering::Relaxed);
        // SAFETY: the state is alive.
        unsafe {
            match (late, is_hooked(state)) {
                // Each state once, or a loop that resumes would begin to count anew each time.
                (true, false) => ffi::lua_sethook(state, Some(raise), ffi::LUA_MASKCOUNT, INSTRUCTIONS),
                // That was for an earlier call, which has ended in time.
                (false, true) => ffi::lua_sethook(state, None, 0, 0),
                _ => {}
            }
        }
    }

    /// If the coroutine was interrupted, so is the state that has resumed it: the call is to end, and not only a part.
    ///
    /// # Safety
    ///
    /// Both must be alive.
    pub(super) unsafe fn inherit(&self, state: *mut ffi::lua_State, coroutine: *mut ffi::lua_State) {
        // SAFETY: as this function's.
        unsafe {
            if is_hooked(coroutine) && ffi::lua_gethookcount(coroutine) == 1 {
                ffi::lua_sethook(state, Some(raise), ffi::LUA_MASKCOUNT, 1);
            }
        }
    }

    /// The watching thread, from the request to the end.
    fn watch(&self, stop: &OwnedFd, end: &OwnedFd) {
        loop {
            match readable(&[stop, end], None)[..] {
                [_, true] => return,
                [true, _] => break,
                _ => {}
            }
        }
        loop {
            let number = self.number.load(Ordering::Acquire);
            if readable(&[end], Some(PATIENCE)).contains(&true) {
                return;
            }
            let same = self.number.load(Ordering::Acquire) == number;
            // Once a call: a second signal would begin to count anew, and on a slow machine without end.
            if number % 2 == 1 && same && self.overdue.load(Ordering::Relaxed) != number {
                self.overdue.store(number, Ordering::Release);
                // SAFETY: the call takes numbers only. A thread that has ended meanwhile makes it fail.
                unsafe {
                    libc::syscall(libc::SYS_tgkill, libc::getpid(), self.thread, signal());
                }
            }
        }
    }

    /// The signal's handler.
    fn interrupt(&self) {
        // The handler may run in another thread, for a signal from elsewhere, or come after the call.
        let number = self.number.load(Ordering::Relaxed);
        if this_thread() != self.thread || number.is_multiple_of(2) || self.overdue.load(Ordering::Acquire) != number {
            return;
        }
        // SAFETY: this is the thread that runs the states, both are alive during a call, and setting a hook is allowed
        // at any point of it.
        unsafe {
            let (state, running) = (self.state.load(Ordering::Relaxed), self.running.load(Ordering::Relaxed));
            ffi::lua_sethook(state, Some(raise), ffi::LUA_MASKCOUNT, INSTRUCTIONS);
            if running != state {
                ffi::lua_sethook(running, Some(raise), ffi::LUA_MASKCOUNT, INSTRUCTIONS);
            }
        }
    }
}

/// Returns whether the state has ipft's hook.
///
/// # Safety
///
/// It must be alive.
unsafe fn is_hooked(state: *mut ffi::lua_State) -> bool {
    // SAFETY: as this function's.
    let hook = unsafe { ffi::lua_gethook(state) };
    hook.is_some_and(|hook| std::ptr::fn_addr_eq(hook, raise as ffi::lua_Hook))
}

/// The hook: an error with file and line.
unsafe extern "C-unwind" fn raise(state: *mut ffi::lua_State, _: *mut ffi::lua_Debug) {
    // SAFETY: Lua calls its hook with a live state that has room for some values. The error leaves this function by a
    // jump, which passes no value that would have to be dropped.
    unsafe {
        // Again at every instruction until the call has ended: a loop around a `pcall` ends, too.
        ffi::lua_sethook(state, Some(raise), ffi::LUA_MASKCOUNT, 1);
        ffi::luaL_where(state, 0);
        ffi::lua_pushstring(state, c"interrupted: the call did not end".as_ptr());
        ffi::lua_concat(state, 2);
        ffi::lua_error(state);
    }
}

/// The first of the free real-time signals, which has no other user.
fn signal() -> c_int {
    libc::SIGRTMIN()
}

fn this_thread() -> libc::pid_t {
    // SAFETY: the call has no arguments and cannot fail.
    unsafe { libc::gettid() }
}

/// Which of the descriptors are readable, when one is or the time is over; none if the wait was interrupted.
fn readable(descriptors: &[&OwnedFd], patience: Option<Duration>) -> Vec<bool> {
    let mut polled: Vec<PollFd<'_>> = descriptors.iter().map(|fd| PollFd::new(*fd, PollFlags::IN)).collect();
    let patience = patience.map(|patience| Timespec {
        tv_sec: patience.as_secs() as i64,
        tv_nsec: patience.subsec_nanos().into(),
    });
    if poll(&mut polled, patience.as_ref()).is_err() {
        return Vec::new();
    }
    polled.iter().map(|fd| fd.revents().contains(PollFlags::IN)).collect()
}

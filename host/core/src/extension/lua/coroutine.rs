//! Notifies the watch of the running coroutine.
//!
//! Every coroutine is a state of Lua with hooks of its own, and Lua does not report which one runs. So a script gets a
//! `coroutine.resume` and a `coroutine.wrap` that do what Lua's own do, by calling them, and say before and after where
//! the script goes on. Who uses no coroutine pays nothing for it.

use std::ffi::{c_int, c_void};

use mlua::{Lua, Table, ffi};

use super::watch::Calls;

/// Upvalues of the functions below: the calls to watch, and Lua's function that they call.
const CALLS: c_int = 1;
const OWN: c_int = 2;
/// The coroutine, in the function that `coroutine.wrap` returns.
const COROUTINE: c_int = 3;

/// Replaces the two functions in the library's table, before a script can take them.
pub(super) fn follow(lua: &Lua, calls: &'static Calls) -> mlua::Result<()> {
    let library: Table = lua.globals().get("coroutine")?;
    // SAFETY: the closure finds the table on an empty stack, and leaves nothing; it owns no memory. The functions find
    // the upvalues that they expect: `calls`, which lives for ever, and the function in whose place they are.
    unsafe {
        lua.exec_raw::<()>(library, |state| {
            for (name, function) in [(c"resume", resume as ffi::lua_CFunction), (c"wrap", wrap)] {
                push_calls(state, calls);
                ffi::lua_getfield(state, 1, name.as_ptr());
                ffi::lua_pushcclosure(state, function, 2);
                ffi::lua_setfield(state, 1, name.as_ptr());
            }
            ffi::lua_settop(state, 0);
        })
    }
}

/// # Safety
///
/// The state's stack must have a free slot.
unsafe fn push_calls(state: *mut ffi::lua_State, calls: &'static Calls) {
    let address: *const Calls = calls;
    // SAFETY: as this function's. The pointer is not written through.
    unsafe { ffi::lua_pushlightuserdata(state, address.cast::<c_void>().cast_mut()) };
}

/// Returns the calls to watch. A script can replace the upvalue with `debug.setupvalue`, and then this is a Lua error,
/// which leaves by a jump.
///
/// # Safety
///
/// A function that [`follow`] has made must be running in the state, and the caller must have nothing to drop.
unsafe fn calls_of(state: *mut ffi::lua_State) -> &'static Calls {
    // SAFETY: the address of an upvalue of any type may be requested; for most types it is null.
    let address = unsafe { ffi::lua_touserdata(state, ffi::lua_upvalueindex(CALLS)) };
    match Calls::at(address) {
        Some(calls) => calls,
        // SAFETY: the state runs.
        None => unsafe { changed(state) },
    }
}

/// # Safety
///
/// As for [`calls_of`].
unsafe fn changed(state: *mut ffi::lua_State) -> ! {
    // SAFETY: as this function's.
    unsafe {
        ffi::lua_pushstring(
            state,
            c"an upvalue of this function was changed by debug.setupvalue".as_ptr(),
        );
        ffi::lua_error(state)
    }
}

/// `coroutine.resume(co, ...)`
unsafe extern "C-unwind" fn resume(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: Lua calls with a live state that has room for 20 values beside the arguments. An error leaves by a jump,
    // and there is nothing to drop.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTHREAD);
        let coroutine = ffi::lua_tothread(state, 1);
        // Below the function, so that it stays alive whatever becomes of the argument.
        ffi::lua_pushvalue(state, 1);
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(OWN));
        ffi::lua_rotate(state, 1, 2);
        if run(state, coroutine) != ffi::LUA_OK {
            ffi::lua_error(state);
        }
        ffi::lua_gettop(state) - 1
    }
}

/// `coroutine.wrap(f)`
unsafe extern "C-unwind" fn wrap(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: as for `resume`. Lua's own function returns a closure whose only upvalue is the coroutine; without it,
    // its result is handed out as it is.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TFUNCTION);
        ffi::lua_settop(state, 1);
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(OWN));
        ffi::lua_pushvalue(state, 1);
        ffi::lua_call(state, 1, 1);
        push_calls(state, calls_of(state));
        ffi::lua_pushvalue(state, 2);
        if ffi::lua_getupvalue(state, 2, 1).is_null() || ffi::lua_tothread(state, -1).is_null() {
            ffi::lua_settop(state, 2);
            return 1;
        }
        ffi::lua_pushcclosure(state, wrapped, 3);
        1
    }
}

/// The function that `coroutine.wrap` returns.
unsafe extern "C-unwind" fn wrapped(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: as for `resume`. The coroutine is an upvalue of the running function, which keeps it alive.
    unsafe {
        let coroutine = ffi::lua_tothread(state, ffi::lua_upvalueindex(COROUTINE));
        if coroutine.is_null() {
            changed(state);
        }
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(COROUTINE));
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(OWN));
        ffi::lua_rotate(state, 1, 2);
        if run(state, coroutine) != ffi::LUA_OK {
            // Lua's own says where it was called, but cannot see past this function.
            if ffi::lua_type(state, -1) == ffi::LUA_TSTRING {
                ffi::luaL_where(state, 1);
                ffi::lua_rotate(state, -2, 1);
                ffi::lua_concat(state, 2);
            }
            ffi::lua_error(state);
        }
        ffi::lua_gettop(state) - 1
    }
}

/// Calls Lua's own function, which lies on the stack above the coroutine and below its arguments, and which runs the
/// coroutine. Leaves its results, or an error, in their place.
///
/// # Safety
///
/// A function that [`follow`] has made must be running in the state, and the stack must be as described.
unsafe fn run(state: *mut ffi::lua_State, coroutine: *mut ffi::lua_State) -> c_int {
    // SAFETY: as this function's. The call is protected, so that the watch is always notified. Both states are alive
    // while it may use them: the coroutine runs, or is on the stack, from which `debug.setlocal` can remove it; then it
    // may be gone after the call.
    unsafe {
        let calls = calls_of(state);
        calls.goes_on_in(coroutine);
        let status = ffi::lua_pcall(state, ffi::lua_gettop(state) - 2, ffi::LUA_MULTRET, 0);
        calls.goes_on_in(state);
        if std::ptr::eq(ffi::lua_tothread(state, 1), coroutine) {
            calls.inherit(state, coroutine);
        }
        status
    }
}

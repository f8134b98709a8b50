//! Coroutines of scripts: they work as in Lua's own interpreter, and can be interrupted like other code.

use super::*;
use crate::extension::lua::coroutine::follow;

#[test]
fn a_coroutine_that_does_not_end_is_interrupted_too() {
    for (test, body) in [
        ("wrap", "coroutine.wrap(function() while true do end end)()"),
        (
            "resume",
            "local co = coroutine.create(function() while true do end end) while true do coroutine.resume(co) end",
        ),
        // It was made before there was anything to inherit.
        ("old", "generator()"),
        (
            "many",
            "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        ),
        (
            "nested",
            "coroutine.wrap(function() coroutine.wrap(function()
                while true do pcall(coroutine.wrap(function() while true do end end)) end
            end)() end)()",
        ),
        (
            "yields",
            "local next = coroutine.wrap(function() while true do coroutine.yield() end end)
            while true do next() end",
        ),
    ] {
        let folder = Folder::new(&format!("coroutine-{test}"));
        let text = format!(
            "api_version = 1
             generator = coroutine.wrap(function() coroutine.yield() while true do end end)
             generator()
             function decode(data)
             {body}
             end"
        );
        let reported = Reported::default();
        let tell: Tell = Box::new({
            let reported = reported.clone();
            move |message| reported.borrow_mut().push(message.to_owned())
        });
        let mut script = Script::load(&folder.script(&text), Print::Stdout, stopped(), tell).unwrap();
        let mut batch = Batch::default();
        event(EventKind::ENTRY, &[0; DATA], &mut batch);
        script.decode(&mut batch);
        let reported = reported.borrow();
        assert!(
            reported[0].contains("interrupted: the call did not end"),
            "{test}: {reported:?}"
        );
        drop(reported);
        assert_eq!(script.finish().failed, 1, "{test}");
    }
}

#[test]
fn coroutines_are_as_in_luas_own_interpreter() {
    let text = r#"
        local function show(...)
          local words = table.pack(...)
          for index = 1, words.n do words[index] = tostring(words[index]) end
          return table.concat(words, " ")
        end
        local out = {}
        local function add(...) out[#out + 1] = show(...) end
        local co = coroutine.create(function(a, b) local c = coroutine.yield(a + b) error("boom " .. c) end)
        add(coroutine.resume(co, 1, 2))
        add(coroutine.status(co), coroutine.resume(co, "x"))
        add(coroutine.status(co), coroutine.resume(co))
        add(coroutine.resume(coroutine.create(function() return end)))
        add(coroutine.resume(coroutine.create(function() error({}, 0) end)) == false)
        add(pcall(coroutine.resume, 1))
        add(pcall(coroutine.resume))
        add(pcall(coroutine.wrap, 1))
        local sum = 0
        for value in coroutine.wrap(function() for index = 1, 4 do coroutine.yield(index) end end) do sum = sum + value end
        add(sum)
        local bad = coroutine.wrap(function() error("inside") end)
        add(pcall(function()
          bad()
        end))
        add(pcall(function() bad() end))
        local closed = 0
        add(pcall(coroutine.wrap(function() local x <close> = setmetatable({}, {__close = function() closed = 1 end}) error() end)))
        add(closed)
        add(coroutine.wrap(function() return pcall(function() coroutine.yield("across") end) end)())
        add(coroutine.wrap(function() return coroutine.isyieldable(), select(2, coroutine.running()) end)())
        local own = coroutine.wrap(function() return pcall(own) end)
        add(own())
        add(coroutine.resume(coroutine.running()))
        local depth = 0
        local function deeper() depth = depth + 1 return coroutine.wrap(deeper)() end
        add(pcall(deeper) == false, depth > 30)
        return table.concat(out, "\n")
    "#;
    let folder = Folder::new("coroutines");
    let path = folder.script(text);
    let run = |lua: &Lua| -> String {
        let chunk = lua.load(std::fs::read_to_string(&path).unwrap());
        chunk.set_name("@s.lua").eval().unwrap()
    };
    let [own, watched] = std::array::from_fn(|_| {
        // SAFETY: the script above uses nothing of the unsafe parts.
        unsafe { Lua::unsafe_new_with(StdLib::ALL, LuaOptions::new().catch_rust_panics(false)) }
    });
    let watch = Watch::new(call::state(&watched).unwrap(), None).unwrap();
    follow(&watched, watch.calls()).unwrap();
    let (expected, found) = (run(&own), run(&watched));
    assert!(
        expected.contains("boom x") && expected.contains("cannot resume dead coroutine"),
        "{expected}"
    );
    assert_eq!(found, expected);
}

#[test]
fn a_coroutine_outlives_a_call_that_ended_in_time() {
    let folder = Folder::new("outlives");
    // The watch loses its patience with the first call while the coroutine runs, and the call comes to an end all the
    // same. What the coroutine does in all later calls together is more than one call may.
    let text = "api_version = 1
        local next = coroutine.wrap(function()
          os.execute('sleep 1')
          while true do
            local sum = 0 for index = 1, 100000 do sum = sum + 1 end
            coroutine.yield(sum)
          end
        end)
        function decode(data) return {sum = next()} end";
    let mut script = Script::load(&folder.script(text), Print::Stdout, stopped(), Box::new(|_| ())).unwrap();
    let mut batch = Batch::default();
    for _ in 0..200 {
        event(EventKind::ENTRY, &[0; DATA], &mut batch);
    }
    script.decode(&mut batch);
    assert!(fields(&batch).iter().all(|fields| fields == &["sum=100000"]));
    assert_eq!(script.finish(), Report::default());
}

#[test]
fn a_changed_upvalue_is_an_error_in_lua() {
    let (script, _, _folder) = load(
        "upvalues",
        r#"
        api_version = 1
        local values = {1, "text", {}, math.abs, coroutine.create(math.abs), io.stdout}
        local function all(original, use)
          for index = 1, 3 do
            for number = 1, #values + 1 do
              local changed = original()
              local name, old = debug.getupvalue(changed, index)
              if name then
                debug.setupvalue(changed, index, values[number])
                pcall(use, changed)
                debug.setupvalue(changed, index, old)
              end
            end
          end
        end
        local generate = function() coroutine.yield(1) end
        all(function() return coroutine.resume end, function(resume) resume(coroutine.create(generate)) end)
        all(function() return coroutine.wrap end, function(wrap) wrap(generate)() end)
        all(function() return coroutine.wrap(generate) end, function(wrapped) wrapped() end)
        debug.setupvalue(coroutine.resume, 1, nil)
        local ok, message = pcall(coroutine.resume, coroutine.create(print))
        assert(not ok and message:find("debug.setupvalue"), message)
        function decode(data) return {sum = 1} end
        "#,
    );
    assert!(script.unwrap().has_decoder());
}

#[test]
fn a_running_coroutine_off_the_stack_does_no_harm() {
    let (script, _, _folder) = load(
        "setlocal",
        r#"
        api_version = 1
        local main = coroutine.running()
        local function run()
          local co = coroutine.create(function()
            for level = 0, 3 do
              for index = 1, 4 do pcall(debug.setlocal, main, level, index, nil) end
            end
            co = nil
          end)
          coroutine.resume(co)
        end
        for _ = 1, 100 do pcall(run) collectgarbage() end
        "#,
    );
    assert!(script.is_ok(), "{script:?}");
}

#[test]
fn a_call_after_an_out_of_memory_is_interrupted_too() {
    let folder = Folder::new("memory");
    let text = "api_version = 1
        local calls = 0
        function decode(data) calls = calls + 1 while calls > 0 do end end";
    let mut script = Script::load(&folder.script(text), Print::Stdout, stopped(), Box::new(|_| ())).unwrap();
    let lua = script.lua.clone();
    let mut batch = Batch::default();
    event(EventKind::ENTRY, &[0; DATA], &mut batch);
    // There is none for the event's bytes, which are given to Lua before the call begins.
    lua.gc_collect().unwrap();
    lua.set_memory_limit(lua.used_memory() + 1).unwrap();
    script.decode(&mut batch);
    lua.set_memory_limit(0).unwrap();
    assert_eq!(script.failed, 1);
    let mut batch = Batch::default();
    event(EventKind::ENTRY, &[0; DATA], &mut batch);
    script.decode(&mut batch);
    assert_eq!(script.failed, 2);
}

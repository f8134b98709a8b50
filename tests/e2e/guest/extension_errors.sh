# Faulty extensions, and the messages of ipft. The objects were made on the machine that runs the tests.
#
# Leaves NAME.out, .err and .exit of each run; of what was refused also .left (what is attached) and .files (what is
# left in the folder for temporary files).

network_pair
ip netns exec b udpflood receive 9000 >/dev/null &
receiver=$!
ONE='^ip_send_skb$'
COMPILER="$WORK/clang/ld.so --library-path $WORK/clang/lib $WORK/clang/clang"
export TMPDIR=/tmp/of-ipft
mkdir "$TMPDIR"
cp "$WORK"/objects/* /tmp
cd /tmp

# datagrams COUNT: with mark 1.
datagrams() {
	ip netns exec a udpflood send 10.0.0.2 9000 "$1" 64 1 >/dev/null
	settle
}

# aftermath NAME: what is left of it.
aftermath() {
	ls -A /tmp/of-ipft >"/out/$1.files"
	left_behind "/out/$1"
}

# refused NAME ARGS...: a run that should be refused. If it traces instead, it is killed, which gives another exit code.
refused() {
	local name=$1
	shift
	exit_of "/out/$name" timeout -s KILL 60 ipft -m 1 -r "$ONE" "$@"
	aftermath "$name"
}

# shown NAME ARGS...: what traces three datagrams.
shown() {
	local name=/out/$1
	shift
	start_ipft "$name" -m 1 -r "$ONE" "$@"
	datagrams 3
	end_ipft "$name"
}

# interrupted NAME FILE COMMAND...: sends SIGINT to a command that has made the file.
interrupted() {
	local name=$1 code=0 pid
	rm -f "$2"
	note "$name"
	"${@:3}" >"/out/$name.out" 2>"/out/$name.err" &
	pid=$!
	wait_until 60 test -e "$2"
	ls -A /tmp/of-ipft >"/out/$name.during"
	kill -INT "$pid"
	wait "$pid" || code=$?
	echo "$code" >"/out/$name.exit"
	aftermath "$name"
}

# The compiler.
echo 'int module(void) { return undeclared; }' >wrong.c
echo 'int module(void) { return 0; }' >"it's \"a\"; touch pwned.c"
refused no-clang -e wrong.c
CC='no-such-compiler -x' refused no-compiler -e wrong.c
CC=$COMPILER refused compile-error -e wrong.c
CC=$COMPILER refused compiles-to-no-extension -e "it's \"a\"; touch pwned.c"
CC="sh -c 'exit 3'" refused compiler-fails -e wrong.c
CFLAGS="-DA='b" refused open-quote -e wrong.c
TMPDIR=/nowhere refused no-folder -e wrong.c
refused no-source -e nowhere.c
cat >slow.sh <<'END'
echo half >extension.o
touch /tmp/compiling
exec sleep 1000
END
CC='sh /tmp/slow.sh' interrupted interrupted-compiler /tmp/compiling ipft -m 1 -r "$ONE" -e wrong.c
find / -xdev -name pwned >/out/pwned

# Objects.
echo 'not an object' >text.o
head -c 700 good.o >truncated.o
: >empty.o
for name in text empty truncated elf32 x86 no-module static undefined no-btf too-large no-enum no-reference \
	no-event unknown-tag rejected; do
	refused "$name" -e "$name.o"
done
refused rejected-verbose -v -e rejected.o
for backend in kprobe ftrace kprobe-multi kprobe-session; do
	refused "rejected-$backend" -b "$backend" -e rejected.o
done
refused no-object -e nowhere.o
refused a-folder -e .o
refused unknown-kind -e wrong.txt
refused two -e good.o -s good.lua
refused unknown-gen --gen nonsense
undisturbed /out/good shown good -e good.o
undisturbed /out/drops shown drops -e drops.o
undisturbed /out/drops-jsonl shown drops-jsonl -o jsonl -e drops.o

# Scripts that are refused.
script() {
	cat >"$1.lua"
}
script no-version <<<'function decode(data) return {} end'
script version-2 <<<'api_version = 2'
script version-3 <<<'api_version = 3'
script syntax <<<$'api_version = 1\nfunction decode(data)\n  return {,}\nend'
script fails <<<$'api_version = 1\n\nerror("in the main part")'
script init <<<$'api_version = 1\nfunction init()\n  local x = nothing.x\nend'
script no-function <<<$'api_version = 1\ndecode = 5'
script no-program <<<$'api_version = 1\nprogram = {}'
script bad-program <<<$'api_version = 1\nprogram = "\\x7fELF"'
script emit-fails <<<$'api_version = 1\nfunction emit()\n  return io.open("nowhere.o", "rb"):read("*all")\nend'
script rejected <<<$'api_version = 1\nprogram = io.open("rejected.o", "rb"):read("a")'
for name in no-version version-2 version-3 syntax fails init no-function no-program bad-program emit-fails rejected; do
	refused "lua-$name" -s "$name.lua"
done
refused lua-nowhere -s nowhere.lua
script hangs <<<$'api_version = 1\nio.open("/tmp/hanging", "w"):close()\nwhile true do end'
interrupted lua-hangs /tmp/hanging ipft -m 1 -r "$ONE" -s hangs.lua

# Scripts that fail later.
script event <<<$'api_version = 1\nfunction decode(data)\n  error("at an event")\nend'
script nested <<<$'api_version = 1\nfunction decode(data)\n  return { deep = { 1 } }\nend'
script odd <<<$'api_version = 1\nlocal n = 0\nfunction decode(data)\n  n = n + 1\n  if n == 2 then error("the second") end\n  return { n = n }\nend'
script fini <<<$'api_version = 1\nfunction fini()\n  error("in the end")\nend'
for name in event nested odd fini; do
	undisturbed "/out/lua-$name" shown "lua-$name" -s "$name.lua"
	aftermath "lua-$name"
done
undisturbed /out/lua-event-jsonl shown lua-event-jsonl -o jsonl -s event.lua
script print <<'END'
api_version = 1
program = io.open("good.o", "rb"):read("a")
print("loading")
function init() print("init", 1) end
function decode(data) print("event") return { len = string.unpack("=I4", data) } end
function fini() io.write("fini\n") end
END
for output in aggregate json jsonl; do
	undisturbed "/out/lua-print-$output" shown "lua-print-$output" -o "$output" -s print.lua
done
# Once everything is attached, a script opens no more files.
script endless <<<$'api_version = 1\nlocal file = io.open("/tmp/decoding", "w")\nfunction decode(data)\n  file:write("here")\n  file:flush()\n  while true do end\nend'
start_ipft /out/lua-endless -m 1 -r "$ONE" -s endless.lua
datagrams 3
wait_until 60 test -s decoding
kill -INT "$IPFT_PID"
exit_of /out/lua-endless-wait wait "$IPFT_PID"
aftermath lua-endless

kill "$receiver"

# supervise.sh FOLDER COMMAND...: runs an emulator for an owner who may die at any time, and leaves nothing behind.
#
# stdin is a pipe that only the owner writes to. A line on it, or its end, ends the emulator; its end also removes the
# folder of the run. So it is all the same whether the owner finishes, panics, is interrupted or is killed by -9.
trap '' INT TERM HUP
folder=$1
shift
exec 3<&0 </dev/null
"$@" 3<&- &
emulator=$!
# A subshell that only uses builtins: when it is killed, no child of it survives.
(read -r _ <&3; kill -9 "$emulator" 2>/dev/null) &
watcher=$!
wait "$emulator"
echo $? >"$folder/exit"
kill -9 "$watcher" 2>/dev/null
while read -r _ <&3; do :; done
rm -rf "$folder"

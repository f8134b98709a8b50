# Judges packets with compiled filters in the kernel. Each line of the job list has the number of the filter, that of
# the program to link it with, and the expression.
#
#   READS  how the program reads: loads or helper
#
# Leaves failures, a line for each filter that is not linked, loaded, or right, and summary.

cd "$WORK/filter-inputs"
: >/out/failures
filters=0
while IFS=$'\t' read -r filter program expression; do
	rm -rf /sys/fs/bpf/filter /sys/fs/bpf/maps
	if ! bpftool gen object /tmp/linked.o "program-$program-$READS.o" "$filter.o" "$filter.inner.o" 2>/tmp/error; then
		echo "not linked: [$expression] $(tr '\n' ' ' </tmp/error)" >>/out/failures
	elif ! bpftool prog load /tmp/linked.o /sys/fs/bpf/filter pinmaps /sys/fs/bpf/maps 2>/tmp/error; then
		echo "not loaded: [$expression] $(tail -n 20 /tmp/error | tr '\n' ' ')" >>/out/failures
	elif ! ./filterrun /sys/fs/bpf/filter /sys/fs/bpf/maps/packets packets "$filter.expected" >/tmp/verdicts; then
		echo "wrong: [$expression] $(tr '\n' ' ' </tmp/verdicts)" >>/out/failures
	fi
	filters=$((filters + 1))
done <jobs
echo "$filters filters" >/out/summary

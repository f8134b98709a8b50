# What `ipft -l` lists, with the modules of the NAT router's network loaded.
network_nat

exit_of all ipft -l
exit_of module ipft -l --module-regex '^nf_(conntrack|nat)$'
exit_of regex ipft -l -r '^ip_rcv'
exit_of both ipft -l -r '^nf_nat_' --module-regex '^nf_nat$'
exit_of none ipft -l -r '^no_function_has_this_name$'
exit_of verbose ipft -l -v

ipft -l 2>/dev/null | head -n 1 >first || echo "${PIPESTATUS[0]}" >first.exit
[ -e first.exit ] || echo 0 >first.exit

awk '$2 ~ /^[tT]$/ { print $1, $3, $4 }' /proc/kallsyms >symbols
cut -d' ' -f1 /sys/kernel/tracing/available_filter_functions >attachable

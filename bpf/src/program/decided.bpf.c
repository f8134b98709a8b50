// SPDX-License-Identifier: GPL-2.0-only
/*
 * The programs of the functions that decide about packets in netfilter, for traces that follow packets: a base chain of
 * nf_tables, a table of ip_tables or ip6_tables. They share the maps of the programs of functions.
 *
 * The verdict is what the function returns, when the packet may be gone: from 6.12 on, nf_tables drops it itself. So it is
 * identified at the entry. What is known of the decider is read at the return, from arguments that CO-RE finds in the
 * modules' BTF, which Linux 5.10 does not have.
 */
#include "track/followed.h"

char LICENSE[] SEC("license") = "GPL";

struct nf_hook_state {
	__u8 hook;
} __attribute__((preserve_access_index));

struct nf_hook_ops {
	int priority;
} __attribute__((preserve_access_index));

struct nft_pktinfo {
	struct sk_buff *skb;
	struct nf_hook_state *state;
} __attribute__((preserve_access_index));

struct nft_table {
	__u16 family : 6;
	char *name;
} __attribute__((preserve_access_index));

struct nft_chain {
	struct nft_table *table;
	char *name;
} __attribute__((preserve_access_index));

struct nft_base_chain {
	struct nf_hook_ops ops;
	struct nft_chain chain;
} __attribute__((preserve_access_index));

struct xt_table {
	__u8 af;
	int priority;
	char name[32];
} __attribute__((preserve_access_index));

/*
 * Packets that are being judged, by the address of the hook's state: it is on the stack of what called the hook, so calls
 * that run at the same time have different ones. A return that the kernel did not show leaves an entry behind.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u64);
} ipft_judged SEC(".maps");

/* How many of them hash to a slot, at least; in a map of its own. */
__u32 ipft_live_judged[FILTER_SIZE] SEC(".bss.judged");

/* Returns the packet that was judged with this state, or 0, and forgets it. */
static __noinline __u64 take_judged(__u64 state)
{
	__u64 *judged = bpf_map_lookup_elem(&ipft_judged, &state);

	if (!judged)
		return 0;
	__u64 packet = *judged;

	if (!bpf_map_delete_elem(&ipft_judged, &state))
		__sync_fetch_and_add(&ipft_live_judged[slot_of(state)], -1);
	return packet;
}

static __noinline int remember_judged(__u64 state, __u64 skb)
{
	__u64 packet = followed_at(skb);

	if (packet && !bpf_map_update_elem(&ipft_judged, &state, &packet, BPF_NOEXIST))
		__sync_fetch_and_add(&ipft_live_judged[slot_of(state)], 1);
	return 0;
}

static __always_inline void begin(__u64 state, __u64 skb)
{
	if (RARELY(ipft_live_judged[slot_of(state)]))
		take_judged(state);
	if (may_be_followed(skb, NUMBER))
		remember_judged(state, skb);
}

static __always_inline void fill_decided(struct ipft_decided *decided, __u64 packet, __u32 decider, __u32 verdict,
					 __u64 state)
{
	decided->event.packet = packet;
	decided->event.skb = 0;
	decided->event.timestamp = bpf_ktime_get_ns();
	decided->event.function = IPFT_DECIDED;
	decided->event.cpu_and_kind = bpf_get_smp_processor_id();
	decided->event.thread = bpf_get_current_pid_tgid();
	decided->verdict = verdict;
	decided->priority = 0;
	decided->decider = decider;
	decided->family = 0;
	decided->hook = BPF_CORE_READ((struct nf_hook_state *)state, hook);
	decided->padding[0] = 0;
	*(__u32 *)&decided->padding[1] = 0;
}

static __always_inline void fill_nft(struct ipft_decided *decided, __u64 chain)
{
	struct nft_chain *judging = (void *)chain;
	struct nft_base_chain *base = (void *)(chain - bpf_core_field_offset(struct nft_base_chain, chain));
	struct nft_table *table = BPF_CORE_READ(judging, table);

	decided->priority = BPF_CORE_READ(base, ops.priority);
	decided->family = BPF_CORE_READ_BITFIELD_PROBED(table, family);
	bpf_probe_read_kernel_str(decided->table, sizeof(decided->table), BPF_CORE_READ(table, name));
	bpf_probe_read_kernel_str(decided->chain, sizeof(decided->chain), BPF_CORE_READ(judging, name));
}

static __always_inline void fill_iptables(struct ipft_decided *decided, __u64 at)
{
	struct xt_table *table = (void *)at;

	decided->priority = BPF_CORE_READ(table, priority);
	decided->family = BPF_CORE_READ(table, af);
	bpf_probe_read_kernel_str(decided->table, sizeof(table->name), table->name);
	decided->chain[0] = 0;
}

/* Tells user space of a verdict. `by` is the chain or the table. */
#define TELL(ctx, packet, decider, verdict, state, fill, by)                                              \
	do {                                                                                              \
		struct ipft_cpu *cpu = this_cpu();                                                        \
                                                                                                          \
		if (ipft_config.use_perf_buffer) {                                                        \
			struct ipft_decided record = {};                                                  \
                                                                                                          \
			fill_decided(&record, packet, decider, verdict, state);                           \
			fill(&record, by);                                                                \
			if (bpf_perf_event_output(ctx, &ipft_perf, BPF_F_CURRENT_CPU, &record, sizeof(record))) \
				__sync_fetch_and_add(&cpu->buffer_full, 1);                               \
		} else {                                                                                  \
			struct ipft_decided *record = reserve(bpf_get_smp_processor_id(), sizeof(*record)); \
                                                                                                          \
			if (record) {                                                                     \
				fill_decided(record, packet, decider, verdict, state);                    \
				record->table[0] = 0;                                                     \
				record->chain[0] = 0;                                                     \
				fill(record, by);                                                         \
				/* An event of a function wakes the reader. */                            \
				bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);                             \
			} else {                                                                          \
				__sync_fetch_and_add(&cpu->buffer_full, 1);                               \
			}                                                                                 \
		}                                                                                         \
	} while (0)

/* An argument as a number: the verifier knows the types of some. */
#define ARGUMENT(ctx, position) number_of((ctx)[position], TYPED)

/* Arguments: what is known of the packet, and the chain. */
SEC("?fentry/nft_do_chain")
int ipft_nft_entry(__u64 *ctx)
{
	struct nft_pktinfo *packet = (void *)ARGUMENT(ctx, 0);

	begin((__u64)BPF_CORE_READ(packet, state), (__u64)BPF_CORE_READ(packet, skb));
	return 0;
}

SEC("?fexit/nft_do_chain")
int ipft_nft_exit(__u64 *ctx)
{
	struct nft_pktinfo *info = (void *)ARGUMENT(ctx, 0);
	__u64 state = (__u64)BPF_CORE_READ(info, state);

	if (!RARELY(ipft_live_judged[slot_of(state)]))
		return 0;
	__u64 packet = take_judged(state);

	if (packet)
		TELL(ctx, packet, IPFT_NFT, ctx[2], state, fill_nft, ARGUMENT(ctx, 1));
	return 0;
}

/* Arguments from 5.16 on: the table, the packet, and the hook's state. */
#define IPTABLES(name)                                                                                    \
	SEC("?fentry/" #name "_do_table")                                                                 \
	int ipft_##name##_entry(__u64 *ctx)                                                               \
	{                                                                                                 \
		begin(ARGUMENT(ctx, 2), ARGUMENT(ctx, 1));                                                \
		return 0;                                                                                 \
	}                                                                                                 \
                                                                                                          \
	SEC("?fexit/" #name "_do_table")                                                                  \
	int ipft_##name##_exit(__u64 *ctx)                                                                \
	{                                                                                                 \
		__u64 state = ARGUMENT(ctx, 2);                                                           \
                                                                                                          \
		if (!RARELY(ipft_live_judged[slot_of(state)]))                                            \
			return 0;                                                                         \
		__u64 packet = take_judged(state);                                                        \
                                                                                                          \
		if (packet)                                                                               \
			TELL(ctx, packet, IPFT_IPTABLES, ctx[3], state, fill_iptables, ARGUMENT(ctx, 0)); \
		return 0;                                                                                 \
	}

IPTABLES(ipt)
IPTABLES(ip6t)

// SPDX-License-Identifier: GPL-2.0-only
/*
 * The programs of the functions that decide about packets, for traces that follow packets. In netfilter: a base chain of
 * nf_tables, a table of ip_tables or ip6_tables. In traffic control: the filters of a qdisc, the actions of a filter. And
 * XDP where it runs for an sk_buff (generic XDP). They share the maps of the programs of functions.
 *
 * The verdict is what the function returns, when the packet may be gone: from 6.12 on, nf_tables drops it itself. So it is
 * identified at the entry. What is known of the decider is read at the return, from arguments that CO-RE finds in the
 * modules' BTF, which Linux 5.10 does not have.
 *
 * Most packets are not followed: for them, the first test is all that runs.
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

struct bpf_prog_aux {
	__u32 id;
	char name[16];
} __attribute__((preserve_access_index));

struct bpf_prog {
	struct bpf_prog_aux *aux;
} __attribute__((preserve_access_index));

struct xdp_rxq_info {
	struct net_device *dev;
} __attribute__((preserve_access_index));

struct xdp_buff {
	struct xdp_rxq_info *rxq;
} __attribute__((preserve_access_index));

struct Qdisc_ops {
	char id[16];
} __attribute__((preserve_access_index));

struct Qdisc {
	struct Qdisc_ops *ops;
} __attribute__((preserve_access_index));

struct tcf_block {
	struct Qdisc *q;
} __attribute__((preserve_access_index));

struct tcf_chain {
	struct tcf_block *block;
} __attribute__((preserve_access_index));

struct tcf_proto {
	struct tcf_chain *chain;
} __attribute__((preserve_access_index));

struct tcf_result {
	__u32 classid;
} __attribute__((preserve_access_index));

struct tc_action_ops {
	char kind[16];
} __attribute__((preserve_access_index));

struct tc_action {
	struct tc_action_ops *ops;
} __attribute__((preserve_access_index));

struct sk_buff___classified {
	__u8 tc_at_ingress : 1;
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

/* How many there are: what nearly every return has to know. */
__u64 ipft_judging SEC(".bss.judging");

/* Returns the packet that was judged with this state, or 0, and forgets it. */
static __noinline __u64 take_judged(__u64 state)
{
	__u64 *judged = bpf_map_lookup_elem(&ipft_judged, &state);

	if (!judged)
		return 0;
	__u64 packet = *judged;

	if (!bpf_map_delete_elem(&ipft_judged, &state)) {
		__sync_fetch_and_add(&ipft_live_judged[slot_of(state)], -1);
		__sync_fetch_and_add(&ipft_judging, -1);
	}
	return packet;
}

static __noinline int remember_judged(__u64 state, __u64 skb)
{
	__u64 packet = followed_at(skb);

	if (packet && !bpf_map_update_elem(&ipft_judged, &state, &packet, BPF_NOEXIST)) {
		__sync_fetch_and_add(&ipft_live_judged[slot_of(state)], 1);
		__sync_fetch_and_add(&ipft_judging, 1);
	}
	return 0;
}

/* Returns whether a packet that begins to be judged may have to do with this: it is followed, or an entry was left. */
static __always_inline int may_begin(void)
{
	return is_anything_followed() || *(volatile __u64 *)&ipft_judging;
}

/* Returns whether a packet that was judged may be remembered. It may be no longer followed: its end may have been seen. */
static __always_inline int may_end(void)
{
	return !!RARELY(*(volatile __u64 *)&ipft_judging);
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
	decided->hook = decider > IPFT_IPTABLES ? 0 : BPF_CORE_READ((struct nf_hook_state *)state, hook);
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
	if (!may_begin())
		return 0;
	struct nft_pktinfo *packet = (void *)ARGUMENT(ctx, 0);

	begin((__u64)BPF_CORE_READ(packet, state), (__u64)BPF_CORE_READ(packet, skb));
	return 0;
}

SEC("?fexit/nft_do_chain")
int ipft_nft_exit(__u64 *ctx)
{
	if (!may_end())
		return 0;
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
		if (may_begin())                                                                          \
			begin(ARGUMENT(ctx, 2), ARGUMENT(ctx, 1));                                        \
		return 0;                                                                                 \
	}                                                                                                 \
                                                                                                          \
	SEC("?fexit/" #name "_do_table")                                                                  \
	int ipft_##name##_exit(__u64 *ctx)                                                                \
	{                                                                                                 \
		if (!may_end())                                                                           \
			return 0;                                                                         \
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

static __always_inline void put_device(__u8 *to, struct net_device *dev)
{
	if (dev)
		bpf_probe_read_kernel_str(to, sizeof(dev->name), dev->name);
}

/* Of these, `by` is the address of the context. The packet may be gone: the program's buffer has the device. */
static __always_inline void fill_xdp(struct ipft_decided *decided, __u64 *ctx)
{
	struct xdp_buff *xdp = (void *)ARGUMENT(ctx, 1);
	struct bpf_prog *program = (void *)ARGUMENT(ctx, 2);
	struct bpf_prog_aux *aux = BPF_CORE_READ(program, aux);

	decided->priority = BPF_CORE_READ(aux, id);
	bpf_probe_read_kernel_str(decided->table, sizeof(aux->name), aux->name);
	put_device(decided->chain, BPF_CORE_READ(xdp, rxq, dev));
}

/* What the packet says that is judged by traffic control: it is there until the verdict is returned. */
static __always_inline void fill_tc(struct ipft_decided *decided, __u64 *ctx)
{
	struct sk_buff *skb = (void *)ARGUMENT(ctx, 0);
	struct sk_buff___classified *classified = (void *)skb;

	decided->hook = BPF_CORE_READ_BITFIELD_PROBED(classified, tc_at_ingress) ? IPFT_TC_INGRESS : IPFT_TC_EGRESS;
	put_device(decided->chain, BPF_CORE_READ(skb, dev));
}

/* `first`: the first filter. Of a block that qdiscs share, none of them is known. */
static __always_inline void fill_filters(struct ipft_decided *decided, __u64 *ctx, __u64 first, __u64 result)
{
	struct tcf_proto *filter = (void *)first;
	struct Qdisc *qdisc = BPF_CORE_READ(filter, chain, block, q);

	fill_tc(decided, ctx);
	/* Without a match, it is not written. */
	if (!decided->verdict)
		decided->priority = BPF_CORE_READ((struct tcf_result *)result, classid);
	if (qdisc)
		bpf_probe_read_kernel_str(decided->table, sizeof(((struct Qdisc_ops *)0)->id),
					  (void *)BPF_CORE_READ(qdisc, ops) + bpf_core_field_offset(struct Qdisc_ops, id));
}

static __always_inline void fill_filters_of(struct ipft_decided *decided, __u64 *ctx)
{
	fill_filters(decided, ctx, ARGUMENT(ctx, 2), ARGUMENT(ctx, 3));
}

static __always_inline void fill_filters_before_blocks(struct ipft_decided *decided, __u64 *ctx)
{
	fill_filters(decided, ctx, ARGUMENT(ctx, 1), ARGUMENT(ctx, 2));
}

static __always_inline void fill_actions(struct ipft_decided *decided, __u64 *ctx)
{
	struct tc_action *first = 0;
	__u64 actions = 0;
	__u32 count = (__u32)ctx[2];

	fill_tc(decided, ctx);
	decided->priority = count;
	/* The verifier lets no program load a pointer to pointers from its context (btf_ctx_access in kernel/bpf/btf.c). */
	bpf_probe_read_kernel(&actions, sizeof(actions), &ctx[1]);
	if (count && !bpf_probe_read_kernel(&first, sizeof(first), (void *)actions))
		bpf_probe_read_kernel_str(decided->table, sizeof(((struct tc_action_ops *)0)->kind),
					  (void *)BPF_CORE_READ(first, ops) +
						  bpf_core_field_offset(struct tc_action_ops, kind));
}

/*
 * A function whose first argument is the packet. `state`: the position of the argument that lies on the stack of the
 * caller. `returned`: the number of arguments. `decides`: whether this call does.
 */
#define JUDGE(name, function, decider, state, returned, fill, decides)                                    \
	SEC("?fentry/" function)                                                                          \
	int ipft_##name##_entry(__u64 *ctx)                                                               \
	{                                                                                                 \
		if (may_begin() && (decides))                                                             \
			begin(ARGUMENT(ctx, state), ARGUMENT(ctx, 0));                                    \
		return 0;                                                                                 \
	}                                                                                                 \
                                                                                                          \
	SEC("?fexit/" function)                                                                           \
	int ipft_##name##_exit(__u64 *ctx)                                                                \
	{                                                                                                 \
		if (!may_end())                                                                           \
			return 0;                                                                         \
		__u64 at = ARGUMENT(ctx, state);                                                          \
                                                                                                          \
		if (!RARELY(ipft_live_judged[slot_of(at)]))                                               \
			return 0;                                                                         \
		__u64 packet = take_judged(at);                                                           \
                                                                                                          \
		if (packet)                                                                               \
			TELL(ctx, packet, decider, ctx[returned], at, fill, ctx);                         \
		return 0;                                                                                 \
	}

/* Arguments: the packet, the buffer, the program. */
JUDGE(xdp, "bpf_prog_run_generic_xdp", IPFT_XDP, 1, 3, fill_xdp, 1)
/* Before 5.14, as the function that also drops the packet. */
JUDGE(xdp_before, "netif_receive_generic_xdp", IPFT_XDP, 1, 3, fill_xdp, 1)
/* The packet, the block, the first filter, the result, a flag. */
JUDGE(tc, "tcf_classify", IPFT_TC_FILTERS, 3, 5, fill_filters_of, 1)
/* Before 5.13: on the way in, and without the block for others. */
JUDGE(tc_in, "tcf_classify_ingress", IPFT_TC_FILTERS, 3, 5, fill_filters_of, 1)
JUDGE(tc_before, "tcf_classify", IPFT_TC_FILTERS, 2, 4, fill_filters_before_blocks, 1)
/* The packet, the actions, their number, the result. Filters without actions call it, too. */
JUDGE(action, "tcf_action_exec", IPFT_TC_ACTIONS, 3, 4, fill_actions, (__u32)ctx[2])

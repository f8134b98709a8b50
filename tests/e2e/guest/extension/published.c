/*
 * An extension of the kind that people have: a header of their own, registers as its context, a licence, and names of
 * variables, a map and functions that a probe might have as well.
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "published.h"

enum {
	TCPV4 = 1,
	DODGY = 2,
	TCP_ECN = 4,
} __ipft_ref(gso_types);

struct event {
	unsigned int len;
	__u16 gso_size;
	__u16 gso_segs;
	__u32 gso_type __ipft_fmt_enum_flags(gso_types);
} __ipft_event_struct;

struct sk_buff {
	unsigned int len;
	unsigned char *head;
	unsigned int end;
};

struct skb_shared_info {
	__u16 gso_size;
	__u16 gso_segs;
	__u32 gso_type;
};

char LICENSE[] SEC("license") = "Dual BSD/GPL";

__u64 packets, counter;
const volatile __u32 mark = 1, mask = 2;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 1);
} events SEC(".maps");

static __noinline struct skb_shared_info *shared_info(struct sk_buff *skb)
{
	return (struct skb_shared_info *)(BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, end));
}

__hidden int module(struct pt_regs *ctx, struct sk_buff *skb, __u8 data[64])
{
	struct skb_shared_info *shared = shared_info(skb);
	struct event *event = (struct event *)data;
	__u32 key = 0;
	__u64 *seen;

	__sync_fetch_and_add(&packets, mark);
	seen = bpf_map_lookup_elem(&events, &key);
	if (seen)
		__sync_fetch_and_add(seen, 1);

	event->len = BPF_CORE_READ(skb, len);
	event->gso_size = BPF_CORE_READ(shared, gso_size);
	event->gso_segs = BPF_CORE_READ(shared, gso_segs);
	event->gso_type = BPF_CORE_READ(shared, gso_type);

	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The built-in fields of the VLAN tag that the kernel or the device keeps apart from the packet's bytes. May include
 * field/read.h.
 */
#ifndef IPFT_FIELD_VLAN_H
#define IPFT_FIELD_VLAN_H

#include "field/read.h"

#define VLAN_ID 0xfff
#define VLAN_PRIORITY_SHIFT 13

/* The accelerated tag: before 6.2 a bit says that there is one, then the words together (include/linux/skbuff.h). */
struct sk_buff___tagged_by_bit {
	__u8 vlan_present : 1;
} __attribute__((preserve_access_index));

struct sk_buff___tagged {
	__u32 vlan_all;
	__be16 vlan_proto;
	__u16 vlan_tci;
} __attribute__((preserve_access_index));

/* Returns whether a packet has a tag. */
static __always_inline int is_tagged(struct sk_buff *skb, int directly)
{
	struct sk_buff___tagged *tagged = (void *)skb;

	if (bpf_core_field_exists(tagged->vlan_all)) {
		__u32 all = 0;

		READ_FIELD(&all, tagged, vlan_all, directly);
		return !!all;
	}
	struct sk_buff___tagged_by_bit *by_bit = (void *)skb;

	return BPF_CORE_READ_BITFIELD_PROBED(by_bit, vlan_present);
}

static __always_inline void fill_vlan(void *to, struct sk_buff *skb, int directly)
{
	struct sk_buff___tagged *tagged = (void *)skb;
	struct ipft_vlan *vlan = to;
	__u16 protocol = 0;
	__u16 tci = 0;

	if (is_tagged(skb, directly)) {
		READ_FIELD(&protocol, tagged, vlan_proto, directly);
		READ_FIELD(&tci, tagged, vlan_tci, directly);
	}
	vlan->vlan_proto = bpf_ntohs(protocol);
	vlan->vlan = tci & VLAN_ID;
	vlan->vlan_priority = tci >> VLAN_PRIORITY_SHIFT;
}

#endif

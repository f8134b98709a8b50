/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The socket of a packet, and the control group of a socket. May include field/device.h.
 *
 * A request socket (TCP_NEW_SYN_RECV) and one in TIME_WAIT are shorter than a struct sock: they have no group.
 */
#ifndef IPFT_FIELD_SOCKET_H
#define IPFT_FIELD_SOCKET_H

#include "field/device.h"

#define STATE_TIME_WAIT 6
#define STATE_NEW_SYN_RECV 12

struct kernfs_node {
	__u64 id;
} __attribute__((preserve_access_index));

struct cgroup {
	int level;
	struct kernfs_node *kn;
} __attribute__((preserve_access_index));

struct sock_cgroup_data {
	struct cgroup *cgroup;
} __attribute__((preserve_access_index));

/* Before 5.15: a pointer, or a class and a priority of version 1, marked in the two lowest bits (cgroup-defs.h). */
struct sock_cgroup_data___marked {
	__u64 val;
} __attribute__((preserve_access_index));

struct sock_common___stated {
	__u16 skc_family;
	__u8 skc_state;
	struct {
		__s64 counter;
	} skc_cookie;
} __attribute__((preserve_access_index));

struct sock___grouped {
	struct sock_cgroup_data sk_cgrp_data;
} __attribute__((preserve_access_index));

struct sock___grouped_marked {
	struct sock_cgroup_data___marked sk_cgrp_data;
} __attribute__((preserve_access_index));

/* Returns the socket of a packet, or 0: what is there may be something else, see field/device.h. */
static __always_inline struct sock *socket_of(struct sk_buff *skb, int directly)
{
	struct sock *sk = directly ? skb->sk : BPF_CORE_READ(skb, sk);

	return sk && namespace_of_socket(sk, directly) ? sk : 0;
}

static __always_inline int is_full_socket(__u32 state)
{
	return state != STATE_TIME_WAIT && state != STATE_NEW_SYN_RECV;
}

/* Returns the group of a full socket, or 0. */
static __always_inline struct cgroup *cgroup_of_socket(struct sock *sk)
{
	struct sock___grouped *grouped = (void *)sk;
	__u64 group = 0;

	if (bpf_core_field_exists(grouped->sk_cgrp_data.cgroup)) {
		group = (__u64)BPF_CORE_READ(grouped, sk_cgrp_data.cgroup);
	} else {
		struct sock___grouped_marked *marked = (void *)sk;

		group = BPF_CORE_READ(marked, sk_cgrp_data.val);
		if (group & 3)
			group = 0;
	}
	return (struct cgroup *)group;
}

#endif

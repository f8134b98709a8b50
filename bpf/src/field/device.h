/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The device of a packet, and the network namespace of a device or a socket. May include field/read.h.
 *
 * `skb->dev` shares its memory with other members while a packet waits in a queue of UDP (dev_scratch) or TCP (rbnode),
 * and `skb->sk` with an offset while fragments wait (include/linux/skbuff.h). What it points at is a device only if
 * that names a namespace: their inode numbers are the highest, from 0xf0000000 on (PROC_DYNAMIC_FIRST in
 * fs/proc/generic.c), those of the initial namespaces a little below (include/linux/proc_ns.h).
 */
#ifndef IPFT_FIELD_DEVICE_H
#define IPFT_FIELD_DEVICE_H

#include "field/read.h"

#define LEAST_NAMESPACE 0xeffffff0u

/* Returns the inode number of a namespace, or 0 if it is none. */
static __always_inline __u32 namespace_of_device(struct net_device *dev, int directly)
{
	__u32 inum = directly ? dev->nd_net.net->ns.inum : BPF_CORE_READ(dev, nd_net.net, ns.inum);

	return inum >= LEAST_NAMESPACE ? inum : 0;
}

static __always_inline __u32 namespace_of_socket(struct sock *sk, int directly)
{
	__u32 inum = directly ? sk->__sk_common.skc_net.net->ns.inum : BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);

	return inum >= LEAST_NAMESPACE ? inum : 0;
}

/* The device of a packet, and the inode number of its namespace; both are 0 if it has none. */
struct device {
	struct net_device *dev;
	__u32 inum;
};

static __always_inline struct device device_of(struct sk_buff *skb, int directly)
{
	struct device device = { .dev = directly ? skb->dev : BPF_CORE_READ(skb, dev) };

	if (device.dev)
		device.inum = namespace_of_device(device.dev, directly);
	if (!device.inum)
		device.dev = 0;
	return device;
}

#endif

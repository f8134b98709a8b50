/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What of the kernel's own structures the programs read, and the headers that all of them need. CO-RE finds the fields
 * on the running kernel. May include nothing of ours.
 */
#ifndef IPFT_KERNEL_H
#define IPFT_KERNEL_H


#include <linux/types.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

struct net_device {
	__u16 type;
} __attribute__((preserve_access_index));

struct sk_buff {
	__u32 mark;
	__u32 len;
	__u16 protocol;
	__u16 network_header;
	__u16 mac_header;
	__u32 tail;
	__u8 *head;
	__u8 *data;
	struct net_device *dev;
} __attribute__((preserve_access_index));

#endif

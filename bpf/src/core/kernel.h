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

/*
 * How the programs read an sk_buff. READS is one of them: each object is compiled for each that a kernel needs
 * (build/main.rs). The kernel handles the fault of a load through a wrong pointer, but before 6.5 it may crash if the
 * program calls functions of its own (host/core/src/kernel/release.rs).
 */
#define BY_LOADS 1	 /* faults are handled */
#define BY_LOADS_ALONE 2 /* faults are handled in programs that call no functions of their own, so these call none */
#define BY_HELPER 3	 /* neither */

/* For what runs for traced packets: a function of its own, so that other packets do not pay for its registers. */
#if READS == BY_LOADS_ALONE
#define OUT_OF_LINE __always_inline
#else
#define OUT_OF_LINE __noinline
#endif

/* Predicts a condition false. */
#define RARELY(condition) __builtin_expect(!!(condition), 0)

#define PROTOCOL_IPV4 0x0800
#define PROTOCOL_IPV6 0x86dd
#define DEVICE_ETHERNET 1 /* ARPHRD_ETHER */
#define DEVICE_LOOP 772	  /* ARPHRD_LOOPBACK, whose packets have Ethernet headers, too */
#define FRAME_HEADER 14	  /* bytes of an Ethernet header */
#define NO_HEADER 0xffff  /* mac_header, if it is not set */

/* From 6.2 on; the verifier replaces it with a move. */
extern void *bpf_rdonly_cast(const void *object, __u32 btf_id) __ksym;

struct ns_common {
	__u32 inum;
} __attribute__((preserve_access_index));

struct net {
	struct ns_common ns;
} __attribute__((preserve_access_index));

typedef struct {
	struct net *net;
} __attribute__((preserve_access_index)) possible_net_t;

struct net_device {
	__u16 type;
	__u8 name[16];
	__u32 ifindex;
	possible_net_t nd_net;
} __attribute__((preserve_access_index));

struct sock_common {
	possible_net_t skc_net;
} __attribute__((preserve_access_index));

struct sock {
	struct sock_common __sk_common;
} __attribute__((preserve_access_index));

struct sk_buff {
	__u32 mark;
	__u32 len;
	__u16 protocol;
	__u16 network_header;
	__u16 mac_header;
	__u16 inner_network_header;
	__u16 inner_mac_header;
	__u32 tail;
	__u8 *head;
	__u8 *data;
	struct net_device *dev;
	struct sock *sk;
	__u8 cb[48];
} __attribute__((preserve_access_index));

/*
 * How what is at an address is read, where the verifier knows no type: the packet, and bytes. Kernels of BY_LOADS have
 * the cast.
 */
#if READS != BY_LOADS
#define PACKET_AT(skb) ((struct sk_buff *)(skb))
#define LOAD(from, ...) BPF_CORE_READ(from, __VA_ARGS__)
#else
#define PACKET_AT(skb) ((struct sk_buff *)bpf_rdonly_cast((void *)(skb), bpf_core_type_id_kernel(struct sk_buff)))
#define LOAD(from, member) ((from)->member)

/*
 * The verifier allows loads of any width within an array of a struct, so bytes anywhere are read as those of an sk_buff
 * whose `cb` begins there (kernel/bpf/btf.c, btf_struct_walk). A load that faults is 0.
 */
static __always_inline void *bytes_at(__u64 address)
{
	return PACKET_AT(address - bpf_core_field_offset(struct sk_buff, cb))->cb;
}
#endif
#define LONGEST_LOAD 48 /* of bytes_at() */

/*
 * Copies bytes to the stack, to a multiple of eight. `count` is a multiple of four that the verifier knows. Returns
 * whether they cannot be read; where loads are possible, those that fault read 0.
 */
static __always_inline int read_bytes(__u64 *to, __u32 count, __u64 from)
{
	if (!count)
		return 0;
#if READS == BY_LOADS
	if (count <= LONGEST_LOAD) {
		__u64 *bytes = bytes_at(from);

#pragma unroll
		for (int i = 0; i < LONGEST_LOAD / 8; i++) {
			if (i * 8 + 8 <= count)
				to[i] = bytes[i];
			else if (i * 8 + 4 == count)
				*(__u32 *)&to[i] = *(__u32 *)&bytes[i];
		}
		return 0;
	}
#endif
	return bpf_probe_read_kernel(to, count, (void *)from);
}

#endif

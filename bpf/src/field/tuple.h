/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The built-in fields of the packet's headers: addresses, protocol, ports. May include field/network.h,
 * field/protocol.h, field/read.h and core/identity.h.
 *
 * Before the network layer has seen a packet its network_header may have any value, so the header must be within the
 * linear part of the sk_buff, and look like one. An IPv6 header is followed over one fragment header, and no other.
 */
#ifndef IPFT_FIELD_TUPLE_H
#define IPFT_FIELD_TUPLE_H

#include "field/network.h"
#include "field/protocol.h"
#include "field/read.h"

/* An IPv4 address as an IPv6 one. */
static __always_inline void map_address(__u8 *to, __u32 address)
{
	__u64 *words = (__u64 *)to;

	words[0] = 0;
	words[1] = (__u64)address << 32 | 0xffff0000; /* x86-64 is little-endian */
}

/* What comes behind the network header; `start` is its address, `available` the bytes that can be read there. */
static __always_inline void fill_transport(struct ipft_tuple *tuple, __u64 start, __u32 available)
{
	__u8 proto = tuple->proto;
	__u64 header[2] = {};
	__u32 *words = (__u32 *)header;

	if (proto == NEXT_TCP) {
		if (available < 16 || read_bytes(header, 16, start))
			return;
		tuple->seq = bpf_ntohl(words[1]);
		tuple->ack = bpf_ntohl(words[2]);
		tuple->tcp_flags = words[3] >> 8;
	} else if (available < 8 || read_bytes(header, 8, start)) {
		return;
	}
	if (proto == NEXT_TCP || proto == NEXT_UDP || proto == NEXT_SCTP) {
		*(__u32 *)tuple->sport = words[0];
	} else if (proto == NEXT_ICMP || proto == NEXT_ICMPV6) {
		__u8 type = words[0];

		tuple->icmp_type = type;
		tuple->icmp_code = words[0] >> 8;
		if (proto == NEXT_ICMP ? type == ECHO_REQUEST || type == ECHO_REPLY
				       : type == ECHO6_REQUEST || type == ECHO6_REPLY) {
			tuple->icmp_id = bpf_ntohs(words[1]);
			tuple->icmp_seq = bpf_ntohs(words[1] >> 16);
		}
	}
}

/* Reads the headers at `start`, of which `available` bytes can be read. */
static OUT_OF_LINE int fill_headers(struct ipft_tuple *tuple, __u64 start, __u32 available, __u32 protocol)
{
	__u64 header[HEADER_IPV6 / 8] = {};
	__u8 *bytes = (__u8 *)header;
	__u32 length;

	if (available < HEADER_IPV4 || read_bytes(header, HEADER_IPV4, start))
		return 0;
	if (protocol == PROTOCOL_ARP) {
		/* Of Ethernet and IPv4: addresses of 6 and 4 bytes. */
		if (available < HEADER_ARP || ((__u32)header[0] & 0xffff0000) != 0x00080000 || bytes[4] != 6 ||
		    bytes[5] != 4 || read_bytes(header, HEADER_ARP, start))
			return 0;
		tuple->ethertype = PROTOCOL_ARP;
		map_address(tuple->saddr, header[1] >> 48 | (header[2] & 0xffff) << 16);
		map_address(tuple->daddr, header[3]);
		return 0;
	}
	/* The protocol comes late on the way out: then the version says what it is. */
	if (bytes[0] >> 4 == 4 && (protocol == PROTOCOL_IPV4 || !protocol)) {
		length = (bytes[0] & 15) * 4;
		if (length < HEADER_IPV4)
			return 0;
		tuple->ethertype = PROTOCOL_IPV4;
		tuple->proto = bytes[9];
		tuple->frag = bytes[6] << 8 | bytes[7];
		map_address(tuple->saddr, header[1] >> 32);
		map_address(tuple->daddr, header[2]);
	} else if (bytes[0] >> 4 == 6 && (protocol == PROTOCOL_IPV6 || !protocol)) {
		__u64 *saddr = (__u64 *)tuple->saddr, *daddr = (__u64 *)tuple->daddr;

		length = HEADER_IPV6;
		if (available < HEADER_IPV6 || read_bytes(header, HEADER_IPV6, start))
			return 0;
		tuple->ethertype = PROTOCOL_IPV6;
		tuple->proto = bytes[6];
		saddr[0] = header[1];
		saddr[1] = header[2];
		daddr[0] = header[3];
		daddr[1] = header[4];
		if (tuple->proto == NEXT_FRAGMENT) {
			__u64 word = 0;
			__u8 *fragment = (__u8 *)&word;

			if (available < HEADER_IPV6 + 8 || read_bytes(&word, 8, start + HEADER_IPV6))
				return 0;
			length += 8;
			tuple->proto = fragment[0];
			/* As in IPv4: "more fragments", and the offset in units of 8 bytes. */
			tuple->frag = (fragment[3] & 1) << 13 | fragment[2] << 5 | fragment[3] >> 3;
		}
	} else {
		if (protocol != PROTOCOL_IPV4 && protocol != PROTOCOL_IPV6)
			tuple->ethertype = protocol;
		return 0;
	}
	/* Only the first fragment has ports. */
	if (!(tuple->frag & FRAGMENT_OFFSET) && length <= available)
		fill_transport(tuple, start + length, available - length);
	return 0;
}

/*
 * Fills a tuple with zeros. Those are any numbers for the verifier: if it knew them to be zeros on the stack, each path
 * through fill_headers() would leave other bytes known, and it would follow all that comes next once for each path. On
 * Linux 5.10, two tuples in a record of the perf buffer took it minutes.
 */
static __always_inline void clear_tuple(void *to, struct sk_buff *skb)
{
	__u64 *words = to;
	__u64 zero;

	asm volatile("%0 = %1\n\t%0 -= %1" : "=&r"(zero) : "r"(skb));
#pragma unroll
	for (int i = 0; i < sizeof(struct ipft_tuple) / 8; i++)
		words[i] = zero;
}

static __always_inline void fill_tuple(void *to, struct sk_buff *skb, int directly)
{
	clear_tuple(to, skb);
	__u64 head = (__u64)(directly ? skb->head : BPF_CORE_READ(skb, head));
	__u32 network = network_of(skb, directly);
	__u32 tail = directly ? skb->tail : BPF_CORE_READ(skb, tail);
	__u16 protocol = directly ? skb->protocol : BPF_CORE_READ(skb, protocol);

	if (network && network < tail)
		fill_headers(to, head + network, tail - network, bpf_ntohs(protocol));
}

#endif

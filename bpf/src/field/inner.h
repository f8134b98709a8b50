/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The packet inside a packet of a tunnel. May include core/address.h, field/network.h and field/protocol.h.
 *
 * A tunnel that sends sets the inner headers of the sk_buff before it pushes its own (iptunnel_handle_offloads). They
 * are valid from then on, if they lie behind the network header: once a receiver has taken off the outer headers, they
 * do not. `skb->encapsulation` does not say it. The same function clears it if nothing is to be offloaded, as for every
 * ping.
 *
 * What arrives from outside has no inner headers, unless GRO has put packets together. So the headers of IP in IP, GRE,
 * VXLAN and Geneve are followed as well.
 */
#ifndef IPFT_FIELD_INNER_H
#define IPFT_FIELD_INNER_H

#include "core/address.h"
#include "field/network.h"
#include "field/protocol.h"

#define LEAST_IP 12 /* bytes of an IP header that say what it carries */
#define LONGEST_LINK 64 /* more lies between the inner headers only if they are not valid */

/* Where the packet inside is. find_inner() gets the kernel's offsets in it. */
struct inner {
	__u64 start;	/* address of its network header */
	__u64 ethernet; /* address of its Ethernet header; 0 if it has none */
	__u32 available; /* bytes that can be read from its network header on; 0 if there is no packet inside */
	__u16 protocol; /* as on the wire; 0: the version says it */
	__u16 tag;	/* of a VLAN: as on the wire; 0: none */
	__u16 tci;
	__u16 network;	  /* the offsets, from the head */
	__u16 mac;
	__u8 out_of_reach; /* there may be one, where it cannot be read */
};

/* Finds the headers of a packet inside that has an Ethernet header at `at`, or else whose network header is there. */
static __always_inline int place_inner(struct inner *inner, __u64 at, __u64 end, int is_ethernet)
{
	__u64 types = 0;

	if (is_ethernet) {
		/* The type, or that of a tag, the tag, and the type. */
		if (at + FRAME_HEADER + 6 > end || read_bytes(&types, 8, at + FRAME_HEADER - 2)) {
			inner->out_of_reach = 1;
			return 0;
		}
		inner->ethernet = at;
		inner->protocol = types;
		at += FRAME_HEADER;
		if (inner->protocol == bpf_htons(PROTOCOL_VLAN) || inner->protocol == bpf_htons(PROTOCOL_VLAN_OUTER)) {
			inner->tag = types;
			inner->tci = types >> 16;
			inner->protocol = types >> 32;
			at += 4;
		}
	}
	if (at >= end) {
		inner->out_of_reach = 1;
		return 0;
	}
	inner->start = at;
	inner->available = end - at;
	return 0;
}

/* Finds the packet in a packet whose network header is at `start`. `end` is that of what can be read. */
static OUT_OF_LINE int find_inner(struct inner *inner, __u64 start, __u64 end, __u64 head, __u32 protocol)
{
	__u64 header[2] = {};
	__u8 *bytes = (__u8 *)header;
	__u64 network = head + inner->network;
	/* An MPLS label, at least. */
	__u64 least = start + 4;
	__u32 proto = 0, kind, options;

	if (start + LEAST_IP > end || read_bytes(header, LEAST_IP, start))
		return 0;
	if (bytes[0] >> 4 == 4 && (protocol == PROTOCOL_IPV4 || !protocol)) {
		/* Only first fragments have what it carries. */
		if ((bytes[6] << 8 | bytes[7]) & FRAGMENT_OFFSET)
			return 0;
		proto = bytes[9];
		start += (bytes[0] & 15) * 4;
	} else if (bytes[0] >> 4 == 6 && (protocol == PROTOCOL_IPV6 || !protocol)) {
		proto = bytes[6];
		start += HEADER_IPV6;
	}
	if (proto)
		least = start;
	/* It is encrypted by now, or will be. */
	if (proto == NEXT_ESP)
		return 0;
	if (network >= least) {
		__u64 mac = head + inner->mac;

		if (mac >= least && network >= mac + FRAME_HEADER && network <= mac + LONGEST_LINK)
			return place_inner(inner, mac, end, 1);
		return place_inner(inner, network, end, 0);
	}
	if (proto == NEXT_IPIP || proto == NEXT_IPV6)
		return place_inner(inner, start, end, 0);
	if (proto == NEXT_GRE) {
		if (start + HEADER_GRE > end || read_bytes(header, HEADER_GRE, start)) {
			inner->out_of_reach = 1;
			return 0;
		}
		/* Version 1 is that of PPTP. */
		if (bytes[0] & GRE_ROUTING || bytes[1] & GRE_VERSION)
			return 0;
		kind = bytes[2] << 8 | bytes[3];
		options = !!(bytes[0] & GRE_CHECKSUM) + !!(bytes[0] & GRE_KEY) + !!(bytes[0] & GRE_SEQUENCE);
		start += HEADER_GRE + options * 4;
	} else if (proto == NEXT_UDP) {
		__u32 port;

		if (start + HEADER_UDP > end || read_bytes(header, HEADER_UDP, start))
			return 0;
		port = bytes[2] << 8 | bytes[3];
		if (port != VXLAN_PORT && port != GENEVE_PORT)
			return 0;
		start += HEADER_UDP;
		if (start + HEADER_VXLAN > end || read_bytes(header, HEADER_VXLAN, start)) {
			inner->out_of_reach = 1;
			return 0;
		}
		if (port == VXLAN_PORT) {
			if (!(bytes[0] & VXLAN_HAS_NUMBER))
				return 0;
			kind = PROTOCOL_BRIDGED;
			start += HEADER_VXLAN;
		} else {
			if (bytes[0] & GENEVE_VERSION)
				return 0;
			kind = bytes[2] << 8 | bytes[3];
			start += HEADER_GENEVE + (bytes[0] & GENEVE_OPTIONS) * 4;
		}
	} else {
		return 0;
	}
	if (kind == PROTOCOL_BRIDGED)
		return place_inner(inner, start, end, 1);
	if (kind == PROTOCOL_IPV4 || kind == PROTOCOL_IPV6)
		return place_inner(inner, start, end, 0);
	return 0;
}

static __always_inline void find_inner_of(struct inner *inner, struct sk_buff *skb, int directly)
{
	/* As a number, of which offsets can be calculated. */
	__u64 head = number_of((__u64)(directly ? skb->head : BPF_CORE_READ(skb, head)), TYPED);
	__u32 network = network_of(skb, directly);
	__u32 tail = directly ? skb->tail : BPF_CORE_READ(skb, tail);
	__u16 protocol = directly ? skb->protocol : BPF_CORE_READ(skb, protocol);

	__builtin_memset(inner, 0, sizeof(*inner));
	inner->network = directly ? skb->inner_network_header : BPF_CORE_READ(skb, inner_network_header);
	inner->mac = directly ? skb->inner_mac_header : BPF_CORE_READ(skb, inner_mac_header);
	if (network && network < tail)
		find_inner(inner, head + network, head + tail, head, bpf_ntohs(protocol));
}

#endif

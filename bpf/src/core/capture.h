/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The first bytes of a packet, sent once. May include identity.h.
 */
#ifndef IPFT_CAPTURE_H
#define IPFT_CAPTURE_H

#include "core/identity.h"

#define IPV4_HEADER 20
#define IPV4_LONGEST_HEADER 60
#define IPV6_HEADER 40
#define IP_LONGEST 0xffff    /* a longer packet, which will be segmented, has 0 as its length */
#define IPV4_FRAGMENT 0x3fff /* "more fragments", and the offset */
#define ETHERNET_PADDED 46   /* shorter packets are padded, and received so */

/* Returns whether an IP header's length is that of the packet. */
static __always_inline int length_fits(__u32 said, __u32 length)
{
	return said == length || (said < length && length <= ETHERNET_PADDED);
}

/* `first` is the header's first byte; `placed`: the packet has a device, see capture(). */
static __always_inline int ipv4_is_complete(__u8 first, void *header, __u32 room, __u32 length, int placed)
{
	__u16 parts[IPV4_LONGEST_HEADER / 2] = {};
	__u32 size = (first & 15) * 4;
	__u32 sum = 0;

	if (size < IPV4_HEADER || size > room || bpf_probe_read_kernel(parts, size, header))
		return 0;
#pragma unroll
	for (int i = 0; i < IPV4_LONGEST_HEADER / 2; i++)
		sum += parts[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	if (sum != 0xffff || (!placed && parts[3] & bpf_htons(IPV4_FRAGMENT)))
		return 0;
	__u32 total = bpf_ntohs(parts[1]);
	return total ? total >= size && length_fits(total, length) : length > IP_LONGEST;
}

static __always_inline int ipv6_is_complete(void *header, __u32 room, __u32 length, int placed)
{
	__u16 payload = 0;

	if (!placed || room < IPV6_HEADER || bpf_probe_read_kernel(&payload, sizeof(payload), header + 4))
		return 0;
	__u32 total = IPV6_HEADER + bpf_ntohs(payload);
	return length_fits(total, length) || (!payload && length > IPV6_HEADER + IP_LONGEST);
}

/*
 * Sends the first bytes of a packet once, and says whether that is over and done with.
 *
 * A packet is often seen before its headers are complete: their memory then holds what was there before, which may look
 * like a header, as memory is given to packets of the same sort again and again. So a packet waits, at most until it is
 * released, until its IP header fits it, whatever function that is in. An sk_buff gets its protocol no later than the
 * length and the checksum of an IPv4 header, but the protocol of an IPv6 packet comes before its UDP header, and only
 * its device after that. A datagram that is put together has the header of its first fragment and no device until it is
 * whole (inet_frag_reasm_finish): the order of all that is the same in Linux 5.10 to 7.2.
 *
 * Only what lies between head and tail can be read: pages that hang on the packet are not taken. Nothing is sent of a
 * packet that is neither IP nor on an Ethernet device, nor of one whose memory is already being given back.
 */
static __noinline int capture(__u64 skb, __u64 now, int released)
{
	struct packet *packet = bpf_map_lookup_elem(&ipft_packets, &skb);

	if (!packet || packet->captured || (packet->dying && !released))
		return 1;
	struct sk_buff *held = (void *)skb;
	__u16 protocol = BPF_CORE_READ(held, protocol);
	if (!protocol && !released)
		return 0;

	__u8 *head = BPF_CORE_READ(held, head);
	__u32 tail = BPF_CORE_READ(held, tail);
	__u32 start = BPF_CORE_READ(held, network_header);
	/* Both headers may lie before the data, which begins where the kernel currently works. */
	__u32 end = BPF_CORE_READ(held, len) + (__u32)(BPF_CORE_READ(held, data) - head);
	struct net_device *device = BPF_CORE_READ(held, dev);
	__u32 link = IPFT_ETHERNET;
	if (!protocol || protocol == bpf_htons(PROTOCOL_IPV4) || protocol == bpf_htons(PROTOCOL_IPV6)) {
		__u8 first = 0;
		int complete = 0;

		/* Before the network layer has seen the packet, the offset may have any value. */
		if (start < tail && (__s32)(end - start) > 0)
			bpf_probe_read_kernel(&first, sizeof(first), head + start);
		if (first >> 4 == 4)
			complete = ipv4_is_complete(first, head + start, tail - start, end - start, !!device);
		else if (first >> 4 == 6)
			complete = ipv6_is_complete(head + start, tail - start, end - start, !!device);
		if (!complete && !released)
			return 0;
		/* A header that never became valid is sent unchanged, if the packet was ever one. */
		if (complete || (protocol && (first >> 4 == 4 || first >> 4 == 6)))
			link = IPFT_IP;
	}
	if (link == IPFT_ETHERNET) {
		start = BPF_CORE_READ(held, mac_header);
		if (start == NO_HEADER || BPF_CORE_READ(device, type) != DEVICE_ETHERNET)
			return 0;
	}
	__u32 length = end - start;
	if (start >= tail || (__s32)length <= 0)
		return 0;

	packet->captured = 1;
	__u64 room = ipft_config.record_bytes;
	struct ipft_capture *record = reserve(bpf_get_smp_processor_id(), sizeof(*record) + room);
	if (!record) {
		__sync_fetch_and_add(&this_cpu()->buffer_full, 1);
		return 1;
	}
	__u64 size = tail - start;
	if (size > length)
		size = length;
	if (size > room)
		size = room;
	record->packet = packet->id;
	record->length = length;
	record->captured = size;
	record->timestamp = now;
	record->function = IPFT_CAPTURE;
	record->link = link;
	record->padding = 0;
	if (bpf_probe_read_kernel(record->bytes, size, head + start))
		bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
	else
		bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 1;
}

#endif

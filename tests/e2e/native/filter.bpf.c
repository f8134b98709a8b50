/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Judges packets of a map with a compiled filter, through frame.h, and packets in tunnels, through inner.h: for the
 * test of filters in kernels. A run judges the packet whose number is its argument, and leaves the verdict in the map.
 */
#include "field/inner.h"
#include "filter/frame.h"

#define PACKETS 10000
#define LONGEST 496

struct packet {
	__u32 captured;
	__u32 length;
	__s32 verdict;
	__u8 accelerated; /* the VLAN tag is not in the bytes */
	__u8 inside;	  /* how many bytes of a tunnel come before the packet; 0: none */
	__u8 has_offsets; /* the kernel knows that */
	__u8 reserved;
	__u8 bytes[LONGEST];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PACKETS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct packet);
} packets SEC(".maps");

/* Set by the test, which compiles this for each filter that differs in them. */
const volatile struct ipft_frame uses = {
	.bytes = USES_BYTES,
	.mac = USES_MAC,
	.vlan = USES_VLAN,
	.length = USES_LENGTH,
};

static __always_inline __s32 judge_inside(struct packet *packet)
{
	__u8 *bytes = packet->bytes;
	struct inner inner = {};
	__u64 head = 0;

	/* As a number. */
	bpf_probe_read_kernel(&head, sizeof(head), &bytes);
	if (packet->has_offsets) {
		inner.mac = packet->inside;
		inner.network = packet->inside + FRAME_HEADER;
	}
	find_inner(&inner, head + FRAME_HEADER, head + packet->captured, head, bpf_ntohs(*(__u16 *)(packet->bytes + 12)));
	if (!inner.available)
		return inner.out_of_reach ? -1 : 0;
	struct frame_packet frame = {
		.head = head,
		.mac = inner.ethernet - head,
		.network = inner.start - head,
		.tail = packet->captured,
		.length = packet->length - (inner.start - head),
		.protocol = inner.protocol,
		.tag = { .protocol = inner.tag, .tci = inner.tci },
	};
	return judge_frame(&uses, &frame, 1);
}

SEC("raw_tp/sys_enter")
int judge(__u64 *arguments)
{
	__u32 number = arguments[0];
	struct packet *packet = bpf_map_lookup_elem(&packets, &number);

	if (!packet)
		return 1;
	if (packet->inside) {
		packet->verdict = judge_inside(packet);
		return 0;
	}
	struct frame_packet frame = {
		.head = (__u64)packet->bytes,
		.mac = 0,
		.network = 14,
		.tail = packet->captured,
		.length = packet->length - 14,
		.protocol = *(__u16 *)(packet->bytes + 12),
	};
	if (packet->accelerated) {
		frame.tag.protocol = *(__u16 *)(packet->bytes + 12);
		frame.tag.tci = *(__u16 *)(packet->bytes + 14);
		frame.protocol = *(__u16 *)(packet->bytes + 16);
		frame.network = 18;
		frame.length -= 4;
	}
	packet->verdict = judge_frame(&uses, &frame, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";

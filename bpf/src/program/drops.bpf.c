// SPDX-License-Identifier: GPL-2.0-only
/*
 * The program of the tracepoint skb:kfree_skb, for traces of drops: every packet that the kernel drops, whatever was
 * seen of it before. Nothing else is attached, so packets that are not dropped cost nothing.
 *
 * All drops are counted; of each place in the kernel, only so many per second are sent. Only by the ring buffer: a
 * record is too large for the stack.
 */
#include "core/limit.h"
#include "field/field.h"
#include "filter/select.h"
#include "track/ended.h"

char LICENSE[] SEC("license") = "GPL";

#define SECOND 1000000000ull /* nanoseconds */
#define LAST_PLACE (IPFT_DROP_PLACES - 1) /* for what finds no other slot */

/*
 * Of each CPU, so that no slot is claimed by two of them: 5.10 has no atomic comparison. User space reads it as memory.
 */
struct ipft_drop_place ipft_drop_places[IPFT_MAX_CPUS][IPFT_DROP_PLACES] SEC(".bss.places");

/* Returns the slot of a place on this CPU. */
static __noinline struct ipft_drop_place *place_of(__u32 processor, __u64 location, __u32 reason)
{
	struct ipft_drop_place *places = ipft_drop_places[processor & (IPFT_MAX_CPUS - 1)];
	__u32 at = location ^ location >> 8 ^ reason * 0x9e3779b9u >> 26;

	for (int i = 0; i < IPFT_DROP_PLACES; i++) {
		/* Not the remainder of a division, whose limit the verifiers of 5.10 and 6.1 do not know. */
		__u32 slot = (at + i) & (IPFT_DROP_PLACES - 1);
		struct ipft_drop_place *place = &places[slot];

		if (slot == LAST_PLACE)
			continue;
		if (!place->location) {
			place->location = location;
			place->reason = reason;
			return place;
		}
		if (place->location == location && place->reason == reason)
			return place;
	}
	return &places[LAST_PLACE];
}

/* Counts a drop. Returns whether one more may be sent. */
static __always_inline int count(__u32 processor, __u64 location, __u32 reason, __u64 now)
{
	struct ipft_drop_place *place = place_of(processor, location, reason);

	__sync_fetch_and_add(&place->count, 1);
	if (!ipft_config.place.drops)
		return 1;
	if (now - place->start >= SECOND) {
		place->start = now;
		place->sent = 0;
	}
	if (place->sent >= ipft_config.place.drops)
		return 0;
	place->sent++;
	return 1;
}

/* A record with fields. */
struct record {
	struct ipft_dropped dropped;
	__u8 fields[FIELDS_ROOM];
};

static __always_inline void send(void *ctx, struct ipft_cpu *cpu, __u32 processor, __u64 skb, __u64 now, __u32 reason,
				 __u64 location)
{
	struct record *record = reserve(processor, sizeof(struct ipft_dropped) + ipft_config.fields_size);

	if (!record) {
		__sync_fetch_and_add(&cpu->buffer_full, 1);
		return;
	}
	fill_ended(&record->dropped.ended, processor, new_packet(now), skb, now, 0);
	fill_dropped(ctx, &record->dropped, reason, location);
	record->dropped.ended.dropped = IPFT_DROP_ALONE;
	if (ipft_config.fields)
		fill_fields(record->fields, ipft_config.fields, skb, NUMBER);
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

/* Arguments: the packet; where it was freed; from 5.17 on the reason. More than there are may not be read. */
SEC("?raw_tp/kfree_skb")
int ipft_drop(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 skb = ctx->args[0], location = ctx->args[1];
	__u32 reason = ipft_config.drops_have_reason ? ctx->args[2] : 0;

	if (!selects(skb))
		return 0;
	__u32 processor = bpf_get_smp_processor_id();
	struct ipft_cpu *cpu = &ipft_cpus[processor & (IPFT_MAX_CPUS - 1)];
	__u64 now = bpf_ktime_get_ns();

	/* What is over a limit is in the counts. */
	if (count(processor, location, reason, now) && within_limit(cpu, now))
		send(ctx, cpu, processor, skb, now, reason, location);
	return 0;
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * The program of the tracepoint skb:kfree_skb, for traces of drops: every packet that the kernel drops. Nothing else is
 * attached, so packets that are not dropped cost nothing. Beside a trace that follows packets, it shares that trace's
 * maps, and sees the drops of packets that are not followed.
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
_Static_assert((IPFT_DROP_PLACES & LAST_PLACE) == 0, "slots are found by a mask");

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
		/* Not the remainder of a division, of which no verifier knows the limit. */
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

/* What PACKET_AT() returns. */
#if READS == BY_LOADS
#define KIND TYPED
#else
#define KIND NUMBER
#endif

#if READS == BY_LOADS
/*
 * Stacks that were seen. The kernel takes about 6,000 instructions to find eight frames, as it first unwinds its own
 * functions between the program and the unwinder. So what it found is remembered, with the places of the return
 * addresses on the stack: as long as the same addresses are at the same places, the frames are the same.
 */
struct stack {
	__u64 location; /* 0 if there is none */
	__u64 frames[IPFT_FRAMES];
	__u16 words[IPFT_FRAMES]; /* where each is, from the context on, which is on the stack of bpf_trace_run*() */
	__u64 found;		  /* frames whose place is known */
};

#define STACKS 16	 /* of each CPU, a power of two */
#define STACK_WORDS 256	 /* that are searched for return addresses */
#define FRAMES_BEFORE 2 /* in front of the context: the program itself, and what calls it */

struct stack ipft_drop_stacks[IPFT_MAX_CPUS][STACKS] SEC(".bss.stacks");

/* Remembers a stack that the kernel found, if all of it is where a stack should be. */
static __noinline int remember(struct stack *stack, const __u64 *frames, __u64 base, __u64 location)
{
	stack->location = 0;
	stack->found = FRAMES_BEFORE;
	for (__u32 i = 0; i < IPFT_FRAMES; i++)
		stack->frames[i] = frames[i];
	for (__u32 word = 0; word < STACK_WORDS; word++) {
		/* In memory, or the verifier would follow each number of frames by itself. */
		__u64 found = *(volatile __u64 *)&stack->found;

		if (found >= IPFT_FRAMES) {
			stack->location = location;
			break;
		}
		if (*(__u64 *)bytes_at(base + word * 8) != stack->frames[found])
			continue;
		stack->words[found] = word;
		*(volatile __u64 *)&stack->found = found + 1;
	}
	return 0;
}

static __always_inline int is_same(const struct stack *stack, __u64 base, __u64 location)
{
	if (stack->location != location)
		return 0;
#pragma unroll
	for (int i = FRAMES_BEFORE; i < IPFT_FRAMES; i++) {
		if (*(__u64 *)bytes_at(base + stack->words[i] * 8) != stack->frames[i])
			return 0;
	}
	return 1;
}

static __always_inline void fill_stack(void *ctx, struct ipft_dropped *record, __u32 processor, __u64 location)
{
	__u32 slot = (location ^ location >> 4 ^ location >> 8) & (STACKS - 1);
	struct stack *stack = &ipft_drop_stacks[processor & (IPFT_MAX_CPUS - 1)][slot];
	__u64 base = number_of((__u64)ctx, TYPED);

	if (is_same(stack, base, location)) {
#pragma unroll
		for (int i = 0; i < IPFT_FRAMES; i++)
			record->frames[i] = stack->frames[i];
		return;
	}
	fill_frames(ctx, record);
	remember(stack, record->frames, base, location);
}
#else
static __always_inline void fill_stack(void *ctx, struct ipft_dropped *record, __u32 processor, __u64 location)
{
	fill_frames(ctx, record);
}
#endif

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
	record->dropped.ended.dropped = IPFT_DROP_ALONE;
	record->dropped.ended.reason = reason;
	record->dropped.location = location;
	fill_stack(ctx, &record->dropped, processor, location);
	if (ipft_config.fields)
		fill_fields(record->fields, ipft_config.fields, (__u64)PACKET_AT(skb), KIND);
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

/* Arguments: the packet; where it was freed; from 5.17 on the reason. More than there are may not be read. */
SEC("?raw_tp/kfree_skb")
int ipft_drop(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 skb = ctx->args[0], location = ctx->args[1];
	__u32 reason = ipft_config.drops_have_reason ? ctx->args[2] : 0;

	if (may_be_followed(skb, NUMBER) && followed_at(skb))
		return 0;
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

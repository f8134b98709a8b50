/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The programs that follow packets by their address, for backends whose arguments have no type (untyped.h). They look
 * at a packet itself only where it may be selected, so no pointer is read before the table knows it, but for those of
 * gates.
 *
 * A function of its own, the slow path, handles what may concern a followed packet.
 */
#ifndef IPFT_FOLLOWING_H
#define IPFT_FOLLOWING_H

#include "program/untyped.h"
#include "track/lineage.h"

/* ftrace reads arguments in another way. */
#ifndef ARGUMENT_AS
#define ARGUMENT_AS(position, argument) ARGUMENT(position)
#endif

/* Of ordinary functions: returns whether there is nothing to do, before the packet is looked for. */
static __always_inline int is_idle(enum role role)
{
	return role == ORDINARY && !is_anything_followed();
}

static __always_inline int concerns(__u64 skb, enum role role)
{
	if (role == ORDINARY)
		return ipft_live_packets[slot_of_packet(skb, NUMBER)] || ipft_config.select_anywhere;
	return may_concern(skb, NUMBER, role);
}

#define SLOW(name, role)                                                                \
	static __noinline int trace_followed_##name(void *ctx, __u64 skb)               \
	{                                                                               \
		return trace(ctx, AS_PACKET(skb), KIND, role);                          \
	}

SLOW(ordinary, ORDINARY)
SLOW(teardown, TEARDOWN)
SLOW(release, RELEASE)
SLOW(free, FREE)
SLOW(gate, GATE)

/* As is_wanted() calls further functions, it is called before trace_followed_ordinary(), not by that. */
static __noinline int reach_ordinary(void *ctx, __u64 skb)
{
	if (ipft_config.select_anywhere && !is_wanted(skb))
		return UNTRACED;
	return trace_followed_ordinary(ctx, skb);
}

/* For functions that the user did not select. */
#define QUIET(name, role)                                                             \
	static __noinline int follow_silently_##name(void *ctx, __u64 skb)                 \
	{                                                                                  \
		__u32 processor = bpf_get_smp_processor_id();                              \
		__u64 now = bpf_ktime_get_ns();                                            \
		int selected = 0;                                                          \
		__u64 packet = entering(ctx, &ipft_cpus[processor & (IPFT_MAX_CPUS - 1)],  \
					processor, skb, now, role, &selected);             \
                                                                                           \
		if (selected)                                                              \
			follow_queued(ctx, skb, packet, now, this_function(ctx));          \
		return UNTRACED;                                                      \
	}

QUIET(release, RELEASE)
QUIET(free, FREE)
QUIET(gate, GATE)

#define MADE(name, making)                                                                \
	static __noinline int made_##name(void *ctx, __u64 child, __u64 parent)           \
	{                                                                                 \
		made(ctx, child, parent, making, this_function(ctx));                     \
		return UNTRACED;                                                          \
	}

#define JOINS(name)                                                         \
	static __noinline int join_##name(__u64 whole, __u64 part)          \
	{                                                                   \
		return joining_##name(whole, part);                         \
	}

JOINS(gro)
JOINS(coalesce)
JOINS(partial)
JOINS(queue)
JOINS(assemble)

MADE(copy, COPY)
MADE(fragment, FRAGMENT)

static __always_inline __u64 packet_in(__u64 value, enum argument argument)
{
	__u64 skb = argument == DOUBLE_POINTER ? pointed_to(value) : value;

	return argument != POINTER && IS_NO_SKB(skb) ? 0 : skb;
}

#define FOLLOW_ENTRY(name, position, argument, slow, role)                     \
	SEC(SECTION)                                                           \
	int ipft_##name(CONTEXT *ctx)                                          \
	{                                                                      \
		if (SESSION && session_is_return(ctx))                         \
			return session_return(ctx);                            \
		if (is_idle(role))                                             \
			return UNTRACED;                                       \
		__u64 skb = packet_in(ARGUMENT_AS(position, argument), argument);           \
		if (!skb || !concerns(skb, role))                              \
			return UNTRACED;                                       \
		return role == ORDINARY ? reach_ordinary(ctx, skb) : trace_followed_##slow(ctx, skb); \
	}

#define FOLLOW_SILENT(name, position, argument, slow, role)          \
	SEC(SECTION)                                                 \
	int ipft_silent_##name(CONTEXT *ctx)                         \
	{                                                            \
		__u64 skb = packet_in(ARGUMENT_AS(position, argument), argument); \
		if (skb && concerns(skb, role))                      \
			follow_silently_##slow(ctx, skb);            \
		return UNTRACED;                                     \
	}

/* The programs of a function that watch_NAME() looks at. `event`: the packet that it is entered with. */
#define WATCHED(name, event)                                        \
	SEC(SECTION)                                                \
	int ipft_silent_##name(CONTEXT *ctx)                        \
	{                                                           \
		watch_##name(ctx);                                  \
		return UNTRACED;                                    \
	}                                                           \
                                                                    \
	SEC(SECTION)                                                \
	int ipft_##name(CONTEXT *ctx)                               \
	{                                                           \
		if (SESSION && session_is_return(ctx))              \
			return session_return(ctx);                 \
		watch_##name(ctx);                                  \
		if (!concerns(ARGUMENT(event), ORDINARY))           \
			return UNTRACED;                            \
		return reach_ordinary(ctx, ARGUMENT(event));        \
	}

/* A function that makes a packet of another one, and is entered with one of them. */
#define FOLLOW_MAKER(name, child, parent, making)                                                         \
	static __always_inline void watch_##name(CONTEXT *ctx)                                            \
	{                                                                                                 \
		if (is_idle(ORDINARY))                                                                    \
			return;                                                                           \
		if (may_be_followed(ARGUMENT(parent), NUMBER) || may_be_followed(ARGUMENT(child), NUMBER)) \
			made_##making(ctx, ARGUMENT(child), ARGUMENT(parent));                            \
	}                                                                                                 \
                                                                                                          \
	WATCHED(name, parent)

/*
 * A function that may make a packet part of another one. Its packet is the second argument, what it joins is known by
 * the first one.
 */
#define FOLLOW_JOINER(name, packet, event, joining)                                 \
	static __always_inline void watch_##name(CONTEXT *ctx)                      \
	{                                                                           \
		if (is_idle(ORDINARY))                                              \
			return;                                                     \
		if (may_be_followed(ARGUMENT(packet), NUMBER))                      \
			join_##joining(ARGUMENT(0), ARGUMENT(packet));              \
	}                                                                           \
                                                                                    \
	WATCHED(name, event)

static __noinline int rebuilt_frame(void *ctx, __u64 child, __u64 frame)
{
	rebuilt(ctx, child, frame, this_function(ctx));
	return UNTRACED;
}

/*
 * A function that builds a packet around a frame. Its sk_buff is not filled yet, so there is no event of it. The packet
 * that the frame was may be the only one that was followed.
 */
#define FOLLOW_REBUILDER(name, frame, child)                                            \
	static __always_inline void watch_##name(CONTEXT *ctx)                          \
	{                                                                               \
		if (may_be_followed(ARGUMENT(child), NUMBER) || packet_of_head(ARGUMENT(frame))) \
			rebuilt_frame(ctx, ARGUMENT(child), ARGUMENT(frame));           \
	}                                                                               \
                                                                                        \
	SEC(SECTION)                                                                    \
	int ipft_silent_##name(CONTEXT *ctx)                                            \
	{                                                                               \
		watch_##name(ctx);                                                      \
		return UNTRACED;                                                        \
	}                                                                               \
                                                                                        \
	SEC(SECTION)                                                                    \
	int ipft_##name(CONTEXT *ctx)                                                   \
	{                                                                               \
		if (SESSION && session_is_return(ctx))                                  \
			return session_return(ctx);                                     \
		watch_##name(ctx);                                                      \
		return UNTRACED;                                                        \
	}

/* Functions of any place, which the attach cookie says. */
#ifdef EVERY_FUNCTION_HAS_A_PROGRAM
#define FOLLOW_SHARED
#else
#define SHARED(name)                                                \
	static __always_inline int shared_##name(CONTEXT *ctx);     \
                                                                    \
	SEC(SECTION)                                                \
	int ipft_##name(CONTEXT *ctx)                               \
	{                                                           \
		if (SESSION && session_is_return(ctx))              \
			return session_return(ctx);                 \
		return shared_##name(ctx);                          \
	}

#define FOLLOW_SHARED         \
	SHARED(any)           \
	SHARED(any_gate)      \
	SHARED(any_end)       \
	SHARED(any_maker)

/* Ordinary functions. */
static __always_inline int shared_any(CONTEXT *ctx)
{
	if (is_idle(ORDINARY))
		return UNTRACED;
	__u64 place = bpf_get_attach_cookie(ctx);
	__u64 skb = packet_in(argument_at(ctx, PLACE_POSITION(place)), PLACE_ARGUMENT(place));
	if (!skb || !concerns(skb, ORDINARY))
		return UNTRACED;
	return reach_ordinary(ctx, skb);
}

static __always_inline int shared_any_gate(CONTEXT *ctx)
{
	__u64 place = bpf_get_attach_cookie(ctx);
	__u64 skb = packet_in(argument_at(ctx, PLACE_POSITION(place)), PLACE_ARGUMENT(place));
	if (!skb || !concerns(skb, GATE))
		return UNTRACED;
	if (PLACE_SILENT(place))
		return follow_silently_gate(ctx, skb);
	return trace_followed_gate(ctx, skb);
}

/* Teardown, release and free. A packet that was released is not followed any more, so there is no idle time. */
static __always_inline int shared_any_end(CONTEXT *ctx)
{
	__u64 place = bpf_get_attach_cookie(ctx);
	__u64 skb = argument_at(ctx, PLACE_POSITION(place));

	switch (PLACE_ROLE(place)) {
	case TEARDOWN:
		return skb && concerns(skb, TEARDOWN) ? trace_followed_teardown(ctx, skb) : UNTRACED;
	case RELEASE:
		if (!skb || !concerns(skb, RELEASE))
			return UNTRACED;
		return PLACE_SILENT(place) ? follow_silently_release(ctx, skb) : trace_followed_release(ctx, skb);
	case FREE:
		if (!skb || !concerns(skb, FREE))
			return UNTRACED;
		return PLACE_SILENT(place) ? follow_silently_free(ctx, skb) : trace_followed_free(ctx, skb);
	default:
		return UNTRACED;
	}
}

/* Functions that make a packet out of another one, or part of another one. */
static __always_inline int shared_any_maker(CONTEXT *ctx)
{
	if (is_idle(ORDINARY))
		return UNTRACED;
	__u64 place = bpf_get_attach_cookie(ctx);
	__u64 first = argument_at(ctx, 0), second = argument_at(ctx, 1);
	int is_first = may_be_followed(first, NUMBER), is_second = may_be_followed(second, NUMBER);

	switch (PLACE_MAKER(place)) {
	case IPFT_MAKER_COPY:
		if (is_first || is_second)
			made_copy(ctx, first, second);
		break;
	case IPFT_MAKER_FRAGMENT:
		if (is_first || is_second)
			made_fragment(ctx, first, second);
		break;
	case IPFT_MAKER_SPLIT:
		if (is_first || is_second)
			made_copy(ctx, second, first);
		break;
	case IPFT_MAKER_GRO:
		if (is_second)
			join_gro(first, second);
		break;
	case IPFT_MAKER_COALESCE:
		if (is_second)
			join_coalesce(first, second);
		break;
	case IPFT_MAKER_PARTIAL:
		if (is_first)
			join_partial(first, first);
		break;
	case IPFT_MAKER_QUEUE:
		if (is_second)
			join_queue(first, second);
		break;
	case IPFT_MAKER_ASSEMBLE:
		if (is_second)
			join_assemble(first, second);
		break;
	}
	__u64 skb = PLACE_POSITION(place) ? second : first;

	if (PLACE_SILENT(place) || !concerns(skb, ORDINARY))
		return UNTRACED;
	return reach_ordinary(ctx, skb);
}
#endif

#define FOLLOW_PLACES(position)                                                        \
	FOLLOW_ENTRY(pointer_##position, position, POINTER, ordinary, ORDINARY)        \
	FOLLOW_ENTRY(double_##position, position, DOUBLE_POINTER, ordinary, ORDINARY)  \
	FOLLOW_ENTRY(unsure_##position, position, UNSURE, ordinary, ORDINARY)

#define FOLLOW_GATES(position)                                      \
	FOLLOW_ENTRY(gate_##position, position, POINTER, gate, GATE) \
	FOLLOW_SILENT(gate_##position, position, POINTER, gate, GATE)

#define FOLLOWING_PROGRAMS                                                \
	FOLLOW_PLACES(0)                                                  \
	FOLLOW_PLACES(1)                                                  \
	FOLLOW_PLACES(2)                                                  \
	FOLLOW_PLACES(3)                                                  \
	FOLLOW_PLACES(4)                                                  \
	FOLLOW_PLACES(5)                                                  \
	FOLLOW_ENTRY(teardown_0, 0, POINTER, teardown, TEARDOWN)          \
	FOLLOW_ENTRY(release_0, 0, POINTER, release, RELEASE)             \
	FOLLOW_ENTRY(release_1, 1, POINTER, release, RELEASE)             \
	FOLLOW_ENTRY(free_0, 0, POINTER, free, FREE)                      \
	FOLLOW_SILENT(release_0, 0, POINTER, release, RELEASE)            \
	FOLLOW_SILENT(release_1, 1, POINTER, release, RELEASE)            \
	FOLLOW_SILENT(free_0, 0, POINTER, free, FREE)                     \
	FOLLOW_GATES(0)                                                   \
	FOLLOW_GATES(1)                                                   \
	FOLLOW_GATES(2)                                                   \
	FOLLOW_ENTRY(gate_double_0, 0, DOUBLE_POINTER, gate, GATE)        \
	FOLLOW_SILENT(gate_double_0, 0, DOUBLE_POINTER, gate, GATE)       \
	FOLLOW_MAKER(copy_1, 0, 1, copy)                                  \
	FOLLOW_MAKER(fragment_1, 0, 1, fragment)                          \
	FOLLOW_MAKER(split_0, 1, 0, copy)                                 \
	FOLLOW_REBUILDER(rebuilt_1, 0, 1)                                 \
	FOLLOW_JOINER(gro_0, 1, 0, gro)                                   \
	FOLLOW_JOINER(coalesce_0, 1, 0, coalesce)                         \
	FOLLOW_JOINER(partial_0, 0, 0, partial)                           \
	FOLLOW_JOINER(queue_1, 1, 1, queue)                               \
	FOLLOW_JOINER(assemble_1, 1, 1, assemble)                         \
	FOLLOW_SHARED

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * For programs that serve many functions at once and so get arguments without a type: how they read the mark, tell a
 * packet from rubbish, and use a session. The .bpf.c files define this_function(), frame_of(), UNTRACED (what a program
 * returns for a call that is not traced), CONTEXT, SECTION and ARGUMENT(position) before this. They are compiled
 * twice: with SESSION 1, one program serves entry and return. They may define PACKET(position), the packet where the
 * argument is a plain pointer to it, as a pointer with a type.
 *
 * There is one program for each place where the packet often is: which argument (0 to 5, the registers of the calling
 * convention) and what the argument is. The place is known when a function is attached, so a program that had to look
 * it up per packet would waste time. But every program needs a link, whose release takes the kernel a grace period. So
 * functions of the other places share programs that look the place up: ipft_any and its like.
 */
#ifndef IPFT_UNTYPED_H
#define IPFT_UNTYPED_H

#include "arch/x86_64.h"
#include "core/calls.h"
#include "filter/admit.h"

/* From 6.10 these take no argument, from 7.0 the context (fsession needed it); libbpf takes the one that fits. */
extern _Bool bpf_session_is_return(void) __ksym __weak;
extern __u64 *bpf_session_cookie(void) __ksym __weak;
extern _Bool bpf_session_is_return___ctx(void *ctx) __ksym __weak;
extern __u64 *bpf_session_cookie___ctx(void *ctx) __ksym __weak;

static __always_inline int session_is_return(void *ctx)
{
	if (bpf_ksym_exists(bpf_session_is_return___ctx))
		return bpf_session_is_return___ctx(ctx);
	return bpf_session_is_return();
}

static __always_inline __u64 *session_cookie(void *ctx)
{
	if (bpf_ksym_exists(bpf_session_cookie___ctx))
		return bpf_session_cookie___ctx(ctx);
	return bpf_session_cookie();
}

#if READS == BY_HELPER && !FOLLOW
/* Its own function keeps its stack out of the others. */
static __noinline __u32 mark_read(__u64 skb)
{
	struct sk_buff *untyped = (void *)skb;
	__u32 mark = 0;

	bpf_probe_read_kernel(&mark, sizeof(mark), &untyped->mark);
	return mark;
}
#endif

enum argument {
	POINTER,	/* struct sk_buff * */
	DOUBLE_POINTER, /* struct sk_buff ** */
	UNSURE,		/* struct sk_buff * if the compiler left the argument where the prototype has it */
};

/* Handles the return of a call in a session. If the kernel cannot skip the returns of others, their cookie is zero. */
static __noinline int session_return(void *ctx)
{
	__u64 packet = *session_cookie(ctx);

	if (packet)
		leave(ctx, packet, this_function(ctx));
	return 0;
}

static __always_inline int trace(void *ctx, __u64 skb, enum pointer pointer, enum role role)
{
	__u64 function = this_function(ctx);
	__u64 packet = enter(ctx, skb, pointer, function, role);

	if (!packet)
		return UNTRACED;
	/* A session without returns is an entry probe. */
	if (SESSION && !ipft_config.remember_calls)
		return UNTRACED;
	if (SESSION)
		*session_cookie(ctx) = packet;
	else if (ipft_config.remember_calls)
		open_call(frame_of(ctx), packet, function);
	return 0;
}

#if READS == BY_HELPER
#define KIND NUMBER
#define AS_PACKET(skb) (skb)
#define MARK_OF(packet) mark_read(packet)
#else
#define KIND TYPED
#define AS_PACKET(skb) ((__u64)bpf_rdonly_cast((void *)(skb), bpf_core_type_id_kernel(struct sk_buff)))
#define MARK_OF(packet) (((struct sk_buff *)(packet))->mark)
#endif

/* A mechanism may have a quicker way. */
#ifndef PACKET
#define PACKET(position) AS_PACKET(ARGUMENT(position))
#endif

/* What the attach cookie of programs that functions share says of one, above an index (program_key.rs). */
#define PLACE_POSITION(cookie) ((cookie) >> 32 & 7)
#define PLACE_ARGUMENT(cookie) ((enum argument)((cookie) >> 36 & 3))
#define PLACE_ROLE(cookie) ((enum role)((cookie) >> 40 & 3))
#define PLACE_SILENT(cookie) ((cookie) >> 44 & 1)
#define PLACE_MAKER(cookie) ((enum ipft_maker)((cookie) >> 48 & 15))

/* The compiler must not merge the loads: the verifier allows none whose place in the context is not constant. */
#define ARGUMENT_AT(position)                           \
	case position: {                                \
		__u64 value = ARGUMENT(position);       \
		asm volatile("" : "+r"(value));         \
		return value;                           \
	}

static __always_inline __u64 argument_at(CONTEXT *ctx, __u32 position)
{
	switch (position) {
		ARGUMENT_AT(0)
		ARGUMENT_AT(1)
		ARGUMENT_AT(2)
		ARGUMENT_AT(3)
		ARGUMENT_AT(4)
		ARGUMENT_AT(5)
	}
	return 0;
}

/* Its own function keeps its stack out of the fast path. */
static __noinline __u64 pointed_to(__u64 address)
{
	__u64 skb = 0;

	bpf_probe_read_kernel(&skb, sizeof(skb), (void *)address);
	return skb;
}

#if !FOLLOW

#define TRACE(name, role)                                         \
	static __noinline int name(void *ctx, __u64 packet)       \
	{                                                         \
		return trace(ctx, packet, KIND, role);            \
	}

TRACE(trace_ordinary, ORDINARY)
TRACE(trace_teardown, TEARDOWN)
TRACE(trace_release, RELEASE)
TRACE(trace_free, FREE)

/* One for all roles, for programs that many functions share: the larger a program, the longer its loading takes. */
static __noinline int trace_any(void *ctx, __u64 packet, enum role role)
{
	return trace(ctx, packet, KIND, role);
}

/* `packet` is what a cast returned, so that the argument needs no register that outlives the call. */
static __always_inline int judge(void *ctx, __u64 packet, enum role role)
{
	if (!admit(packet, KIND, MARK_OF(packet), role))
		return UNTRACED;
	switch (role) {
	case ORDINARY:
		return trace_ordinary(ctx, packet);
	case TEARDOWN:
		return trace_teardown(ctx, packet);
	case RELEASE:
		return trace_release(ctx, packet);
	case FREE:
		return trace_free(ctx, packet);
	}
	return UNTRACED;
}

/* Defines the programs. */
#define PROGRAM(name)                                                            \
	SEC(SECTION)                                                             \
	int ipft_##name(CONTEXT *ctx)

#define ENTRY(name, position, role)                                              \
	PROGRAM(name)                                                            \
	{                                                                        \
		if (SESSION && session_is_return(ctx))                           \
			return session_return(ctx);                              \
		return judge(ctx, PACKET(position), role);                       \
	}

#define ENTRY_DOUBLE(name, position)                                             \
	PROGRAM(name)                                                            \
	{                                                                        \
		if (SESSION && session_is_return(ctx))                           \
			return session_return(ctx);                              \
		__u64 skb = 0;                                                   \
		bpf_probe_read_kernel(&skb, sizeof(skb), (void *)ARGUMENT(position)); \
		if (IS_NO_SKB(skb))                                              \
			return UNTRACED;                                         \
		return judge(ctx, AS_PACKET(skb), ORDINARY);                     \
	}

#define ENTRY_UNSURE(name, position)                                             \
	PROGRAM(name)                                                            \
	{                                                                        \
		if (SESSION && session_is_return(ctx))                           \
			return session_return(ctx);                              \
		__u64 skb = ARGUMENT(position);                                  \
		if (IS_NO_SKB(skb))                                              \
			return UNTRACED;                                         \
		return judge(ctx, AS_PACKET(skb), ORDINARY);                     \
	}

/* Functions that identity needs although the user did not select them. */
#define SILENT(name, position, role)                                             \
	PROGRAM(name)                                                            \
	{                                                                        \
		forget(ARGUMENT(position), NUMBER, role);                                \
		return UNTRACED;                                                         \
	}

/* Functions of any place. */
static __always_inline int probe_any(CONTEXT *ctx)
{
	if (SESSION && session_is_return(ctx))
		return session_return(ctx);
	__u64 place = bpf_get_attach_cookie(ctx);
	__u64 skb = argument_at(ctx, PLACE_POSITION(place));
	enum argument argument = PLACE_ARGUMENT(place);
	enum role role = PLACE_ROLE(place);

	if (PLACE_SILENT(place)) {
		forget(skb, NUMBER, role);
		return UNTRACED;
	}
	if (argument == DOUBLE_POINTER)
		skb = pointed_to(skb);
	if (argument != POINTER && IS_NO_SKB(skb))
		return UNTRACED;

	__u64 packet = AS_PACKET(skb);
	if (!admit(packet, KIND, MARK_OF(packet), role))
		return UNTRACED;
	return trace_any(ctx, packet, role);
}

/* The end of a packet that is not traced (any more). */
static __noinline int end_untraced(CONTEXT *ctx, __u64 packet)
{
	enum role role = PLACE_ROLE(bpf_get_attach_cookie(ctx));

	if (role == RELEASE || role == FREE)
		forget(packet, KIND, role);
	return UNTRACED;
}

static __noinline int end_matching(CONTEXT *ctx, __u64 packet)
{
	__u64 place = bpf_get_attach_cookie(ctx);

	if (PLACE_SILENT(place))
		return end_untraced(ctx, packet);
	return trace_any(ctx, packet, PLACE_ROLE(place));
}

/*
 * Functions that play a part in a packet's life, with the packet as first argument. Every packet passes some of them,
 * so the cookie, for which the kernel searches, is only read if something is to be done.
 */
static __always_inline int probe_end(CONTEXT *ctx)
{
	if (SESSION && session_is_return(ctx))
		return session_return(ctx);
	__u64 packet = PACKET(0);

	if (RARELY(mark_matches(MARK_OF(packet))))
		return end_matching(ctx, packet);
	if (RARELY(ipft_live_packets[slot_of_packet(packet, KIND)]))
		return end_untraced(ctx, packet);
	return UNTRACED;
}

/* Programs of backends whose links have cookies. */
#define SHARED_PROGRAMS                       \
	SEC(SECTION)                          \
	int ipft_any(CONTEXT *ctx)            \
	{                                     \
		return probe_any(ctx);        \
	}                                     \
	SEC(SECTION)                          \
	int ipft_end(CONTEXT *ctx)            \
	{                                     \
		return probe_end(ctx);        \
	}

#define ALL_PROGRAMS                                  \
	ENTRY(pointer_0, 0, ORDINARY)                 \
	ENTRY(pointer_1, 1, ORDINARY)                 \
	ENTRY(pointer_2, 2, ORDINARY)                 \
	ENTRY(pointer_3, 3, ORDINARY)                 \
	ENTRY(pointer_4, 4, ORDINARY)                 \
	ENTRY(pointer_5, 5, ORDINARY)                 \
	ENTRY_DOUBLE(double_0, 0)                     \
	ENTRY_DOUBLE(double_1, 1)                     \
	ENTRY_DOUBLE(double_2, 2)                     \
	ENTRY_DOUBLE(double_3, 3)                     \
	ENTRY_DOUBLE(double_4, 4)                     \
	ENTRY_DOUBLE(double_5, 5)                     \
	ENTRY_UNSURE(unsure_0, 0)                     \
	ENTRY_UNSURE(unsure_1, 1)                     \
	ENTRY_UNSURE(unsure_2, 2)                     \
	ENTRY_UNSURE(unsure_3, 3)                     \
	ENTRY_UNSURE(unsure_4, 4)                     \
	ENTRY_UNSURE(unsure_5, 5)                     \
	ENTRY(teardown_0, 0, TEARDOWN)                \
	ENTRY(release_0, 0, RELEASE)                  \
	ENTRY(release_1, 1, RELEASE)                  \
	ENTRY(free_0, 0, FREE)                        \
	SILENT(silent_release_0, 0, RELEASE)          \
	SILENT(silent_release_1, 1, RELEASE)          \
	SILENT(silent_free_0, 0, FREE)

#endif

#endif

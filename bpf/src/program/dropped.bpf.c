// SPDX-License-Identifier: GPL-2.0-only
/*
 * The program of the tracepoint skb:kfree_skb, for traces that follow packets: the kernel drops a packet. It shares the
 * maps of the programs of functions.
 *
 * Raw tracepoints run also where the kernel skips a kprobe's program because another one is running on the CPU.
 */
#include "track/ended.h"

char LICENSE[] SEC("license") = "GPL";

/* Arguments: the packet; where it was freed; from 5.17 on the reason. More than there are may not be read. */
SEC("?raw_tp/kfree_skb")
int ipft_dropped(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 skb = ctx->args[0];

	if (may_be_followed(skb, NUMBER))
		drop(ctx, skb, ipft_config.drops_have_reason ? ctx->args[2] : 0, ctx->args[1]);
	return 0;
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * The licence of programs with an extension that does not say its own: the linker accepts two only if they are the same
 * text.
 */
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

char ipft_license[] SEC("license") = "GPL";

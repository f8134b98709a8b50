/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What an extension in C may include on a machine that has clang and nothing else. The build script asks the compiler
 * which files these lines bring in, and those files travel in the binary.
 */
#include <linux/types.h>
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_endian.h>

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The built-in fields of connection tracking: what `skb->_nfct` says. May include field/read.h and field/tuple.h.
 *
 * The word is the address of a struct nf_conn, with what the packet is to the connection in its three lowest bits; those
 * are also set, without an address, on a packet that is not to be tracked (include/linux/skbuff.h). The struct is part
 * of vmlinux's BTF, although most kernels have connection tracking as a module: the packet filter's code uses it.
 *
 * NAT is a difference between the two tuples of a connection: the reply is sent to where the packets seem to come from,
 * and comes from where they are sent to. So they are inverted here.
 */
#ifndef IPFT_FIELD_CT_H
#define IPFT_FIELD_CT_H

#include "field/read.h"
#include "field/tuple.h"

#define CT_INFO 7ull /* bits of _nfct; NFCT_INFOMASK */
#define CT_UNTRACKED 7 /* enum ip_conntrack_info */
#define CT_NAT 0x30 /* of the status: IPS_NAT_MASK */
#define FAMILY_IPV4 2 /* AF_INET */

struct sk_buff___tracked {
	__u64 _nfct;
} __attribute__((preserve_access_index));

struct nf_conntrack_tuple {
	struct {
		__u8 protonum;
	} dst;
} __attribute__((preserve_access_index));

struct nf_conntrack_tuple_hash {
	struct nf_conntrack_tuple tuple;
} __attribute__((preserve_access_index));

struct nf_conntrack_zone {
	__u16 id;
} __attribute__((preserve_access_index));

struct nf_conn {
	struct nf_conntrack_zone zone;
	struct nf_conntrack_tuple_hash tuplehash[2];
	__u64 status;
	__u32 mark;
} __attribute__((preserve_access_index));

/* A tuple as it lies in the kernel (include/net/netfilter/nf_conntrack_tuple.h). */
struct tracked_tuple {
	__u32 saddr[4];
	__u16 sport; /* of ICMP: the identifier of an echo */
	__u16 family;
	__u32 daddr[4];
	__u16 dport; /* of ICMP: type and code */
	__u8 proto;
	__u8 direction;
};

/* Returns whether the kernel lays a tuple out so; known when the program is loaded. */
static __always_inline int has_tracked_tuple(void)
{
	return bpf_core_field_exists(((struct sk_buff___tracked *)0)->_nfct) &&
	       bpf_core_field_exists(((struct nf_conn *)0)->status) &&
	       bpf_core_type_size(struct nf_conntrack_tuple) == sizeof(struct tracked_tuple) &&
	       bpf_core_field_offset(struct nf_conntrack_tuple, dst.protonum) ==
		       __builtin_offsetof(struct tracked_tuple, proto);
}

static __always_inline void put_tracked_address(__u8 *to, const __u32 *address, __u32 family)
{
	__u64 *words = (__u64 *)to;

	if (family == FAMILY_IPV4) {
		map_address(to, address[0]);
	} else {
		words[0] = address[0] | (__u64)address[1] << 32;
		words[1] = address[2] | (__u64)address[3] << 32;
	}
}

static __always_inline int is_icmp(__u8 proto)
{
	return proto == NEXT_ICMP || proto == NEXT_ICMPV6;
}

/*
 * Reads four bytes of a member of the connection at an address. By offsets alone: the kernel has a nf_conn___init, too, so
 * what asks for the type itself finds two.
 */
#define READ_CONNECTION(to, address, member)                                                             \
	do {                                                                                             \
		__u64 word = 0;                                                                          \
                                                                                                         \
		if (bpf_core_field_exists(((struct nf_conn *)0)->member) &&                              \
		    !read_bytes(&word, 4, (address) + bpf_core_field_offset(struct nf_conn, member))) \
			(to) = word;                                                                     \
	} while (0)

/* Copies what is known of the connection at an address, apart from the packet's state. A function of its own for its stack. */
static OUT_OF_LINE int fill_connection(struct ipft_ct *ct, __u64 address)
{
	__u64 words[sizeof(struct tracked_tuple) / 8] = {};
	struct tracked_tuple *tuple = (void *)words;
	__u64 original = address + bpf_core_field_offset(struct nf_conn, tuplehash) +
			 bpf_core_field_offset(struct nf_conntrack_tuple_hash, tuple);
	__u32 status = 0;

	READ_CONNECTION(status, address, status);
	READ_CONNECTION(ct->ct_mark, address, mark);
	READ_CONNECTION(ct->ct_zone, address, zone.id);
	ct->ct_status = status;
	if (read_bytes(words, sizeof(*tuple), original))
		return 0;
	ct->ct_proto = tuple->proto;
	put_tracked_address(ct->ct_saddr, tuple->saddr, tuple->family);
	put_tracked_address(ct->ct_daddr, tuple->daddr, tuple->family);
	*(__u16 *)ct->ct_sport = tuple->sport;
	if (!is_icmp(tuple->proto))
		*(__u16 *)ct->ct_dport = tuple->dport;
	if (!(status & CT_NAT) || read_bytes(words, sizeof(*tuple), original + bpf_core_type_size(struct nf_conntrack_tuple_hash)))
		return 0;
	put_tracked_address(ct->ct_nat_saddr, tuple->daddr, tuple->family);
	put_tracked_address(ct->ct_nat_daddr, tuple->saddr, tuple->family);
	if (is_icmp(tuple->proto)) {
		/* Both directions have the identifier there. */
		*(__u16 *)ct->ct_nat_sport = tuple->sport;
	} else {
		*(__u16 *)ct->ct_nat_sport = tuple->dport;
		*(__u16 *)ct->ct_nat_dport = tuple->sport;
	}
	return 0;
}

static __always_inline void fill_ct(void *to, struct sk_buff *skb, int directly)
{
	struct sk_buff___tracked *tracked = (void *)skb;
	struct ipft_ct *ct = to;
	__u64 word = 0;

	__builtin_memset(ct, 0, sizeof(*ct));
	if (!has_tracked_tuple())
		return;
	READ_FIELD(&word, tracked, _nfct, directly);
	__u32 info = word & CT_INFO;

	if (word & ~CT_INFO) {
		ct->ct_state = info + 1;
		fill_connection(ct, word & ~CT_INFO);
	} else if (info == CT_UNTRACKED) {
		ct->ct_state = CT_UNTRACKED + 1;
	}
}

#endif

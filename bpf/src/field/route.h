/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The built-in fields of the route that was found for a packet: what `skb->_skb_refdst` leads to. May include
 * field/device.h and field/tuple.h.
 *
 * The word is the address of a struct dst_entry, and in its lowest bit whether it is counted (SKB_DST_NOREF in
 * include/linux/skbuff.h). It shares its memory with a list while a packet is in the queue of TCP (tcp_tsorted_anchor),
 * so that what it leads to is a route only if its device is one. The family says what is around the dst_entry: a struct
 * rtable or a struct rt6_info, also if a policy of IPsec lies over it (struct xfrm_dst), or neither if it only has the
 * metadata of a tunnel (dst_blackhole_ops in net/core/dst.c).
 */
#ifndef IPFT_FIELD_ROUTE_H
#define IPFT_FIELD_ROUTE_H

#include "field/device.h"
#include "field/tuple.h"

#define ROUTE_NOT_COUNTED 1ull
#define ROUTE_IPV4 2  /* AF_INET */
#define ROUTE_IPV6 10 /* AF_INET6 */

/* RTN_* (include/uapi/linux/rtnetlink.h). */
#define ROUTE_UNICAST 1
#define ROUTE_LOCAL 2
#define ROUTE_ANYCAST 4
#define ROUTE_MULTICAST 5
#define ROUTE_BLACKHOLE 6
#define ROUTE_UNREACHABLE 7
#define ROUTE_PROHIBIT 8

/* Errors that a route answers with. */
#define ERROR_ACCES 13
#define ERROR_INVAL 22
#define ERROR_NETUNREACH 101

/* RTF_* (include/uapi/linux/ipv6_route.h, route.h). */
#define ROUTE6_GATEWAY 0x2
#define ROUTE6_ANYCAST 0x00100000
#define ROUTE6_LOCAL 0x80000000

struct dst_ops {
	__u16 family;
} __attribute__((preserve_access_index));

struct dst_entry {
	struct net_device *dev;
	struct dst_ops *ops;
	__s16 error;
} __attribute__((preserve_access_index));

struct in6_addr {
	struct {
		__u8 u6_addr8[16];
	} in6_u;
} __attribute__((preserve_access_index));

struct rtable {
	__u16 rt_type;
	__u8 rt_gw_family;
	__be32 rt_gw4;
	struct in6_addr rt_gw6;
} __attribute__((preserve_access_index));

struct fib6_table {
	__u32 tb6_id;
} __attribute__((preserve_access_index));

struct fib6_info {
	struct fib6_table *fib6_table;
} __attribute__((preserve_access_index));

struct rt6key {
	struct in6_addr addr;
} __attribute__((preserve_access_index));

struct rt6_info {
	struct fib6_info *from;
	struct rt6key rt6i_dst;
	struct in6_addr rt6i_gateway;
	__u32 rt6i_flags;
} __attribute__((preserve_access_index));

struct sk_buff___routed {
	__u64 _skb_refdst;
} __attribute__((preserve_access_index));

/* A pointer from a number, whose members LOAD() reads. */
#if READS == BY_LOADS
#define TYPED_AT(type, address) ((type *)bpf_rdonly_cast((void *)(address), bpf_core_type_id_kernel(type)))
#else
#define TYPED_AT(type, address) ((type *)(address))
#endif

/* What a route that answers with an error says. Those of IPv6 are negative. */
static __always_inline __u32 type_of_error(__s16 error)
{
	switch (error < 0 ? -error : error) {
	case ERROR_INVAL:
		return ROUTE_BLACKHOLE;
	case ERROR_ACCES:
		return ROUTE_PROHIBIT;
	case ERROR_NETUNREACH:
		return IPFT_NO_ROUTE;
	default:
		return ROUTE_UNREACHABLE;
	}
}

static __always_inline void fill_route_ipv4(struct ipft_route *route, __u64 address)
{
	struct rtable *rtable = TYPED_AT(struct rtable, address);
	__u8 family = LOAD(rtable, rt_gw_family);

	route->route_type = LOAD(rtable, rt_type);
	if (family == ROUTE_IPV4)
		map_address(route->route_gateway, LOAD(rtable, rt_gw4));
	else if (family == ROUTE_IPV6)
		read_bytes((__u64 *)route->route_gateway, sizeof(route->route_gateway),
			   address + bpf_core_field_offset(struct rtable, rt_gw6));
}

static __always_inline void fill_route_ipv6(struct ipft_route *route, __u64 address)
{
	struct rt6_info *info = TYPED_AT(struct rt6_info, address);
	__u32 flags = LOAD(info, rt6i_flags);
	struct fib6_info *from = LOAD(info, from);
	__u64 start = 0;

	if (flags & ROUTE6_LOCAL) {
		route->route_type = ROUTE_LOCAL;
	} else if (flags & ROUTE6_ANYCAST) {
		route->route_type = ROUTE_ANYCAST;
	} else {
		/* Before 5.11, the type of the entry for ff00::/8 does not say it. */
		read_bytes(&start, sizeof(start), address + bpf_core_field_offset(struct rt6_info, rt6i_dst.addr));
		route->route_type = (start & 0xff) == 0xff ? ROUTE_MULTICAST : ROUTE_UNICAST;
	}
	if (flags & ROUTE6_GATEWAY)
		read_bytes((__u64 *)route->route_gateway, sizeof(route->route_gateway),
			   address + bpf_core_field_offset(struct rt6_info, rt6i_gateway));
	if (from) {
		struct fib6_table *table = LOAD(from, fib6_table);

		if (table)
			route->route_table = LOAD(table, tb6_id);
	}
}

/* Copies what is at an address if that is a route. A function of its own for packets that have none. */
static OUT_OF_LINE int fill_routed(struct ipft_route *route, __u64 address)
{
	struct dst_entry *dst = TYPED_AT(struct dst_entry, address);
	struct net_device *dev = LOAD(dst, dev);
	__u64 *name = (__u64 *)route->route_dev;

	if (!dev || !namespace_of_device(dev, READS == BY_LOADS))
		return 0;
	struct dst_ops *ops = LOAD(dst, ops);
	__u16 family = LOAD(ops, family);

	if (family == ROUTE_IPV4)
		fill_route_ipv4(route, address);
	else if (family == ROUTE_IPV6)
		fill_route_ipv6(route, address);
	else
		return 0;
	__s16 error = LOAD(dst, error);

	if (error) {
		/* Its device is that of no packet. */
		route->route_type = type_of_error(error);
		return 0;
	}
#if READS == BY_LOADS
	__u64 *from = (__u64 *)dev->name;

	name[0] = from[0];
	name[1] = from[1];
#else
	bpf_probe_read_kernel(name, sizeof(route->route_dev), dev->name);
#endif
	return 0;
}

static __always_inline void fill_route(void *to, struct sk_buff *skb, int directly)
{
	struct sk_buff___routed *routed = (void *)skb;
	struct ipft_route *route = to;
	__u64 word = 0;

	__builtin_memset(route, 0, sizeof(*route));
	READ_FIELD(&word, routed, _skb_refdst, directly);
	word &= ~ROUTE_NOT_COUNTED;
	if (word)
		fill_routed(route, word);
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Numbers of protocols, and sizes and members of their headers. May include core/kernel.h.
 */
#ifndef IPFT_FIELD_PROTOCOL_H
#define IPFT_FIELD_PROTOCOL_H

#include "core/kernel.h"

#define HEADER_IPV4 20 /* without options */
#define HEADER_IPV6 40
#define HEADER_ARP 28 /* of Ethernet and IPv4 */
#define HEADER_UDP 8
#define HEADER_GRE 4 /* without options */
#define HEADER_VXLAN 8
#define HEADER_GENEVE 8 /* without options */

/* Types of Ethernet; kernel.h has those of IP. */
#define PROTOCOL_ARP 0x0806
#define PROTOCOL_VLAN 0x8100
#define PROTOCOL_VLAN_OUTER 0x88a8
#define PROTOCOL_BRIDGED 0x6558 /* Ethernet in GRE and Geneve */

/* What IP carries. */
#define NEXT_ICMP 1
#define NEXT_IPIP 4
#define NEXT_TCP 6
#define NEXT_UDP 17
#define NEXT_IPV6 41
#define NEXT_FRAGMENT 44
#define NEXT_GRE 47
#define NEXT_ESP 50
#define NEXT_ICMPV6 58
#define NEXT_SCTP 132

#define FRAGMENT_OFFSET 0x1fff
#define MORE_FRAGMENTS 0x2000

#define ECHO_REPLY 0
#define ECHO_REQUEST 8
#define ECHO6_REQUEST 128
#define ECHO6_REPLY 129

#define VXLAN_PORT 4789
#define VXLAN_HAS_NUMBER 0x08
#define GENEVE_PORT 6081
#define GENEVE_VERSION 0xc0
#define GENEVE_OPTIONS 0x3f /* in words */
#define GRE_CHECKSUM 0x80
#define GRE_ROUTING 0x40
#define GRE_KEY 0x20
#define GRE_SEQUENCE 0x10
#define GRE_VERSION 0x07

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The built-in fields `iface` and `ifindex`: the device that the packet is of at the moment. May include field/device.h.
 */
#ifndef IPFT_FIELD_IFACE_H
#define IPFT_FIELD_IFACE_H

#include "field/device.h"

static __always_inline void fill_iface(void *to, struct sk_buff *skb, const struct device *device, int directly)
{
	struct ipft_iface *iface = to;
	struct net_device *dev = device->dev;
	__u64 *name = (__u64 *)iface->iface;

	name[0] = 0;
	name[1] = 0;
	iface->ifindex = 0;
	if (!dev)
		return;
	if (directly) {
		__u64 *from = (__u64 *)dev->name;

		name[0] = from[0];
		name[1] = from[1];
		iface->ifindex = dev->ifindex;
	} else {
		bpf_probe_read_kernel(iface->iface, sizeof(iface->iface), dev->name);
		bpf_probe_read_kernel(&iface->ifindex, sizeof(iface->ifindex), &dev->ifindex);
	}
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether a packet that is not followed yet is selected here: it has the mark, it is where it is wanted, the filter
 * matches, it is of the process and the control group, and the expression holds. May include admit.h, match.h and the
 * headers of fields.
 */
#ifndef IPFT_SELECT_H
#define IPFT_SELECT_H

#include "filter/admit.h"
#include "field/device.h"
#include "field/socket.h"
#include "field/task.h"
#include "field/tuple.h"
#include "filter/match.h"

/* Returns whether the packet is at the device and in the network namespace that are wanted. */
static __always_inline int is_at_place(struct sk_buff *held)
{
	const volatile struct ipft_place *place = &ipft_config.place;
	int directly = READS == BY_LOADS;
	struct device device = device_of(held, directly);
	struct net_device *dev = device.dev;
	__u32 inum = device.inum;

	if (place->netns) {
		if (!inum) {
			struct sock *sk = LOAD(held, sk);

			inum = sk ? namespace_of_socket(sk, directly) : 0;
		}
		if (inum != place->netns)
			return 0;
	}
	if (place->mask[0] | place->mask[1]) {
		__u64 name[2] = {};

		if (!dev)
			return 0;
		if (directly) {
			name[0] = ((__u64 *)dev->name)[0];
			name[1] = ((__u64 *)dev->name)[1];
		} else {
			bpf_probe_read_kernel(name, sizeof(name), dev->name);
		}
		if ((name[0] & place->mask[0]) != place->name[0] || (name[1] & place->mask[1]) != place->name[1] ||
		    !(name[0] & place->present[0]) != !place->present[0] || !(name[1] & place->present[1]) != !place->present[1])
			return 0;
	}
	return 1;
}

/* Packets of flows that are left out, each time that one of them passes a gate. */
__u64 ipft_left_out SEC(".bss.left_out");

/*
 * Returns whether the packet's flow is one of those that are selected, one of `sample`. Both directions of a flow are,
 * and all fragments of a packet, as fragments count without ports.
 */
static __noinline int is_of_sample(__u64 skb)
{
	struct ipft_tuple tuple;
	__u64 *addresses = (void *)&tuple;
	__u32 ports;

	fill_tuple(&tuple, PACKET_AT(skb), READS == BY_LOADS);
	ports = tuple.frag & (MORE_FRAGMENTS | FRAGMENT_OFFSET) ? 0 : *(__u16 *)tuple.sport ^ *(__u16 *)tuple.dport;
	__u64 flow = addresses[0] ^ addresses[1] ^ addresses[2] ^ addresses[3];
	__u64 hash = (flow ^ (__u64)ports << 16 ^ (__u64)tuple.ethertype << 32 ^ tuple.proto) * 0x9e3779b97f4a7c15ull;
	if (hash && (hash >> 32) * ipft_config.place.sample >> 32 == 0)
		return 1;
	__sync_fetch_and_add(&ipft_left_out, 1);
	return 0;
}

/* Packets of which it is not known whose they are, each time that one of them passes a gate. */
__u64 ipft_undecided SEC(".bss.undecided");

/* Returns whether the current process is the one that is wanted. */
static __noinline int is_of_process(void)
{
	const volatile struct ipft_place *place = &ipft_config.place;
	__u64 comm[2] = {};

	if (!is_in_task()) {
		__sync_fetch_and_add(&ipft_undecided, 1);
		return 0;
	}
	if (place->pid && bpf_get_current_pid_tgid() >> 32 != place->pid)
		return 0;
	if (!(place->comm[0] | place->comm[1]))
		return 1;
	bpf_get_current_comm(comm, sizeof(comm));
	return comm[0] == place->comm[0] && comm[1] == place->comm[1];
}

/* Before 6.1 the numbers of the groups above a group, from then on pointers to them (include/linux/cgroup-defs.h). */
struct cgroup___ids {
	__u64 ancestor_ids[1];
} __attribute__((preserve_access_index));

struct cgroup___pointers {
	struct cgroup *ancestors[1];
} __attribute__((preserve_access_index));

/* Returns the number of the group at a level above a group, or of the group itself; 0 if there is none. */
static __always_inline __u64 group_above(struct cgroup *group, __u32 level)
{
	struct cgroup___ids *by_ids = (void *)group;
	struct cgroup *above = 0;
	__u64 id = 0;

	if ((__u32)BPF_CORE_READ(group, level) < level)
		return 0;
	if (bpf_core_field_exists(by_ids->ancestor_ids)) {
		bpf_probe_read_kernel(&id, sizeof(id),
				      (void *)group + bpf_core_field_offset(struct cgroup___ids, ancestor_ids) +
					      level * sizeof(id));
		return id;
	}
	bpf_probe_read_kernel(&above, sizeof(above),
			      (void *)group + bpf_core_field_offset(struct cgroup___pointers, ancestors) +
				      level * sizeof(above));
	return BPF_CORE_READ(above, kn, id);
}

/* Returns whether the packet's socket is of the control group that is wanted, or of one below it. */
static __noinline int is_of_group(__u64 skb)
{
	struct sock *sk = socket_of(PACKET_AT(skb), READS == BY_LOADS);
	struct sock_common___stated *common = (void *)sk;
	struct cgroup *group = 0;

	if (sk && is_full_socket(BPF_CORE_READ(common, skc_state)))
		group = cgroup_of_socket(sk);
	if (!group) {
		__sync_fetch_and_add(&ipft_undecided, 1);
		return 0;
	}
	return group_above(group, ipft_config.place.cgroup_level) == ipft_config.place.cgroup;
}

/* The compiled expression of --where (bpf/lua), linked in. Returns 1 if the packet matches, else 0. */
extern int ipft_where(__u64 skb) __hidden;

static __noinline int selects(__u64 skb)
{
	struct sk_buff *held = PACKET_AT(skb);
	const volatile struct ipft_place *place = &ipft_config.place;

	if (ipft_config.mask && !mark_matches(LOAD(held, mark)))
		return 0;
	if ((place->netns || place->mask[0] | place->mask[1]) && !is_at_place(held))
		return 0;
	if (!matches_filter(skb))
		return 0;
	if (ipft_config.judge_inner && !matches_inner_filter(skb))
		return 0;
	if ((place->pid || place->comm[0] | place->comm[1]) && !is_of_process())
		return 0;
	if (place->cgroup && !is_of_group(skb))
		return 0;
	/* A number: expressions may calculate with it. */
	if (ipft_config.judge_where && !ipft_where(number_of(skb, TYPED)))
		return 0;
	return place->sample <= 1 || is_of_sample(skb);
}

#endif

/* Shows whose socket a packet belongs to: the user's id and the id of the control group. */
#include "ipft_module.h"

enum owner {
	no_socket,    /* not yet, no longer, or never: forwarded packets have none */
	small_socket, /* of a connection that is being opened or was closed: it has no owner of its own */
	full_socket,
};

struct event {
	enum owner owner;
	__u32 uid;
	__u64 cgroup;
} __ipft_event_struct;

/* The states of small sockets: include/net/tcp_states.h. */
#define TCP_TIME_WAIT 6
#define TCP_NEW_SYN_RECV 12

struct kernfs_node {
	__u64 id;
} __attribute__((preserve_access_index));

struct cgroup {
	struct kernfs_node *kn;
} __attribute__((preserve_access_index));

struct sock_cgroup_data {
	struct cgroup *cgroup;
} __attribute__((preserve_access_index));

/*
 * As it was before Linux 5.15: the address and two bits. What follows three underscores is not part of the name that is
 * looked for.
 */
struct sock_cgroup_data___before_5_15 {
	__u64 val;
} __attribute__((preserve_access_index));

typedef struct {
	unsigned int val;
} kuid_t;

struct sock_common {
	volatile unsigned char skc_state;
} __attribute__((preserve_access_index));

struct sock {
	struct sock_common __sk_common;
	kuid_t sk_uid;
	struct sock_cgroup_data sk_cgrp_data;
} __attribute__((preserve_access_index));

struct sk_buff {
	struct sock *sk;
} __attribute__((preserve_access_index));

static __always_inline struct cgroup *cgroup_of(struct sock *sk)
{
	struct sock_cgroup_data___before_5_15 *old = (void *)&sk->sk_cgrp_data;
	__u64 val;

	if (!bpf_core_field_exists(old->val))
		return BPF_CORE_READ(sk, sk_cgrp_data.cgroup);

	/* With one of the bits set it holds what version 1 of the control groups needs. */
	val = BPF_CORE_READ(old, val);
	return val & 3 ? 0 : (struct cgroup *)val;
}

__hidden int module(void *ctx, struct sk_buff *skb, __u8 data[64])
{
	struct event *event = (struct event *)data;
	struct sock *sk = BPF_CORE_READ(skb, sk);
	struct cgroup *cgroup;
	unsigned char state;

	if (!sk)
		return 0;

	event->owner = small_socket;
	state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (state == TCP_TIME_WAIT || state == TCP_NEW_SYN_RECV)
		return 0;

	event->owner = full_socket;
	event->uid = BPF_CORE_READ(sk, sk_uid.val);

	/* Where there is none, it is the root. */
	cgroup = cgroup_of(sk);
	event->cgroup = cgroup ? BPF_CORE_READ(cgroup, kn, id) : 1;

	return 0;
}

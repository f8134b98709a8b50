/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The built-in fields of the packet's socket. May include field/socket.h.
 */
#ifndef IPFT_FIELD_SOCK_H
#define IPFT_FIELD_SOCK_H

#include "field/socket.h"

static __always_inline void fill_sock(void *to, struct sk_buff *skb, int directly)
{
	struct ipft_sock *sock = to;
	struct sock *sk = socket_of(skb, directly);

	sock->sock_cookie = 0;
	sock->sock_cgroup = 0;
	sock->sock_family = 0;
	sock->sock_state = 0;
	if (!sk)
		return;
	struct sock_common___stated *common = (void *)sk;

	if (directly) {
		sock->sock_cookie = common->skc_cookie.counter;
		sock->sock_family = common->skc_family;
		sock->sock_state = common->skc_state;
	} else {
		sock->sock_cookie = BPF_CORE_READ(common, skc_cookie.counter);
		sock->sock_family = BPF_CORE_READ(common, skc_family);
		sock->sock_state = BPF_CORE_READ(common, skc_state);
	}
	if (is_full_socket(sock->sock_state)) {
		struct cgroup *group = cgroup_of_socket(sk);

		if (group)
			sock->sock_cgroup = BPF_CORE_READ(group, kn, id);
	}
}

#endif

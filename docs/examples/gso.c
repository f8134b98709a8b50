/* Shows a packet's length and how it is to be segmented, at every function. */
#include "ipft_module.h"

/* The bits of gso_type: SKB_GSO_* in the kernel's include/linux/skbuff.h. */
enum {
	TCPV4 = 1 << 0,
	DODGY = 1 << 1,
	TCP_ECN = 1 << 2,
	TCP_FIXEDID = 1 << 3,
	TCPV6 = 1 << 4,
	FCOE = 1 << 5,
	GRE = 1 << 6,
	GRE_CSUM = 1 << 7,
	IPXIP4 = 1 << 8,
	IPXIP6 = 1 << 9,
	UDP_TUNNEL = 1 << 10,
	UDP_TUNNEL_CSUM = 1 << 11,
	PARTIAL = 1 << 12,
	TUNNEL_REMCSUM = 1 << 13,
	SCTP = 1 << 14,
	ESP = 1 << 15,
	UDP = 1 << 16,
	UDP_L4 = 1 << 17,
	FRAGLIST = 1 << 18,
	TCP_ACCECN = 1 << 19,
} __ipft_ref(gso_types);

struct event {
	__u32 len;
	__u16 gso_size;
	__u16 gso_segs;
	__u32 gso_type __ipft_fmt_enum_flags(gso_types);
} __ipft_event_struct;

struct sk_buff {
	unsigned int len;
	unsigned int end;
	unsigned char *head;
} __attribute__((preserve_access_index));

struct skb_shared_info {
	unsigned short gso_size;
	unsigned short gso_segs;
	unsigned int gso_type;
} __attribute__((preserve_access_index));

__hidden int module(void *ctx, struct sk_buff *skb, __u8 data[64])
{
	struct event *event = (struct event *)data;
	struct skb_shared_info *shared;

	/* It lies behind the packet's bytes: skb_shinfo() in the kernel. */
	shared = (void *)(BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, end));

	event->len = BPF_CORE_READ(skb, len);
	event->gso_size = BPF_CORE_READ(shared, gso_size);
	event->gso_segs = BPF_CORE_READ(shared, gso_segs);
	event->gso_type = BPF_CORE_READ(shared, gso_type);

	return 0;
}

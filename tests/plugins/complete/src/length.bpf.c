/* The length of a packet, twice: as it is, and doubled, so that the fields cannot be confused. */
typedef unsigned char __u8;
typedef unsigned int __u32;
static long (*bpf_probe_read_kernel)(void *to, __u32 size, const void *from) = (void *)113;

struct sk_buff {
	__u32 len;
} __attribute__((preserve_access_index));

__attribute__((visibility("hidden"))) int module(void *ctx, struct sk_buff *skb, __u8 data[64])
{
	__u32 len = 0;

	bpf_probe_read_kernel(&len, sizeof(len), &skb->len);
	((__u32 *)data)[0] = len;
	((__u32 *)data)[1] = 2 * len;
	return 0;
}

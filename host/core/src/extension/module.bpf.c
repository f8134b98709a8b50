
/* What you want to see: at most 64 bytes. Each member becomes a field of every event. */
struct event {
	unsigned int len;
} __ipft_event_struct;

/*
 * Only the members that you read, with the kernel's names: CO-RE finds out where the running kernel has them.
 */
struct sk_buff {
	unsigned int len;
} __attribute__((preserve_access_index));

/*
 * Runs at the entry of each function that a matching packet goes through. `data` is zero. Return anything but 0 to
 * drop the event.
 */
__hidden int module(void *ctx, struct sk_buff *skb, __u8 data[64])
{
	struct event *event = (struct event *)data;

	event->len = BPF_CORE_READ(skb, len);

	return 0;
}

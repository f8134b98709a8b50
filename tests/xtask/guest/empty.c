/* An extension that does nothing: what remains is the price of having one. */
struct sk_buff;

struct event {
	unsigned int nothing;
} __ipft_event_struct __attribute__((section("__ipft_skip")));

__attribute__((visibility("hidden"))) int module(void *ctx, struct sk_buff *skb, unsigned char data[64])
{
	return 0;
}

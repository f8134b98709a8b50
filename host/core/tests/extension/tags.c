/* Every tag, on everything that it can be on. */
#include "header.h"

struct in6_addr {
	union {
		__u8 bytes[16];
		__be32 words[4];
	} in6_u;
};

struct in_addr {
	__be32 s_addr;
};

enum { DROP, ACCEPT, QUEUE = -1 } __ipft_ref(verdicts);
enum { ONE = 1, TWO = 2, TOP = 1u << 31 } __ipft_ref(flags);

struct event {
	struct in6_addr six tag("ipv6");
	__be32 four tag("ipv4");
	struct in_addr old tag("ipv4");
	__u8 mac[6] tag("mac");
	__be16 port tag("be16");
	__be32 spi tag("be32");
	__u32 flags __ipft_fmt_enum_flags(flags);
	__s64 verdict __ipft_fmt_enum(verdicts);
	void *caller tag("symbol");
	__u64 when tag("ktime");
} __ipft_event_struct;

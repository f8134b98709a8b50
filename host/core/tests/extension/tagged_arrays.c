/* Tags on arrays: of elements that they fit, and of elements that fit together. */
#include "header.h"

enum { DROP, ACCEPT } __ipft_ref(verdicts);

struct event {
	__be32 six[4] tag("ipv6");
	__u8 macs[2][6] tag("mac");
	__be32 hosts[2] tag("ipv4");
	__u8 host[4] tag("ipv4");
	__be16 ports[2] tag("be16");
	__u8 verdicts[2] __ipft_fmt_enum(verdicts);
	__u16 marks[2] __ipft_fmt_hex;
	char raw[4] __ipft_fmt_hex;
	const char letter __ipft_fmt_hex;
} __ipft_event_struct;

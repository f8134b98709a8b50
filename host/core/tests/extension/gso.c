/* The example that the old manual gives. */
#include "header.h"

enum {
	tcpv4 = 1 << 0,
	dodgy = 1 << 1,
	tcp_ecn = 1 << 2,
} __ipft_ref(gso_types);

struct event {
	unsigned int len;
	__u16 gso_size;
	__u16 gso_segs;
	__u32 gso_type __ipft_fmt_enum_flags(gso_types);
} __ipft_event_struct;

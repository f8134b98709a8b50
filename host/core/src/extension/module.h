/* What an ipft extension in C says about its event; from `ipft --gen bpf-module-header`. */
#ifndef __IPFT_EXTENSION_H__
#define __IPFT_EXTENSION_H__

#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* Variables that only say something about types: they are never loaded into the kernel. */
#ifndef __ipft_sec_skip
#define __ipft_sec_skip __attribute__((section("__ipft_skip")))
#endif

/* Behind an enum: the variable by which __ipft_fmt_enum and __ipft_fmt_enum_flags refer to it. */
#ifndef __ipft_ref
#define __ipft_ref(name) name __ipft_sec_skip
#endif

/* Behind the struct that `data` is filled with. */
#ifndef __ipft_event_struct
#define __ipft_event_struct __ipft_event_struct __ipft_sec_skip
#endif

/* Behind a member: how it is shown. Without any, as its type suggests. */
#define __ipft_fmt(how) __attribute__((btf_decl_tag("ipft:fmt:" how)))
#ifndef __ipft_fmt_hex
#define __ipft_fmt_hex __ipft_fmt("hex")
#endif
#ifndef __ipft_fmt_enum
#define __ipft_fmt_enum(ref) __ipft_fmt("enum:" #ref)
#endif
#ifndef __ipft_fmt_enum_flags
#define __ipft_fmt_enum_flags(ref) __ipft_fmt("enum_flags:" #ref)
#endif
#define __ipft_fmt_ipv4 __ipft_fmt("ipv4")	/* 4 bytes in network order */
#define __ipft_fmt_ipv6 __ipft_fmt("ipv6")	/* 16 bytes in network order */
#define __ipft_fmt_ip __ipft_fmt("ip")		/* likewise, with IPv4 addresses as ::ffff:a.b.c.d */
#define __ipft_fmt_mac __ipft_fmt("mac")	/* 6 bytes */
#define __ipft_fmt_be16 __ipft_fmt("be16")	/* 2 bytes in network order: a port */
#define __ipft_fmt_be32 __ipft_fmt("be32")	/* 4 bytes in network order */
#define __ipft_fmt_ktime __ipft_fmt("ktime")	/* nanoseconds */
#define __ipft_fmt_symbol __ipft_fmt("symbol")	/* an address in the kernel */

#endif

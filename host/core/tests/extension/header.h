/* What every extension of these tests begins with: the macros of the published header, and a `module`. */
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef _Bool bool;

#define __hidden __attribute__((visibility("hidden")))
#define __ipft_sec_skip __attribute__((section("__ipft_skip")))
#define __ipft_ref(name) name __ipft_sec_skip
#define __ipft_event_struct __ipft_event_struct __ipft_sec_skip
#define __ipft_fmt_hex __attribute__((btf_decl_tag("ipft:fmt:hex")))
#define __ipft_fmt_enum(ref) __attribute__((btf_decl_tag("ipft:fmt:enum:" #ref)))
#define __ipft_fmt_enum_flags(ref) __attribute__((btf_decl_tag("ipft:fmt:enum_flags:" #ref)))
#define tag(name) __attribute__((btf_decl_tag("ipft:fmt:" name)))

struct sk_buff;

#ifndef WITHOUT_MODULE
__hidden int module(void *ctx, struct sk_buff *skb, __u8 data[64])
{
	data[0] = 1;
	return 0;
}
#endif

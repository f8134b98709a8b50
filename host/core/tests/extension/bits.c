/* Bit-fields, of all kinds and across bytes. */
#include "header.h"

enum colour { RED, GREEN, BLUE };

enum {
	A = 1,
	B = 2,
} __ipft_ref(letters);

struct event {
	__u32 low : 3;
	__s32 negative : 5;
	enum colour colour : 2;
	__u32 : 3;
	__u32 flags : 3 __ipft_fmt_enum_flags(letters);
	__u32 byte : 8;
	__u8 on : 1;
	bool truth : 1;
	struct {
		__u64 wide : 60 __ipft_fmt_hex;
		__s64 top : 4;
	} nested;
	struct __attribute__((packed)) {
		__u64 shift : 4;
		__u64 nine : 64;
		__u64 rest : 4;
	} packed;
} __ipft_event_struct;

/* Structs and unions in structs, and arrays of anything. */
#include "header.h"

struct pair {
	__u16 first __ipft_fmt_hex;
	__u16 second;
};

typedef struct {
	struct pair pairs[2];
	bool flags[2];
} inner_t;

struct event {
	inner_t inner;
	union {
		__u32 word;
		__u8 bytes[4];
		struct {
			__s16 low, high;
		};
	};
	const char names[2][4];
	__s8 signs[2];
	__u8 matrix[2][2];
	union {
		__u32 all;
		struct pair halves;
	} either;
	void *pointers[2];
	__u8 nothing[0];
} *__ipft_event_struct;

/* Every type of member that has no tag. */
#include "header.h"

enum verdict { DROP, ACCEPT, STOLEN = 7 };
enum __attribute__((packed)) small { LITTLE = 1, LESS = 2 };
enum wide { NARROW = 1, WIDE = 1ULL << 40 };

typedef const volatile __u32 qualified;

struct event {
	__u8 u8;
	__s8 s8;
	__u16 u16;
	__s16 s16;
	char letter;
	bool flag;
	qualified u32;
	__s32 s32;
	__u64 u64;
	long s64;
	void *pointer;
	int (*function)(void *);
	enum verdict verdict;
	enum small small;
	char text[3];
} __ipft_event_struct;

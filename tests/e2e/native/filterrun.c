// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * filterrun PROGRAM MAP PACKETS EXPECTED: runs a pinned program once for each packet of a file, and compares the
 * verdicts that it leaves in the pinned map with those of another file, one byte each. Prints how many are wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As in filter.bpf.c. */
struct packet {
	uint32_t captured, length;
	int32_t verdict;
	uint8_t accelerated, inside, has_offsets, reserved;
	uint8_t bytes[496];
};

static void give_up(const char *what)
{
	fprintf(stderr, "filterrun: %s: %s\n", what, strerror(errno));
	exit(2);
}

static int pinned(const char *path)
{
	union bpf_attr attr = { .pathname = (uintptr_t)path };
	int fd = syscall(SYS_bpf, BPF_OBJ_GET, &attr, sizeof(attr));

	if (fd < 0)
		give_up(path);
	return fd;
}

static void *content(const char *path, size_t *size)
{
	struct stat stat;
	int fd = open(path, O_RDONLY);

	if (fd < 0 || fstat(fd, &stat))
		give_up(path);
	*size = stat.st_size;
	void *at = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (at == MAP_FAILED)
		give_up(path);
	return at;
}

int main(int count, char **arguments)
{
	if (count != 5) {
		fprintf(stderr, "usage: filterrun PROGRAM MAP PACKETS EXPECTED\n");
		return 2;
	}
	int program = pinned(arguments[1]), map = pinned(arguments[2]);
	size_t size, verdicts;
	const void *packets = content(arguments[3], &size);
	const int8_t *expected = content(arguments[4], &verdicts);
	struct packet *shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
	unsigned wrong = 0, matches = 0;

	if (shared == MAP_FAILED)
		give_up("map the packets");
	if (size != verdicts * sizeof(struct packet)) {
		fprintf(stderr, "filterrun: %zu bytes of packets, and %zu verdicts\n", size, verdicts);
		return 2;
	}
	memcpy(shared, packets, size);
	for (size_t i = 0; i < verdicts; i++) {
		uint64_t context[12] = { i };
		union bpf_attr attr = {
			.test = { .prog_fd = program, .ctx_in = (uintptr_t)context, .ctx_size_in = sizeof(context) },
		};

		shared[i].verdict = 99;
		if (syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attr, sizeof(attr)))
			give_up("run the program");
		matches += shared[i].verdict == 1;
		if (shared[i].verdict != expected[i] && !wrong++)
			printf("packet %zu: %d instead of %d\n", i, shared[i].verdict, expected[i]);
	}
	printf("%zu packets, %u match, %u wrong\n", verdicts, matches, wrong);
	return wrong != 0;
}

/*
 * A source and a sink of UDP datagrams for the guests, linked statically. It sends a fixed number as fast as it can,
 * so that a measurement divides by a number that is known.
 *
 *   udpflood send ADDRESS PORT COUNT SIZE [MARK]    prints "sent=N failed=N nanoseconds=N" (CLOCK_MONOTONIC, the loop only)
 *   udpflood receive PORT                           counts until SIGINT or SIGTERM, then prints "received=N"
 *
 * SIZE is the payload in bytes, of which the first four, if there are so many, are the datagram's number from 0 on, in
 * network byte order; MARK, if given, is set on the socket (SO_MARK). Numbers as strtoul base 0 takes them.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LARGEST_PAYLOAD 65507UL

static volatile sig_atomic_t interrupted;

static void interrupt(int signal_number)
{
	(void)signal_number;
	interrupted = 1;
}

static void __attribute__((noreturn)) fail(const char *what)
{
	fprintf(stderr, "udpflood: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void __attribute__((noreturn)) usage(void)
{
	fputs("usage: udpflood send ADDRESS PORT COUNT SIZE [MARK] | udpflood receive PORT\n", stderr);
	exit(2);
}

static unsigned long number(const char *text, unsigned long largest)
{
	char *end;

	errno = 0;
	unsigned long value = strtoul(text, &end, 0);
	if (errno || end == text || *end || *text == '-' || value > largest) {
		fprintf(stderr, "udpflood: '%s' is not a number from 0 to %lu\n", text, largest);
		exit(2);
	}
	return value;
}

static int udp_socket(void)
{
	int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (udp < 0)
		fail("socket");
	return udp;
}

static int receive(unsigned long port)
{
	static char buffer[65536];
	struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sigaction action = {.sa_handler = interrupt};
	int udp = udp_socket(), room = 1 << 24;
	unsigned long received = 0;

	/* No SA_RESTART: the signal has to end recv(). */
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	if (setsockopt(udp, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)))
		fail("SO_RCVBUFFORCE");
	if (bind(udp, (struct sockaddr *)&here, sizeof(here)))
		fail("bind");
	while (!interrupted) {
		if (recv(udp, buffer, sizeof(buffer), 0) >= 0)
			received++;
		else if (errno != EINTR)
			fail("recv");
	}
	printf("received=%lu\n", received);
	return 0;
}

static int send_all(char **arguments, int count)
{
	static char payload[LARGEST_PAYLOAD] __attribute__((aligned(4)));
	struct sockaddr_in there = {.sin_family = AF_INET};
	struct timespec start, end;
	unsigned long failed = 0;
	int udp = udp_socket();

	if (inet_pton(AF_INET, arguments[0], &there.sin_addr) != 1)
		usage();
	there.sin_port = htons(number(arguments[1], 65535));
	unsigned long total = number(arguments[2], ~0UL), size = number(arguments[3], LARGEST_PAYLOAD);
	if (count == 5) {
		unsigned int mark = number(arguments[4], ~0U);
		if (setsockopt(udp, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)))
			fail("SO_MARK");
	}
	/* Connected, so that the route is looked up once and the loop measures the transmit path. */
	if (connect(udp, (struct sockaddr *)&there, sizeof(there)))
		fail("connect");
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (unsigned long i = 0; i < total; i++) {
		*(unsigned int *)payload = htonl(i);
		if (send(udp, payload, size, 0) < 0)
			failed++;
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("sent=%lu failed=%lu nanoseconds=%lld\n", total - failed, failed,
	       (end.tv_sec - start.tv_sec) * 1000000000LL + end.tv_nsec - start.tv_nsec);
	return 0;
}

int main(int count, char **arguments)
{
	if (count == 3 && !strcmp(arguments[1], "receive"))
		return receive(number(arguments[2], 65535));
	if ((count == 6 || count == 7) && !strcmp(arguments[1], "send"))
		return send_all(arguments + 2, count - 2);
	usage();
}

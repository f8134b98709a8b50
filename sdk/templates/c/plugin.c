// {{name}}: how often packets entered each function, as a table when the trace ends.
//
// ipft calls the functions of this file in this order: `start` once; `learn`, `events` and `missed` any number of
// times; `finish` once. `bindings/sink_plugin.h` says what they are given. All of it is a copy in the plugin's own
// memory, so that each function frees what it does not keep.

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/sink_plugin.h"

// What an event's `kind` says. Others are for later versions of ipft.
#define ENTRY 0

struct function {
	sink_plugin_string_t name;
	sink_plugin_string_t module;
	uint64_t entered;
	size_t learned;
};

// An event names a function by its index here.
static struct function *functions;
static size_t count;

// The option `top`.
static size_t top;

// What was not yet written. One large write costs a fraction of many small ones.
static uint8_t buffer[64 << 10];
static size_t buffered;

static void flush(void)
{
	sink_plugin_list_u8_t bytes = { buffer, buffered };

	if (buffered)
		ipft_plugin_host_write(&bytes);
	buffered = 0;
}

static void put(const void *bytes, size_t len)
{
	while (len) {
		size_t part = sizeof(buffer) - buffered;

		if (part > len)
			part = len;
		memcpy(buffer + buffered, bytes, part);
		buffered += part;
		bytes = (const uint8_t *)bytes + part;
		len -= part;
		if (buffered == sizeof(buffer))
			flush();
	}
}

static void put_text(const char *text)
{
	put(text, strlen(text));
}

// Names come from the kernel and may hold anything, also what a terminal would obey: what is not printable ASCII
// becomes a question mark.
static void put_name(const sink_plugin_string_t *name)
{
	for (size_t i = 0; i < name->len; i++) {
		uint8_t byte = name->ptr[i];

		if ((byte & 0xc0) == 0x80)
			continue; // not the first byte of a character
		put(byte > ' ' && byte <= '~' ? &byte : (const uint8_t *)"?", 1);
	}
}

// The standard library's printf would do it too, but brings WASI's files with it: without them, `ipft plugin inspect`
// shows that this plugin cannot touch anything.
static void put_number(uint64_t number, size_t width)
{
	char digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	for (size_t len = sizeof(digits) - at; len < width; len++)
		put_text(" ");
	put(digits + at, sizeof(digits) - at);
}

static bool is(const sink_plugin_string_t *text, const char *expected)
{
	return text->len == strlen(expected) && memcmp(text->ptr, expected, text->len) == 0;
}

// ipft has checked the option against plugin.json: it is a whole number. False if it is negative.
static bool read_top(const sink_plugin_string_t *text)
{
	uint64_t number = 0;

	for (size_t i = 0; i < text->len; i++) {
		if (text->ptr[i] == '-')
			return false;
		if (text->ptr[i] != '+')
			number = number * 10 + (text->ptr[i] - '0');
	}
	top = number == 0 || number > SIZE_MAX ? SIZE_MAX : (size_t)number;
	return true;
}

// An error is shown to the user as it is.
bool exports_ipft_plugin_sink_start(exports_ipft_plugin_sink_trace_t *trace,
				    exports_ipft_plugin_sink_list_option_value_t *options, sink_plugin_string_t *err)
{
	bool good = true;

	for (size_t i = 0; i < options->len; i++) {
		if (is(&options->ptr[i].f0, "top"))
			good = read_top(&options->ptr[i].f1);
	}
	exports_ipft_plugin_sink_trace_free(trace);
	exports_ipft_plugin_sink_list_option_value_free(options);
	if (!good)
		sink_plugin_string_dup(err, "the option 'top' is a number of functions, and cannot be negative");
	return good;
}

// Functions come in parts: with the first events that need them.
void exports_ipft_plugin_sink_learn(exports_ipft_plugin_sink_list_function_t *learned, sink_plugin_list_string_t *names)
{
	functions = realloc(functions, (count + learned->len) * sizeof(*functions));
	if (!functions && learned->len)
		__builtin_trap(); // out of memory: ipft says so, and the trace goes on without the plugin
	for (size_t i = 0; i < learned->len; i++, count++) {
		// The names are kept: only the list that held them is freed.
		functions[count].name = learned->ptr[i].name;
		functions[count].module = learned->ptr[i].module;
		functions[count].entered = 0;
		functions[count].learned = count;
	}
	if (learned->len)
		free(learned->ptr);
	sink_plugin_list_string_free(names);
}

bool exports_ipft_plugin_sink_events(exports_ipft_plugin_sink_list_event_t *events, sink_plugin_list_u8_t *payload,
				     sink_plugin_string_t *err)
{
	for (size_t i = 0; i < events->len; i++) {
		const exports_ipft_plugin_sink_event_t *event = &events->ptr[i];

		if (event->kind == ENTRY && event->function < count)
			functions[event->function].entered++;
	}
	exports_ipft_plugin_sink_list_event_free(events);
	sink_plugin_list_u8_free(payload);
	return true;
}

// `finish` gets the sum.
void exports_ipft_plugin_sink_missed(uint64_t events)
{
}

// The most often entered first; of equals, the first learned.
static int by_entered(const void *a, const void *b)
{
	const struct function *left = a, *right = b;

	if (left->entered != right->entered)
		return left->entered < right->entered ? 1 : -1;
	return left->learned < right->learned ? -1 : 1;
}

bool exports_ipft_plugin_sink_finish(exports_ipft_plugin_sink_summary_t *summary, sink_plugin_string_t *err)
{
	size_t entered = 0;
	uint64_t lost = summary->missed;

	for (size_t i = 0; i < summary->losses.len; i++)
		if (__builtin_add_overflow(lost, summary->losses.ptr[i].count, &lost))
			lost = UINT64_MAX;
	exports_ipft_plugin_sink_summary_free(summary);

	if (count)
		qsort(functions, count, sizeof(*functions), by_entered);
	put_text("     ENTERED  FUNCTION\n");
	for (; entered < count && functions[entered].entered; entered++) {
		if (entered >= top)
			continue;
		put_number(functions[entered].entered, 12);
		put_text("  ");
		put_name(&functions[entered].name);
		if (!is(&functions[entered].module, "vmlinux")) {
			put_text(" [");
			put_name(&functions[entered].module);
			put_text("]");
		}
		put_text("\n");
	}
	if (entered > top) {
		put_text("and ");
		put_number(entered - top, 0);
		put_text(" more functions\n");
	}
	if (lost) {
		put_number(lost, 0);
		put_text(" events were lost: the numbers are too low\n");
	}
	flush();
	return true;
}

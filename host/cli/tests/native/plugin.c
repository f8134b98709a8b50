/*
 * A native plugin that writes all of its input, and fails as configured: at run time by the options `at` and `do`, and
 * in the table itself at compile time. host/cli/tests/it/native.rs uses it.
 */

#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipft_plugin.h"

struct show {
    const struct ipft_host *host;
    char at[16];
    char what[16];
    char wait[4096];
    uint64_t events;
    uint64_t missed;
    char error[64];
    /* What is new comes with the first events that need it, and how many those are is a matter of luck. */
    struct ipft_text names;
    char buffer[4096];
};

static void out(struct show *show, const char *text, uint64_t len)
{
    show->host->write(show->host->context, text, len);
}

static void print(struct show *show, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void print(struct show *show, const char *format, ...)
{
    char line[1024];
    va_list list;
    va_start(list, format);
    int len = vsnprintf(line, sizeof(line), format, list);
    va_end(list);
    out(show, line, (uint64_t)len < sizeof(line) ? (uint64_t)len : sizeof(line) - 1);
}

/* Text with everything but printable ASCII as hexadecimal numbers. */
static void text(struct show *show, const char *name, struct ipft_text text)
{
    print(show, " %s=", name);
    for (uint64_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        print(show, c > ' ' && c < 0x7f ? "%c" : "<%02x>", c);
    }
}

/* Returns the error of a call that is configured to fail, or performs another behaviour. */
static const char *act(struct show *show, const char *at)
{
    if (strcmp(show->at, at) != 0)
        return NULL;
    if (strcmp(show->what, "fail") == 0) {
        snprintf(show->error, sizeof(show->error), "\x1b[31mno %s\nfor us", at);
        return show->error;
    }
    if (strcmp(show->what, "hang") == 0)
        for (;;)
            pause();
    if (strcmp(show->what, "wait") == 0) {
        char byte;
        int fd = open(show->wait, O_RDONLY);
        if (fd < 0 || read(fd, &byte, 1) < 0)
            return "cannot wait";
        close(fd);
        show->at[0] = 0;
    }
    if (strcmp(show->what, "flood") == 0) {
        static const char block[100000];
        while (show->host->write(show->host->context, block, sizeof(block)) == 0)
            ;
        return "no more";
    }
    if (strcmp(show->what, "talk") == 0)
        for (uint32_t level = 0; level < 2000; level++)
            show->host->log(show->host->context, level, "it\x1b[2J\nsays", 11);
    return NULL;
}

static void copy(char *to, size_t size, struct ipft_text from)
{
    if (from.len < size) {
        memcpy(to, from.data, from.len);
        to[from.len] = 0;
    }
}

static const char *start(const struct ipft_host *host, const struct ipft_trace *trace, const struct ipft_fact *options,
                         uint64_t option_count, void **instance)
{
    struct show *show = calloc(1, sizeof(*show));
    if (!show)
        return "no memory";
    *instance = show;
    show->host = host;
    if (host->struct_size < sizeof(*host) || trace->struct_size < sizeof(*trace))
        return "too small";
    print(show, "start");
    for (uint64_t i = 0; i < option_count; i++) {
        const struct ipft_fact *option = &options[i];
        if (option->name.len == 2 && memcmp(option->name.data, "at", 2) == 0)
            copy(show->at, sizeof(show->at), option->value);
        if (option->name.len == 2 && memcmp(option->name.data, "do", 2) == 0)
            copy(show->what, sizeof(show->what), option->value);
        if (option->name.len == 4 && memcmp(option->name.data, "wait", 4) == 0)
            copy(show->wait, sizeof(show->wait), option->value);
    }
    text(show, "tracer", trace->tracer);
    text(show, "backend", trace->backend);
    text(show, "release", trace->kernel_release);
    print(show, " payload=%" PRIu32 " tail=%" PRIu32 " clock=%" PRId64 " mark=%" PRIx32 "/%" PRIx32 " more=%" PRIu64 "\n",
          trace->payload_size, trace->tail, trace->clock_offset, trace->mark, trace->mask, trace->more_count);
    for (uint64_t i = 0; i < trace->command_line_count; i++)
        text(show, "word", trace->command_line[i]);
    print(show, "\n");
    for (uint64_t i = 0; i < trace->field_count; i++) {
        const struct ipft_field *field = &trace->fields[i];
        print(show, "field");
        text(show, "name", field->name);
        text(show, "kind", field->kind);
        text(show, "format", field->format);
        print(show, " at=%" PRIu32 "+%" PRIu32 " bits=%" PRIu32 "+%" PRIu32, field->offset, field->size,
              field->bit_offset, field->bit_width);
        for (uint64_t j = 0; j < field->member_count; j++) {
            text(show, "member", field->members[j].name);
            print(show, ":%" PRIx64, field->members[j].value);
        }
        print(show, "\n");
    }
    return act(show, "start");
}

static void learn(void *instance, const struct ipft_function *functions, uint64_t function_count,
                  const struct ipft_text *names, uint64_t name_count)
{
    struct show *show = instance;
    for (uint64_t i = 0; i < function_count; i++) {
        print(show, "function");
        text(show, "name", functions[i].name);
        text(show, "module", functions[i].module);
        print(show, " address=%" PRIx64 "\n", functions[i].address);
    }
    for (uint64_t i = 0; i < name_count; i++) {
        if (show->names.len + names[i].len + 1 > sizeof(show->buffer))
            abort();
        memcpy(show->buffer + show->names.len, names[i].data, names[i].len);
        show->names.len += names[i].len;
        show->buffer[show->names.len++] = '\n';
    }
    act(show, "learn");
}

static const char *events(void *instance, const struct ipft_event *events, uint64_t event_count, const uint8_t *payload,
                          uint64_t payload_len)
{
    struct show *show = instance;
    show->events += event_count;
    for (uint64_t i = 0; i < event_count && show->events <= 4096; i++) {
        const struct ipft_event *event = &events[i];
        print(show, "%s packet=%" PRIu64 " skb=%" PRIx64 " time=%" PRIu64 "-%" PRIu64, event->kind ? "return" : "entry",
              event->packet, event->skb, event->entry_timestamp, event->timestamp);
        print(show, " function=%" PRIu32 " cpu=%" PRIu32 " thread=%" PRIu32 " spare=%" PRIu64 " payload=",
              event->function, event->cpu, event->thread, event->spare);
        if ((uint64_t)event->payload_offset + event->payload_len > payload_len)
            return "a payload is out of range";
        for (uint32_t j = 0; j < event->payload_len; j++)
            print(show, "%02x", payload[event->payload_offset + j]);
        print(show, "\n");
    }
    return act(show, "events");
}

static void missed(void *instance, uint64_t events)
{
    struct show *show = instance;
    show->missed += events;
}

static const char *finish(void *instance, const struct ipft_summary *summary)
{
    struct show *show = instance;
    if (summary->struct_size < sizeof(*summary))
        return "too small";
    print(show, "finish events=%" PRIu64 " packets=%" PRIu64 " attached=%" PRIu32 " missed=%" PRIu64 " more=%" PRIu64 "\n",
          summary->events, summary->packets, summary->attached, summary->missed, summary->more_count);
    for (uint64_t i = 0; i < summary->loss_count; i++) {
        const struct ipft_loss *loss = &summary->losses[i];
        print(show, "loss");
        text(show, "kind", loss->kind);
        print(show, " count=%" PRIu64 " cpu=%" PRIu32 "/%" PRIu32 "\n", loss->count, loss->cpu, loss->has_cpu);
    }
    for (uint64_t i = 0; i < summary->skipped_count; i++) {
        print(show, "skipped");
        text(show, "name", summary->skipped[i].name);
        text(show, "module", summary->skipped[i].module);
        text(show, "reason", summary->skipped[i].reason);
        print(show, "\n");
    }
    show->names.data = show->buffer;
    text(show, "names", show->names);
    print(show, "\nseen events=%" PRIu64 " missed=%" PRIu64 "\n", show->events, show->missed);
    return act(show, "finish");
}

static void destroy(void *instance)
{
    struct show *show = instance;
    show->host->log(show->host->context, IPFT_INFO, "destroyed", 9);
    free(show);
}

#ifdef UNDEFINED
extern void nowhere_to_be_found(void);
void (*const uses)(void) = nowhere_to_be_found;
#endif
#ifdef LIBRARY
extern int other(void);
int uses(void)
{
    return other();
}
#endif

#ifndef VERSION
#define VERSION IPFT_PLUGIN_VERSION
#endif
#ifndef SIZE
#define SIZE sizeof(struct ipft_plugin)
#endif
#ifndef START
#define START start
#endif
#ifndef EVENTS
#define EVENTS events
#endif
#ifndef FINISH
#define FINISH finish
#endif
#ifndef DESCRIPTION
#define DESCRIPTION                                                                                                    \
    "{\"contract\":\"0.1.0\",\"name\":\"show\",\"version\":\"1.0.0\",\"about\":\"Shows all\",\"license\":\"MIT\","    \
    "\"options\":[{\"name\":\"at\",\"type\":\"string\",\"default\":\"\",\"help\":\"A call\"},"                        \
    "{\"name\":\"do\",\"type\":\"string\",\"default\":\"\",\"help\":\"What it does then\"},"                          \
    "{\"name\":\"wait\",\"type\":\"string\",\"default\":\"\",\"help\":\"What it waits for\"}]}"
#endif

static const struct ipft_plugin plugin = {
    .version = VERSION,
    .struct_size = SIZE,
    .description = { .data = DESCRIPTION, .len = sizeof(DESCRIPTION) - 1 },
    .start = START,
    .events = EVENTS,
    .finish = FINISH,
#ifndef FEW
    .learn = learn,
    .missed = missed,
    .destroy = destroy,
#endif
};

#ifndef ENTRY
#define ENTRY ipft_plugin_v0
#endif

const struct ipft_plugin *ENTRY(void)
{
#ifdef NO_TABLE
    return NULL;
#else
    return &plugin;
#endif
}


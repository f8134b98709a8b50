#include <stdio.h>
#include <stdlib.h>
#include "ipft_plugin.h"

struct count {
    const struct ipft_host *host;
    uint64_t entries;
};

static const char *start(const struct ipft_host *host, const struct ipft_trace *trace, const struct ipft_fact *options,
                         uint64_t option_count, void **instance)
{
    struct count *count = calloc(1, sizeof(*count));
    if (!count)
        return "out of memory";
    count->host = host;
    *instance = count;
    return NULL;
}

static const char *events(void *instance, const struct ipft_event *events, uint64_t event_count, const uint8_t *payload,
                          uint64_t payload_len)
{
    struct count *count = instance;
    for (uint64_t i = 0; i < event_count; i++)
        count->entries += events[i].kind == IPFT_ENTRY;
    return NULL;
}

static const char *finish(void *instance, const struct ipft_summary *summary)
{
    struct count *count = instance;
    char line[64];
    int len = snprintf(line, sizeof(line), "%llu calls\n", (unsigned long long)count->entries);
    count->host->write(count->host->context, line, len);
    return NULL;
}

static const char description[] =
    "{ \"contract\": \"0.1.0\", \"name\": \"count\", \"version\": \"1.0.0\","
    "  \"about\": \"Counts calls\", \"license\": \"MIT\", \"options\": [] }";

static const struct ipft_plugin plugin = {
    .version = IPFT_PLUGIN_VERSION,
    .struct_size = sizeof(plugin),
    .description = { description, sizeof(description) - 1 },
    .start = start,
    .events = events,
    .finish = finish,
    .destroy = free,
};

const struct ipft_plugin *ipft_plugin_v0(void)
{
    return &plugin;
}

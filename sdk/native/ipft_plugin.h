/* SPDX-License-Identifier: MIT OR Apache-2.0 */

/*
 * Native plugins of ipft: shared libraries that `ipft --plugin ./NAME.so` loads.
 *
 * A native plugin is part of the ipft process. Nothing holds it: it may do whatever the user who runs ipft may do, and a
 * crash in it is a crash of ipft. Where that is not needed, write a WebAssembly plugin, which lives the same life in a
 * sandbox (`wit/plugin-0.1.0.wit`). This header says the same as that contract, in C.
 *
 * A library exports one symbol, `ipft_plugin_v0`, which returns a table of functions. ipft calls them in this order:
 *
 *     start, learn, ( learn | events | missed )*, finish, destroy
 *
 * What belongs to one such series is an instance. A failure ends an instance early: only `destroy` follows. One library
 * may have several instances, also at the same time. All calls of an instance come from one thread, which is neither
 * the one that loaded the library nor that of another instance. The trace does not wait for a plugin: events come
 * through a queue, and `missed` says what did not fit.
 *
 * Strings are UTF-8, have a length, and are not ended by a NUL; names come from the kernel and may hold anything, also
 * NULs and what steers a terminal. A pointer whose length or count is 0 may be anything. Whatever ipft passes belongs to
 * ipft and is there until the call returns, unless it says otherwise. The library is never unloaded, so that whatever it
 * passes to ipft may be static.
 *
 * What is here stays as it is. A later version may append to those structs that begin with their own size, and say more
 * in `more` lists and spare words; a library that was built with this header works with every later ipft of 64 bits.
 */

#ifndef IPFT_PLUGIN_H
#define IPFT_PLUGIN_H

#include <stdint.h>

#if UINTPTR_MAX != UINT64_MAX
#error "native plugins of ipft have 64 bits"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this header, 0.1.0: eight bits each for the three numbers. */
#define IPFT_PLUGIN_VERSION UINT32_C(0x000100)

/* In front of the definition of `ipft_plugin_v0`, where a library is built with hidden symbols. */
#define IPFT_PLUGIN_EXPORT __attribute__((visibility("default")))

/* Text. 16 bytes. */
struct ipft_text {
    const char *data;
    /* Bytes. */
    uint64_t len;
};

/* A name and a value for it. In `more` lists: names that a plugin does not know are not for it. 32 bytes. */
struct ipft_fact {
    struct ipft_text name;
    struct ipft_text value;
};

/* One function that is traced. Events name it by its index in the order of `learn`. 40 bytes. */
struct ipft_function {
    /* Symbol name, with the compiler's suffix if it has one. */
    struct ipft_text name;
    /* `vmlinux`, or the module's name. */
    struct ipft_text module;
    /* Address of the symbol, 0 where the kernel does not tell. */
    uint64_t address;
};

/* One member of an enum, or one symbol of the kernel. 24 bytes. */
struct ipft_member {
    struct ipft_text name;
    /* A negative one is sign-extended. */
    uint64_t value;
};

/* One named value in an event's payload. 80 bytes. */
struct ipft_field {
    /* Name as the author wrote it; nested structs are dotted. */
    struct ipft_text name;
    /* Bytes from the start of the payload. */
    uint32_t offset;
    /* Bytes. Of a bit-field: those that it touches, at most 9. */
    uint32_t size;
    /* Of a bit-field: its first bit within these bytes, which are read as one little-endian number. */
    uint32_t bit_offset;
    /* Of a bit-field: how many bits, 1 to 64. 0 if the value fills its bytes. */
    uint32_t bit_width;
    /* What the bytes hold, little-endian: `unsigned`, `signed`, `bool`, `char` (text, ended by a NUL or by the field's
     * size), `pointer`, `bytes`. */
    struct ipft_text kind;
    /* How people want to read it: `plain`, `hex`, `enum`, `enum_flags`, `ipv4`, `ipv6`, `mac`, `be16`, `be32`, `ktime`,
     * `symbol`. One that a plugin does not know is to be shown as `plain`. */
    struct ipft_text format;
    /* Of the formats `enum`, `enum_flags` and `symbol`: the names for values; symbols are sorted by value. */
    const struct ipft_member *members;
    uint64_t member_count;
};

/* Everything about a trace that is known before its first event. */
struct ipft_trace {
    /* Bytes of this struct as ipft knows it, at least those that are here. */
    uint32_t struct_size;
    /* Bytes of the part of a payload that the fields are in: its beginning. */
    uint32_t payload_size;
    /* `function` (entries only) or `function_graph` (entries and returns). */
    struct ipft_text tracer;
    /* The backend that attached (`kprobe-multi`, ...). */
    struct ipft_text backend;
    /* The fixed fields, which every payload begins with, unless it is empty. */
    const struct ipft_field *fields;
    uint64_t field_count;
    /* Nanoseconds to add to an event's timestamp to get nanoseconds since 1970 (UTC). */
    int64_t clock_offset;
    /* The command line, as it was given. */
    const struct ipft_text *command_line;
    uint64_t command_line_count;
    /* `uname -r` of the traced kernel. */
    struct ipft_text kernel_release;
    /* The mark that a packet must carry, after masking. */
    uint32_t mark;
    /* The bits of the mark that count. */
    uint32_t mask;
    /* Not 0: values may follow the fields, up to the payload's end, one after the other: name (u32, an index in the order
     * of `learn`), type (u8), then 0: i64, 1: f64, 2: length (u32) and bytes that should be UTF-8. All little-endian,
     * without padding. */
    uint32_t tail;
    uint32_t unused;
    /* For later versions. */
    const struct ipft_fact *more;
    uint64_t more_count;
};

/* The packet entered the function. */
#define IPFT_ENTRY UINT32_C(0)
/* The function returned. */
#define IPFT_RETURN UINT32_C(1)

/* One call of, or return from, a kernel function with a traced packet. Within one packet events come in order of time.
 * 64 bytes, the same as in the contract. */
struct ipft_event {
    /* Identity of the packet, unique for the life of the trace; never 0. It is not the sk_buff's address, which the
     * kernel reuses as soon as a packet is freed. */
    uint64_t packet;
    /* Kernel address of the sk_buff. In a return it is that of the entry, or 0 if the entry was lost. */
    uint64_t skb;
    /* Nanoseconds, CLOCK_MONOTONIC. */
    uint64_t timestamp;
    /* In a return: the timestamp of its entry, so that `timestamp - entry_timestamp` is the call's duration. 0 in an
     * entry, and in a return whose entry was lost. */
    uint64_t entry_timestamp;
    /* Index of the function, in the order of `learn`. */
    uint32_t function;
    /* The CPU that ran the function. */
    uint32_t cpu;
    /* IPFT_ENTRY or IPFT_RETURN. Others are for later versions: to be ignored. */
    uint32_t kind;
    /* The kernel's id of the thread that was current, 0 in the idle task. Calls nest properly within one packet and one
     * thread; for thread 0: within one packet and one CPU. */
    uint32_t thread;
    /* First byte of the event's payload in that of the call. */
    uint32_t payload_offset;
    /* Length of the payload in bytes; 0 if the event has none. */
    uint32_t payload_len;
    /* 0 in entries and returns. In other kinds, what the kind says: of a packet that was made of another one, or became
     * part of one, that one's identity. */
    uint64_t spare;
};

/* Events that were lost in one way on one CPU. 32 bytes. */
struct ipft_loss {
    /* `buffer-full`, `recursion`, `return-missed`, `map-full`, `undecodable`, or a way of a later version. */
    struct ipft_text kind;
    /* How many events. */
    uint64_t count;
    /* Where, if `has_cpu` is 1. */
    uint32_t cpu;
    /* 1 if the kernel counts it per CPU, else 0. */
    uint32_t has_cpu;
};

/* A function that was wanted and is not traced. 48 bytes. */
struct ipft_skipped {
    struct ipft_text name;
    struct ipft_text module;
    /* Why, in words for the user. */
    struct ipft_text reason;
};

/* Everything that is known when the trace has ended. */
struct ipft_summary {
    /* Bytes of this struct as ipft knows it, at least those that are here. */
    uint32_t struct_size;
    /* How many functions were attached. */
    uint32_t attached;
    /* Events that the trace delivered, also those that this plugin missed. */
    uint64_t events;
    /* Packets that were given an identity, also those all of whose events were lost. */
    uint64_t packets;
    /* Events that this plugin did not get because it was slower than the trace. 0 for all but a slow one. */
    uint64_t missed;
    /* Events that no sink saw, by way and CPU; empty if none was lost. */
    const struct ipft_loss *losses;
    uint64_t loss_count;
    /* The functions that could not be attached. */
    const struct ipft_skipped *skipped;
    uint64_t skipped_count;
    /* For later versions. */
    const struct ipft_fact *more;
    uint64_t more_count;
};

/* How much a message matters. */
#define IPFT_ERROR UINT32_C(0)
#define IPFT_WARNING UINT32_C(1)
#define IPFT_INFO UINT32_C(2)
/* Shown with `-v` only. */
#define IPFT_DEBUG UINT32_C(3)

/* What a plugin may ask of ipft. The table and its functions are there from `start` until `destroy` has returned (until
 * the last call has, if there is no `destroy`), for all threads of the plugin. */
struct ipft_host {
    /* Bytes of this struct as ipft knows it, at least those that are here. */
    uint64_t struct_size;
    /* To be passed to the functions. It tells ipft which instance calls. */
    void *context;
    /* Appends bytes to the instance's own stream: the file that the user named (`--plugin-out`), else standard output.
     * The bytes of one call stay together. They are taken over when it returns; there is a buffer, so that short writes
     * cost little. 0 if all is well. Anything else if the stream takes no more: the plugin should return from its call,
     * and is ended then, whatever it returns. */
    int32_t (*write)(void *context, const void *bytes, uint64_t len);
    /* Says something to the user, on standard error, with the plugin's name in front. `level` is one of the above.
     * Control characters are escaped. */
    void (*log)(void *context, uint32_t level, const char *message, uint64_t len);
};

/*
 * A plugin. `start`, `events` and `finish` must be there; the other functions may be NULL.
 *
 * The functions that return `const char *` return NULL if all is well. Else they return what is wrong, in words for the
 * user, as UTF-8 that a NUL ends. The text belongs to the plugin and must stay until the next call of the instance. A
 * function must return: neither a C++ exception nor a longjmp may leave it.
 */
struct ipft_plugin {
    /* IPFT_PLUGIN_VERSION. An ipft that is older refuses the library. */
    uint32_t version;
    /* sizeof(struct ipft_plugin). What a later version appends is taken for NULL. */
    uint32_t struct_size;
    /* What the plugin says of itself, as JSON, at most 64 KiB:
     *
     *     { "contract": "0.1.0", "name": "flame", "version": "0.3.1", "about": "one line", "license": "MIT",
     *       "options": [ { "name": "by", "type": "choice", "values": ["time", "count"], "default": "time",
     *                      "help": "one line" } ] }
     *
     * Types of options: `string`, `integer`, `number`, `bool`, `choice`. Names are letters, digits, `-` and `_`. */
    struct ipft_text description;
    /* The trace is about to deliver events. `options` are all that the plugin describes: what the user gave, checked,
     * else the default. What is stored in `*instance`, which is NULL before, is passed to all other functions, also if
     * this one fails. `host` stays where it is for the whole life of the instance; `trace` and `options` do not. */
    const char *(*start)(const struct ipft_host *host, const struct ipft_trace *trace, const struct ipft_fact *options,
                         uint64_t option_count, void **instance);
    /* Functions and names (of tagged values) that are new. They are appended to those of earlier calls; an event never
     * names one that has not been told, except for one that is out of range in a broken recording. The first call comes
     * right after `start`. */
    void (*learn)(void *instance, const struct ipft_function *functions, uint64_t function_count,
                  const struct ipft_text *names, uint64_t name_count);
    /* Events happened: at most 4096 a call. `payload` has the bytes that they refer to. */
    const char *(*events)(void *instance, const struct ipft_event *events, uint64_t event_count, const uint8_t *payload,
                          uint64_t payload_len);
    /* So many events were not passed to this instance since the last call, because it was too slow. Every other sink has
     * them. */
    void (*missed)(void *instance, uint64_t events);
    /* The trace has ended. */
    const char *(*finish)(void *instance, const struct ipft_summary *summary);
    /* The instance is not needed any more. It is called once after `start`, also if that or another call failed; nothing
     * follows. */
    void (*destroy)(void *instance);
};

/* What a library exports. It is called once or more often, by any thread, before anything else; it returns the same
 * table each time. NULL is refused. */
IPFT_PLUGIN_EXPORT const struct ipft_plugin *ipft_plugin_v0(void);

#ifdef __cplusplus
}
#endif

#endif

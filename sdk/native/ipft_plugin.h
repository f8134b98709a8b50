/* SPDX-License-Identifier: MIT OR Apache-2.0 */

/*
 * Native plugins of ipft: shared libraries that `ipft --plugin ./NAME.so` loads.
 *
 * A native plugin is part of the ipft process, without a sandbox: it has the privileges of the user who runs ipft, and
 * a crash in it crashes ipft. Where that is not needed, write a WebAssembly plugin, which has the same life cycle in a
 * sandbox (`wit/plugin-0.1.0.wit`). This header is that contract in C.
 *
 * A library exports one symbol, `ipft_plugin_v0`, which returns a table of functions. ipft calls them in this order:
 *
 *     start, learn, ( learn | events | missed )*, finish, destroy
 *
 * One such series of calls belongs to an instance. A failure ends an instance early: only `destroy` follows. One
 * library may have several instances, even at the same time. All calls of an instance come from one thread, which is
 * neither the one that loaded the library nor that of another instance. The trace does not wait for a plugin: events
 * come through a queue, and `missed` reports those that did not fit.
 *
 * Strings are UTF-8 with a length, not NUL-terminated; names come from the kernel and may contain anything, even NULs
 * and terminal escapes. A pointer whose length or count is 0 may have any value. Memory passed by ipft belongs to ipft
 * and is valid until the call returns, unless stated otherwise. The library is never unloaded, so memory that it passes
 * to ipft may be static.
 *
 * This interface is stable. A later version may append to structs that begin with their own size, and use `more` lists
 * and spare words; a library that was built with this header works with every later 64-bit ipft.
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

/* Goes before the definition of `ipft_plugin_v0`, for libraries built with hidden symbols. */
#define IPFT_PLUGIN_EXPORT __attribute__((visibility("default")))

/* Text. 16 bytes. */
struct ipft_text {
    const char *data;
    /* Bytes. */
    uint64_t len;
};

/* A name and its value. In `more` lists, plugins ignore names that they do not know. 32 bytes. */
struct ipft_fact {
    struct ipft_text name;
    struct ipft_text value;
};

/* One traced function. Events refer to it by its index in the order of `learn`. 40 bytes. */
struct ipft_function {
    /* Symbol name, with the compiler's suffix if it has one. */
    struct ipft_text name;
    /* `vmlinux`, or the module's name. */
    struct ipft_text module;
    /* Address of the symbol; 0 if the kernel does not expose it. */
    uint64_t address;
};

/* One member of an enum, or one symbol of the kernel. 24 bytes. */
struct ipft_member {
    struct ipft_text name;
    /* Negative values are sign-extended. */
    uint64_t value;
};

/* One named value in an event's payload. 80 bytes. */
struct ipft_field {
    /* Name as the author wrote it; nested structs are dotted. */
    struct ipft_text name;
    /* Offset in the payload, in bytes. */
    uint32_t offset;
    /* Size in bytes. For a bit-field: the bytes that it touches, at most 9. */
    uint32_t size;
    /* For a bit-field: its first bit within these bytes, read as one little-endian number. */
    uint32_t bit_offset;
    /* For a bit-field: its width in bits, 1 to 64. 0 if the value fills its bytes. */
    uint32_t bit_width;
    /* Type of the bytes, little-endian: `unsigned`, `signed`, `bool`, `char` (text, ended by a NUL or by the field's
     * size), `pointer`, `bytes`. */
    struct ipft_text kind;
    /* Display format: `plain`, `hex`, `enum`, `enum_flags`, `ipv4`, `ipv6`, `ip`, `mac`, `be16`, `be32`, `ktime`, `symbol`.
     * Show unknown ones as `plain`. */
    struct ipft_text format;
    /* For the formats `enum`, `enum_flags` and `symbol`: names of values; symbols are sorted by value. */
    const struct ipft_member *members;
    uint64_t member_count;
};

/* Properties of a trace that are known before its first event. */
struct ipft_trace {
    /* Size of this struct in the running ipft, at least that of this header. */
    uint32_t struct_size;
    /* Bytes of the part of a payload that the fields are in: its beginning. */
    uint32_t payload_size;
    /* `function` (entries only) or `function_graph` (entries and returns). */
    struct ipft_text tracer;
    /* The backend that attached (`kprobe-multi`, ...). */
    struct ipft_text backend;
    /* The fixed fields, with which every non-empty payload begins. */
    const struct ipft_field *fields;
    uint64_t field_count;
    /* Nanoseconds to add to an event's timestamp to get nanoseconds since 1970 (UTC). */
    int64_t clock_offset;
    /* The command line, as given. */
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
    /* If packets are followed: `filter`, `follow` (`true`), `drop-reasons` (`NUMBER=NAME`, with commas between them), and
     * `drop-classes` (`REASON=CLASS` or `REASON@FUNCTION=CLASS`: drops that are no loss). Others are for later versions. */
    const struct ipft_fact *more;
    uint64_t more_count;
};

/* The packet entered the function. */
#define IPFT_ENTRY UINT32_C(0)
/* The function returned. */
#define IPFT_RETURN UINT32_C(1)
/* The packet was made of another one, whose identity is in `spare`. Only where packets are followed. */
#define IPFT_BORN UINT32_C(2)
/* The packet became part of another one, whose identity is in `spare`; its end is the next event. */
#define IPFT_JOINED UINT32_C(3)
/* The packet's sk_buff was released; functions that tear it down may follow. `spare` is IPFT_DROPPED plus the
 * kernel's reason (0 if it tells none) if the packet was dropped, IPFT_DELIVERED if a socket or a protocol of the kernel
 * took it, IPFT_SENT if a device has sent it, IPFT_FORWARDED if it was received before that, IPFT_BECAME_PART of
 * another packet, and 0 if no more is known than that it was released in order. Other values may be added. Only where packets are followed. */
#define IPFT_ENDED UINT32_C(4)
#define IPFT_DROPPED (UINT64_C(1) << 32)
#define IPFT_DELIVERED (UINT64_C(2) << 32)
#define IPFT_SENT (UINT64_C(4) << 32)
#define IPFT_FORWARDED (UINT64_C(6) << 32)
#define IPFT_BECAME_PART (UINT64_C(8) << 32)
/* It was decided what becomes of the packet, by what the function names. `spare` is IPFT_NETFILTER plus the verdict of
 * netfilter (NF_*), IPFT_XDP plus that of XDP (XDP_*), or IPFT_TC plus that of traffic control (TC_ACT_*; 10: TC_ACT_UNSPEC,
 * 11: TC_ACT_JUMP, 12: TC_ACT_GOTO_CHAIN). Other values may be added. It may come after the packet's end. Only where packets are followed. */
#define IPFT_DECIDED UINT32_C(5)
#define IPFT_NETFILTER (UINT64_C(1) << 32)
#define IPFT_XDP (UINT64_C(2) << 32)
#define IPFT_TC (UINT64_C(3) << 32)
/* The packet is about to end as dropped: its end is the next event. The function is the stack of those that were running:
 * its name has them with " < " between them, the innermost first. */
#define IPFT_STACK UINT32_C(6)

/* One call of, or return from, a kernel function with a traced packet. Events of one packet are in order of time. 64
 * bytes, as in the contract. */
struct ipft_event {
    /* Identity of the packet, unique within the trace; never 0. It is not the address of the sk_buff, which the kernel
     * reuses as soon as a packet is freed. */
    uint64_t packet;
    /* Kernel address of the sk_buff. For a return it is that of the entry, or 0 if the entry was lost. */
    uint64_t skb;
    /* Nanoseconds, CLOCK_MONOTONIC. */
    uint64_t timestamp;
    /* For a return: the timestamp of its entry, so that `timestamp - entry_timestamp` is the call's duration. 0 for an
     * entry, and for a return whose entry was lost. */
    uint64_t entry_timestamp;
    /* Index of the function, in the order of `learn`. */
    uint32_t function;
    /* The CPU that ran the function. */
    uint32_t cpu;
    /* IPFT_ENTRY, IPFT_RETURN, IPFT_BORN, IPFT_JOINED, IPFT_ENDED, IPFT_DECIDED or IPFT_STACK. Ignore others: later
     * versions may add kinds. */
    uint32_t kind;
    /* The kernel's id of the current thread, 0 in the idle task. Calls nest properly within one packet and one thread;
     * for thread 0: within one packet and one CPU. */
    uint32_t thread;
    /* Offset of the event's payload in that of the call. */
    uint32_t payload_offset;
    /* Length of the payload in bytes; 0 if the event has none. */
    uint32_t payload_len;
    /* 0 in entries and returns. In other kinds, what the kind says: of a packet that was made of another one, or became
     * part of one, that one's identity. */
    uint64_t spare;
};

/* Events lost in one way on one CPU. 32 bytes. */
struct ipft_loss {
    /* `buffer-full`, `recursion`, `return-missed`, `map-full`, `rate-limit`, `no-buffer`, `undecodable`, or one of a
     * later version. */
    struct ipft_text kind;
    /* Number of events. */
    uint64_t count;
    /* The CPU, if `has_cpu` is 1. */
    uint32_t cpu;
    /* 1 if the kernel counts it per CPU, else 0. */
    uint32_t has_cpu;
};

/* A selected function that is not traced. 48 bytes. */
struct ipft_skipped {
    struct ipft_text name;
    struct ipft_text module;
    /* The reason, in words for the user. */
    struct ipft_text reason;
};

/* Properties that are known when the trace has ended. */
struct ipft_summary {
    /* Size of this struct in the running ipft, at least that of this header. */
    uint32_t struct_size;
    /* Number of attached functions. */
    uint32_t attached;
    /* Events that the trace delivered, including those that this plugin missed. */
    uint64_t events;
    /* Packets that were given an identity, including those that lost all of their events. */
    uint64_t packets;
    /* Events that this plugin missed because it was slower than the trace. */
    uint64_t missed;
    /* Events that no sink received, by way and CPU; empty if none was lost. */
    const struct ipft_loss *losses;
    uint64_t loss_count;
    /* The functions that could not be attached. */
    const struct ipft_skipped *skipped;
    uint64_t skipped_count;
    /* For later versions. */
    const struct ipft_fact *more;
    uint64_t more_count;
};

/* Severity of a message. */
#define IPFT_ERROR UINT32_C(0)
#define IPFT_WARNING UINT32_C(1)
#define IPFT_INFO UINT32_C(2)
/* Shown only with `-v`. */
#define IPFT_DEBUG UINT32_C(3)

/* Functions of ipft for plugins. The table and its functions are valid from `start` until `destroy` has returned
 * (without `destroy`: until the last call has), on all threads of the plugin. */
struct ipft_host {
    /* Size of this struct in the running ipft, at least that of this header. */
    uint64_t struct_size;
    /* The first argument of the functions; it identifies the instance. */
    void *context;
    /* Appends bytes to the instance's own stream: the file that the user named (`--plugin-out`), else standard output.
     * The bytes of one call stay together. They are copied into a buffer, so short writes are cheap. Returns 0 on
     * success, anything else if the stream is closed: the plugin should then return from its call, and is ended
     * whatever it returns. */
    int32_t (*write)(void *context, const void *bytes, uint64_t len);
    /* Prints a message to standard error, prefixed with the plugin's name. `level` is one of the above. Control
     * characters are escaped. */
    void (*log)(void *context, uint32_t level, const char *message, uint64_t len);
};

/*
 * A plugin. `start`, `events` and `finish` are required; the other functions may be NULL.
 *
 * The functions that return `const char *` return NULL on success, else an error message for the user, as
 * NUL-terminated UTF-8. The text belongs to the plugin and must stay valid until the next call of the instance.
 * Functions must return normally, not by a C++ exception or longjmp.
 */
struct ipft_plugin {
    /* IPFT_PLUGIN_VERSION. An older ipft refuses the library. */
    uint32_t version;
    /* sizeof(struct ipft_plugin). Members that a later version appends are taken as NULL. */
    uint32_t struct_size;
    /* The plugin's description, as JSON, at most 64 KiB:
     *
     *     { "contract": "0.1.0", "name": "flame", "version": "0.3.1", "about": "one line", "license": "MIT",
     *       "options": [ { "name": "by", "type": "choice", "values": ["time", "count"], "default": "time",
     *                      "help": "one line" } ] }
     *
     * Types of options: `string`, `integer`, `number`, `bool`, `choice`. Names are letters, digits, `-` and `_`. */
    struct ipft_text description;
    /* Called before the first event. `options` are all options of the description: the user's value, checked, else the
     * default. The value stored in `*instance`, which is NULL before, is passed to all other functions, even if this
     * one fails. `host` stays valid for the lifetime of the instance; `trace` and `options` do not. */
    const char *(*start)(const struct ipft_host *host, const struct ipft_trace *trace, const struct ipft_fact *options,
                         uint64_t option_count, void **instance);
    /* Adds functions and names (of tagged values) to those of earlier calls; an event never refers to one that was not
     * passed yet, except for one that is out of range in a broken recording. The first call comes right after `start`.
     * */
    void (*learn)(void *instance, const struct ipft_function *functions, uint64_t function_count,
                  const struct ipft_text *names, uint64_t name_count);
    /* Passes events: at most 4096 per call. `payload` has the bytes that they refer to. */
    const char *(*events)(void *instance, const struct ipft_event *events, uint64_t event_count, const uint8_t *payload,
                          uint64_t payload_len);
    /* Reports events that were not passed to this instance since the last call, because it was too slow. Other sinks
     * have received them. */
    void (*missed)(void *instance, uint64_t events);
    /* Called when the trace has ended. */
    const char *(*finish)(void *instance, const struct ipft_summary *summary);
    /* Frees the instance. Called once after `start`, even if that or another call failed; the last call. */
    void (*destroy)(void *instance);
};

/* The library's export. It is called at least once, by any thread, before anything else, and returns the same table
 * each time. NULL is refused. */
IPFT_PLUGIN_EXPORT const struct ipft_plugin *ipft_plugin_v0(void);

#ifdef __cplusplus
}
#endif

#endif

// SPDX-License-Identifier: GPL-2.0-only
/*
 * One variable of each type in wire.h, so that the compiler describes the types in BTF. The build script reads that and
 * compares src/wire.rs with it; nothing loads the object.
 */
#include <linux/types.h>
#include "core/wire.h"

struct ipft_event event;
struct ipft_birth birth;
struct ipft_ended ended;
struct ipft_dropped dropped;
struct ipft_decided decided;
struct ipft_drop_place drop_place;
struct ipft_capture capture;
struct ipft_frame frame;
struct ipft_place place;
struct ipft_tuple tuple;
struct ipft_iface iface;
struct ipft_vlan vlan;
struct ipft_gso gso;
struct ipft_csum csum;
struct ipft_sock sock;
struct ipft_proc proc;
struct ipft_ct ct;
struct ipft_route route;
struct ipft_context context;
struct ipft_config config;
struct ipft_cpu cpu;
enum ipft_drop drop;
enum ipft_decider decider;
enum ipft_tc_way tc_way;
enum ipft_link link;
enum ipft_field field;
enum ipft_function_source function_source;
enum ipft_maker maker;

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the programs and user space share: the records as they lie in the ring or perf buffer, and the counters of a
 * CPU. This is the one definition. src/wire.rs is its twin for Rust: the build compares every field and value of the
 * two by name, so that a change on one side alone does not build.
 */
#ifndef IPFT_WIRE_H
#define IPFT_WIRE_H

#define IPFT_MAX_CPUS 1024 /* a power of two; also the range of the CPU in a packet's identity */

#define IPFT_RETURN 0x80000000u /* in cpu_and_kind: the event is a return */

struct ipft_event {
	__u64 packet;	    /* identity, see identity.h */
	__u64 skb;	    /* address of the sk_buff; 0 in a return */
	__u64 timestamp;    /* bpf_ktime_get_ns() */
	__u64 function;	    /* attach cookie, or address of the function where there are no cookies */
	__u32 cpu_and_kind; /* CPU number; IPFT_RETURN if it is a return */
	__u32 thread;	    /* kernel's id of the current thread */
};

/* Marks the birth of a packet that was made of another one, in the place of an event's function. */
#define IPFT_BORN 0xfffffffffffffffeull

struct ipft_birth {
	struct ipft_event event; /* of the new packet; its function is IPFT_BORN */
	__u64 parent;		 /* identity of the packet that it was made of */
	__u64 function;		 /* what made it: as the function of an event, if user space knows it */
};

/* Marks the end of a packet, in the place of an event's function. */
#define IPFT_ENDED 0xfffffffffffffffdull

enum ipft_drop {
	IPFT_NO_DROP,
	IPFT_DROP,	 /* the kernel dropped the packet */
	IPFT_DROP_ALONE, /* likewise, and nothing was seen of it before; the built-in fields follow the record */
};

struct ipft_ended {
	struct ipft_event event; /* its function is IPFT_ENDED */
	__u32 dropped;		 /* enum ipft_drop; unless it is IPFT_NO_DROP, this is the start of a struct ipft_dropped */
	__u32 reason;		 /* the kernel's, 0 if it tells none */
	__u64 into;		 /* identity of the packet that it became part of; 0 if it did not */
};

#define IPFT_FRAMES 8

struct ipft_dropped {
	struct ipft_ended ended;
	__u64 location;		    /* where the kernel says that it was dropped */
	__u64 frames[IPFT_FRAMES]; /* return addresses, beginning with the program itself; 0 where there are none */
};

/* Marks a decision about a packet, in the place of an event's function. */
#define IPFT_DECIDED 0xfffffffffffffffcull

enum ipft_decider {
	IPFT_NFT,      /* a base chain of nf_tables */
	IPFT_IPTABLES, /* a table of ip_tables or ip6_tables */
	IPFT_XDP,      /* a program of generic XDP: its name is in `table`, the device in `chain`, its id in `priority` */
	IPFT_TC_FILTERS, /* filters of a qdisc, whose kind is in `table`, the device in `chain`, the class in `priority` */
	IPFT_TC_ACTIONS, /* actions: the kind of the first in `table`, the device in `chain`, their number in `priority` */
};

enum ipft_tc_way {
	IPFT_TC_INGRESS = 1,
	IPFT_TC_EGRESS,
};

#define IPFT_DECIDER_NAME 64 /* bytes of a name, at most, with a NUL */

struct ipft_decided {
	struct ipft_event event; /* its function is IPFT_DECIDED */
	__u32 verdict;		 /* what the function returned: NF_*, and more in the upper half; XDP_*; TC_ACT_* */
	__s32 priority;
	__u8 decider; /* enum ipft_decider */
	__u8 family;  /* NFPROTO_* */
	__u8 hook;    /* its number in that family; of traffic control enum ipft_tc_way */
	__u8 padding[5];
	__u8 table[IPFT_DECIDER_NAME]; /* texts; what is behind their NUL means nothing */
	__u8 chain[IPFT_DECIDER_NAME]; /* of nf_tables */
};

/* Marks a capture, in the place of an event's function. No function has this index or address. */
#define IPFT_CAPTURE 0xffffffffffffffffull

enum ipft_link {
	IPFT_ETHERNET, /* the first byte is of an Ethernet header */
	IPFT_IP,       /* of an IPv4 or IPv6 header */
};

/* The first bytes of a packet; only in the ring buffer. Its mark is at the offset of an event's function. */
struct ipft_capture {
	__u64 packet;
	__u32 length;	 /* bytes of the packet from the first byte here on */
	__u32 captured;	 /* how many of them are here */
	__u64 timestamp; /* of the event at which they were read */
	__u64 function;	 /* IPFT_CAPTURE */
	__u32 link;	 /* enum ipft_link */
	__u32 padding;
	__u8 bytes[];	 /* ipft_config.record_bytes; behind `captured` they mean nothing */
};

/*
 * The record of an entry is its event, the built-in fields that are chosen (ipft_config.fields_size bytes), and the
 * payload of an extension if there is one. That of a return is its event.
 */
#define IPFT_PAYLOAD 64 /* bytes of an extension's payload: its `data` */

/*
 * The built-in groups of fields: bits of ipft_config.fields. They come in the order of their bits. A `len` and a `mark`
 * are four bytes each; each of the others begins at a multiple of eight.
 */
enum ipft_field {
	IPFT_FIELD_LEN,
	IPFT_FIELD_MARK,
	IPFT_FIELD_TUPLE, /* struct ipft_tuple */
	IPFT_FIELD_IFACE, /* struct ipft_iface */
	IPFT_FIELD_NETNS, /* four bytes: the inode number of the network namespace, 0 if it is not known */
	IPFT_FIELD_VLAN,  /* struct ipft_vlan */
	IPFT_FIELD_GSO,	  /* struct ipft_gso */
	IPFT_FIELD_CSUM,  /* struct ipft_csum */
	IPFT_FIELD_SOCK,  /* struct ipft_sock */
	IPFT_FIELD_PROC,  /* struct ipft_proc */
	IPFT_FIELD_TUNNEL, /* struct ipft_tuple, of the packet inside */
	IPFT_FIELD_CT,	  /* struct ipft_ct */
	IPFT_FIELD_ROUTE, /* struct ipft_route */
	IPFT_FIELD_NETFILTER, /* no bytes: verdicts are records of their own */
	IPFT_FIELD_TC,	  /* likewise, of traffic control and XDP */
	IPFT_FIELD_STACK, /* no bytes: user space shows the frames of a struct ipft_dropped */
	IPFT_FIELDS,	  /* how many there are */
};

/* What the headers say. All is 0 where the packet has no such header, or where it is not in reach. */
struct ipft_tuple {
	__u8 saddr[16]; /* an IPv4 address as ::ffff:a.b.c.d */
	__u8 daddr[16];
	__u8 sport[2]; /* as on the wire, of TCP, UDP and SCTP */
	__u8 dport[2];
	__u16 ethertype; /* 0 if the packet has no network header yet */
	__u8 proto;	 /* IPPROTO_* */
	__u8 tcp_flags;
	__u32 seq; /* of TCP */
	__u32 ack;
	__u8 icmp_type;
	__u8 icmp_code;
	__u16 frag;    /* of IPv4: flags, and the offset in units of 8 bytes; likewise of IPv6 */
	__u16 icmp_id; /* of an echo request or reply */
	__u16 icmp_seq;
};

/* The device that the sk_buff is of at the moment. */
struct ipft_iface {
	__u8 iface[16];
	__u32 ifindex; /* 0 if it has none */
};

/* The VLAN tag that is not in the packet's bytes. */
struct ipft_vlan {
	__u16 vlan;	  /* the identifier */
	__u16 vlan_proto; /* EtherType of the tag; 0 if there is no tag */
	__u32 vlan_priority;
};

/* Segmentation offload. */
struct ipft_gso {
	__u16 gso_size; /* 0 if the packet is not to be segmented */
	__u16 gso_segs;
	__u32 gso_type; /* SKB_GSO_* */
};

/* The checksum. */
struct ipft_csum {
	__u16 ip_summed;   /* CHECKSUM_* */
	__u16 csum_offset; /* of CHECKSUM_PARTIAL: from csum_start to the sum */
	__s32 csum_start;  /* of CHECKSUM_PARTIAL: from the data of the sk_buff to what is summed up */
};

/* The socket; all is 0 if there is none. */
struct ipft_sock {
	__u64 sock_cookie; /* 0 until something asks for it */
	__u64 sock_cgroup;
	__u32 sock_family; /* AF_* */
	__u32 sock_state;  /* TCP_* */
};

/* The process; all is 0 in a softirq. */
struct ipft_proc {
	__u8 comm[16];
	__u32 pid;
};

/* The connection; all is 0 if the packet has none. */
struct ipft_ct {
	__u8 ct_saddr[16]; /* of the packets in its first direction, as they come; addresses as in struct ipft_tuple */
	__u8 ct_daddr[16];
	__u8 ct_nat_saddr[16]; /* what NAT makes of them; all is 0 without NAT */
	__u8 ct_nat_daddr[16];
	__u8 ct_sport[2]; /* of ICMP: the identifier of an echo */
	__u8 ct_dport[2];
	__u8 ct_nat_sport[2];
	__u8 ct_nat_dport[2];
	__u32 ct_status; /* IPS_* */
	__u32 ct_mark;
	__u16 ct_zone;
	__u8 ct_proto; /* IPPROTO_* */
	__u8 ct_state; /* enum ip_conntrack_info of the packet, and 1; 0: it has no connection */
};

/* In ipft_route.route_type: the tables of routes have none for the packet. */
#define IPFT_NO_ROUTE 16

/* The route that was found; all is 0 if none was looked for. */
struct ipft_route {
	__u8 route_gateway[16]; /* an IPv4 address as in struct ipft_tuple; 0 if there is none */
	__u8 route_dev[16];	/* where it leads to; empty if it leads nowhere */
	__u32 route_type;	/* RTN_*, or IPFT_NO_ROUTE */
	__u32 route_table;	/* of IPv6; 0 if it is not known */
};

#define IPFT_FIELDS_MOST 352 /* bytes of all fields together, at most */

/* What the packet filter looks at: see filter/frame.h. */
struct ipft_frame {
	__u32 bytes;  /* from the network header on, rounded up to 8 */
	__u8 mac;     /* Ethernet addresses */
	__u8 vlan;    /* VLAN tags */
	__u8 length;  /* the packet's length */
	__u8 padding;
};

/* What ipft_followed begins with if every function selects packets: none of them may take it for a 0. */
#define IPFT_ANYWHERE 0x100000000ull

/* Where packets are selected, and how many. */
struct ipft_place {
	__u64 name[2];	  /* of the device, masked */
	__u64 mask[2];	  /* the bits of the name that count; 0: any device */
	__u64 present[2]; /* bits of which one must be set, in each word that has some: the name is long enough */
	__u32 netns;	  /* inode number of the network namespace; 0: any */
	__u32 sample;	  /* one of so many flows; 0 and 1: all */
	__u32 rate;	  /* so many packets a second; 0: any number */
	__u32 pid;	  /* number of the process; 0: any */
	__u64 comm[2];	  /* name of the thread, padded with 0; 0: any */
	__u64 cgroup;	  /* number of the control group of the socket, or of one above that; 0: any */
	__u32 cgroup_level; /* how many groups are above it */
	__u32 drops;	    /* in a trace of drops: so many a second of each place, on each CPU; 0: any number */
};

/* Places of a CPU that are distinguished; what is dropped elsewhere is counted in the last one. A power of two. */
#define IPFT_DROP_PLACES 64

/* What a CPU has dropped at a place for a reason. */
struct ipft_drop_place {
	__u64 location; /* as in struct ipft_dropped; 0 if the slot is free */
	__u64 count;
	__u64 start;	/* of the second that is counted in `sent` */
	__u32 reason;
	__u32 sent;	/* records in that second */
};

/* Where a CPU counts its contexts, see field/task.h; 0 if that is not known or not wanted. */
struct ipft_context {
	__u64 per_cpu_offset; /* address of the table of the CPUs' offsets */
	__u64 preempt_count;  /* what to add to an offset, but for that of a member of `pcpu_hot` */
};

/*
 * Configuration, the whole of .rodata.ipft: .rodata is shared with the extension that is linked in. ipft writes the
 * values into most programs before it loads them (host/core/src/probe/specialize.rs). The verifier knows the value of a
 * frozen .rodata and drops the branches that are not taken of the others, whose loads stay: so only what runs for traced
 * packets may look at it.
 */
struct ipft_config {
	__u8 use_perf_buffer;
	__u8 remember_calls;  /* remember each traced call, for its return */
	__u8 function_source; /* enum ipft_function_source */
	__u32 wake_mask;      /* 2^n - 1: a CPU wakes the reader every 2^n events */
	__u32 record_bytes;   /* of each packet are sent so many of its first bytes; 0: none are */
	__u32 fields;	      /* the chosen fields, a bit of each enum ipft_field */
	__u32 fields_size;    /* their bytes together, rounded up to a multiple of 8 */
	__u32 ring_mask;      /* number of rings less one, a power of two less one; 0: one ring for all CPUs */
	__u32 event_interval; /* nanoseconds between events of a CPU in the long run, see limit.h; 0: any number */
	/* Of programs that follow packets: */
	__u32 mark;	      /* the mark that a packet must carry to be selected, already masked */
	__u32 mask;	      /* 0: any mark will do */
	__u8 select_anywhere; /* every function selects packets, not only gates */
	__u8 drops_have_reason; /* the tracepoint skb:kfree_skb tells the reason */
	__u8 judge_each;	/* a function has to do with a packet only if it selects it; with select_anywhere */
	__u8 judge_inner;	/* the packet inside must match the inner filter */
	__u8 judge_where;	/* the packet must match the expression of --where */
	struct ipft_frame frame;
	struct ipft_frame inner; /* the same of the inner filter */
	struct ipft_place place;
	struct ipft_context context;
};

/*
 * Operands of instructions that user space replaces before it loads the programs, because a load from the configuration
 * would cost every packet an instruction or two. They occur nowhere else: build/places.rs checks it.
 */
#define IPFT_MASK_PLACE 0x1ea5c0de     /* of an `&=`; the instruction is removed if all bits of the mark count */
#define IPFT_MARK_PLACE 0x1badcafe     /* of a comparison with the mark, already masked */
#define IPFT_FUNCTION_PLACE 0x1badf00d /* of a 64-bit load: the function's index, in the ftrace backend's templates */

enum ipft_function_source {
	IPFT_FROM_COOKIE,  /* attach cookies: perf links from 5.15 on */
	IPFT_FROM_FUNC_IP, /* bpf_get_func_ip: kprobe-multi, where a cookie would be searched for among all addresses */
	IPFT_FROM_REGS,	   /* the instruction pointer: 5.10 has neither */
};

/* What a function does that makes packets of others, in the cookies of programs that functions share; 0: nothing. */
enum ipft_maker {
	IPFT_MAKER_COPY = 1,
	IPFT_MAKER_FRAGMENT,
	IPFT_MAKER_SPLIT,
	IPFT_MAKER_GRO,
	IPFT_MAKER_COALESCE,
	IPFT_MAKER_PARTIAL,
	IPFT_MAKER_QUEUE,
	IPFT_MAKER_ASSEMBLE,
};

/*
 * Two cache lines, so that CPUs do not share one: the first has what every event needs, and what is counted in a flood.
 * The counters only grow.
 */
struct ipft_cpu {
	__u64 emitted;	     /* events handed to the buffer; paces wake-ups, may run behind */
	__u64 last_packet;   /* identity of the packet that was seen last, see identity.h */
	__u64 last_check;    /* what tells whether last_packet is still the packet at an address */
	__u64 due;	     /* when the events so far would have come at the highest rate, see limit.h */
	__u64 packets;	     /* identities given on this CPU */
	__u64 buffer_full;   /* records that found no room in the ring or perf buffer */
	__u64 over_limit;    /* events over the limit of events a second */
	__u64 packets_full;  /* events of packets that found no room in the table of packets */
	__u64 calls_full;    /* returns that are not traced because the table of open calls was full */
	__u64 calls_missed;  /* returns that never came: their frame was entered again */
} __attribute__((aligned(128)));

#endif

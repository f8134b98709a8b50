// The trace as the page uses it: what the data element holds, unpacked when it is asked for.
//
// Only the packet that is looked at is unpacked, so that a page with very many packets opens at once. Nothing in here
// touches the document.

const STRIDE = 8;
const RETURN_MISSING = -1;
const ENTRY_MISSING = -2;
/** Packets below one that are listed at first. */
const MOST_OPEN = 8;
/** The children of most packets. */
const NONE = Object.freeze([]);

/** The functions, fields and packets of a trace. */
class Trace {
  constructor(data) {
    this.data = data;
    this.layers = data.layers;
    this.functions = data.functions.map(([name, module, layer, drop]) => ({
      name: name || "(no name)",
      module: module || "(no name)",
      layer,
      drop: drop === 1,
    }));
    this.graph = data.trace.tracer === "function_graph";
    this.followed = data.trace.follow === 1;
    this.relations = data.relations ?? null;
    this.origins = new Map(data.relations?.of);
    this.wholes = new Map(data.relations?.into);
    this.packets = [];
    for (const packet of data.packets) this.packets.push(new Packet(this, packet, this.packets.length));
    this.roots = this.relations ? this.grow() : this.packets;
    this.drops = this.packets.reduce((sum, packet) => sum + (packet.drops > 0 ? 1 : 0), 0);
  }

  /**
   * Puts packets below those that they were made of, which are before them in the list, and returns those that are below
   * none.
   */
  grow() {
    const roots = [];
    for (const packet of this.packets) {
      if (packet.parent === null) {
        roots.push(packet);
        continue;
      }
      packet.depth = packet.parent.depth + 1;
      if (packet.parent.children === NONE) packet.parent.children = [];
      packet.parent.children.push(packet);
    }
    for (let index = this.packets.length - 1; index >= 0; index -= 1) {
      const packet = this.packets[index];
      if (packet.parent) packet.parent.below += packet.below + 1;
    }
    for (const root of roots) root.open = root.below <= MOST_OPEN;
    return roots;
  }

  /** All packets in the order of the tree: a packet before those below it, and none of those below a closed one. */
  inTree() {
    const ordered = [];
    const stack = this.roots.slice().reverse();
    while (stack.length > 0) {
      const packet = stack.pop();
      ordered.push(packet);
      if (!packet.open) continue;
      for (let index = packet.children.length - 1; index >= 0; index -= 1) stack.push(packet.children[index]);
    }
    return ordered;
  }

  /** The values of one event, as [name, text] pairs in the order in which the kernel side wrote them. */
  fields(row) {
    const pairs = [];
    if (row === 0) return pairs;
    const numbers = this.data.rows[row - 1];
    for (let i = 0; i < numbers.length; i += 2) {
      pairs.push([this.data.fields[numbers[i]], this.data.texts[numbers[i + 1]]]);
    }
    return pairs;
  }

  /** Where an event says that the packet is (`netns 4026531840 · eth0`), or null if it does not. */
  place(row) {
    if (row === 0 || this.data.place.length === 0) return null;
    const numbers = this.data.rows[row - 1];
    const parts = [];
    for (const wanted of this.data.place) {
      for (let i = 0; i < numbers.length; i += 2) {
        const text = this.data.texts[numbers[i + 1]];
        if (numbers[i] !== wanted || text === "" || text === "0") continue;
        // A bare number says nothing without its name.
        parts.push(/^[0-9a-fx]+$/.test(text) ? `${this.data.fields[wanted]} ${text}` : text);
      }
    }
    return parts.length === 0 ? null : parts.join(" · ");
  }
}

/** One packet: what the list shows of it is counted once, its calls are unpacked when it is drawn. */
class Packet {
  constructor(trace, { id, skb, start, calls, cut }, index) {
    this.trace = trace;
    const { relations } = trace;
    const up = relations ? relations.up[index] : 0;
    this.parent = up > 0 ? trace.packets[index - up] : null;
    this.depth = 0;
    this.below = 0;
    this.open = true;
    this.children = NONE;
    this.id = id;
    this.skb = skb;
    this.start = start;
    this.index = index;
    this.cut = cut === 1;
    this.flat = calls;
    this.count = calls.length / STRIDE;
    this.drops = 0;
    this.unpaired = 0;
    let time = 0;
    let last = 0;
    for (let at = 0; at < calls.length; at += STRIDE) {
      time += calls[at];
      last = Math.max(last, time + Math.max(0, calls[at + 1]));
      if (trace.functions[calls[at + 2]].drop && calls[at + 1] !== ENTRY_MISSING) this.drops += 1;
      if (calls[at + 1] === ENTRY_MISSING || (trace.graph && calls[at + 1] === RETURN_MISSING)) this.unpaired += 1;
    }
    // A followed packet's end says whether it was dropped, which functions only suggest.
    if (trace.followed) this.drops = relations.end[index] > 0 ? relations.ends[relations.end[index] - 1][1] : 0;
    this.duration = last;
    this.first = this.count > 0 ? trace.functions[calls[2]] : null;
    this.last = this.count > 0 ? trace.functions[calls[calls.length - STRIDE + 2]] : null;
  }

  /** What it is, in words; empty if that is not known. */
  get name() {
    const { relations } = this.trace;
    if (!relations || relations.name[this.index] === 0) return "";
    return relations.beginnings[relations.name[this.index] - 1] + relations.rest[this.index];
  }

  /** What it was made of, in words. */
  get made() {
    const { relations, origins } = this.trace;
    const origin = origins.get(this.index) ?? (this.parent ? `#${this.parent.index + 1}` : "");
    const by = relations ? relations.by[this.index] : 0;
    return by > 0 ? `${origin} by ${relations.makers[by - 1]}` : origin;
  }

  /** How it ended, in words. */
  get end() {
    const { relations, wholes } = this.trace;
    const whole = wholes.get(this.index);
    const end = relations ? relations.end[this.index] : 0;
    if (end === 0) return whole ? `part of ${whole}` : "";
    const words = relations.ends[end - 1][0];
    return whole ? `${words} ${whole}` : words;
  }

  /** Whether one of the packet's calls is of one of these functions. */
  touches(functions) {
    for (let at = 2; at < this.flat.length; at += STRIDE) {
      if (functions.has(this.flat[at])) return true;
    }
    return false;
  }

  /** Its calls in the order in which they began. */
  unpack() {
    const calls = [];
    let time = 0;
    let place = null;
    for (let at = 0; at < this.flat.length; at += STRIDE) {
      const [step, duration, number, cpu, thread, up, row, returned] = this.flat.slice(at, at + STRIDE);
      time += step;
      const index = calls.length;
      const parent = up === 0 ? null : calls[index - up];
      place = this.trace.place(row) ?? place;
      calls.push({
        index,
        start: time,
        end: time + Math.max(0, duration),
        duration,
        number,
        function: this.trace.functions[number],
        cpu,
        thread,
        parent,
        level: parent ? parent.level + 1 : 0,
        row,
        returned,
        place,
        inside: 0,
      });
      if (parent && duration > 0) parent.inside += duration;
    }
    // A packet is somewhere before the first event that says where.
    const first = calls.find((call) => call.place !== null)?.place ?? null;
    for (const call of calls) {
      if (call.place !== null) break;
      call.place = first;
    }
    return calls;
  }
}

/** Nanoseconds as people write them: three digits behind the point, the unit that suits. */
function duration(nanoseconds) {
  if (nanoseconds < 1000) return `${Math.round(nanoseconds)} ns`;
  for (const [unit, size] of [["µs", 1e3], ["ms", 1e6], ["s", 1e9]]) {
    if (nanoseconds < 1000 * size || unit === "s") {
      const value = nanoseconds / size;
      return `${value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ${unit}`;
    }
  }
}

/** Nanoseconds since the packet's first event, exact. */
function moment(nanoseconds) {
  return `+${(nanoseconds / 1000).toFixed(3)} µs`;
}

/** `1,234,567`, of a number or of digits that no number can hold. */
function thousands(value) {
  return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

/** `1 packet`, `2 packets`. */
function several(count, noun) {
  return `${thousands(count)} ${noun}${String(count) === "1" ? "" : "s"}`;
}

/** Decimal nanoseconds since 1970 as `2026-01-01 00:00:00.123456789 UTC`. */
function wallClock(text) {
  const nanoseconds = BigInt(text);
  const date = new Date(Number(nanoseconds / 1000000n));
  if (Number.isNaN(date.getTime())) return `${text} ns`;
  const rest = String(nanoseconds % 1000000000n).padStart(9, "0");
  return `${date.toISOString().slice(0, 19).replace("T", " ")}.${rest} UTC`;
}

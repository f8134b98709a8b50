// Where everything is: calls in lanes and rows, and time along the x axis. Pure arithmetic, nothing of the document.

const ROW = 18;
const LANE_GAP = 9;
const HEAD = 24;
/** A lane holds no more rows than this; deeper calls share the last one. */
const MOST_ROWS = 1024;

/** Rows of a lane in which there are only marks. */
const TURNS = 4;

/** What can tell one lane from another. */
const LANES = {
  layer: { label: "layer", group: () => null, lane: (call) => call.function.layer },
  place: { label: "device, then layer", group: (call) => call.place ?? "not known where", lane: (call) => call.function.layer },
  cpu: { label: "CPU, then layer", group: (call) => `CPU ${call.cpu}`, lane: (call) => call.function.layer },
  module: { label: "module", group: () => null, lane: (call) => call.function.module },
};

/**
 * Lays out one packet's calls: lanes from the top, each with as many rows as calls are open in it at once. A call is
 * always below the calls of its lane that it happens in.
 */
function layOut(calls, mode, layers, graph) {
  const { group, lane } = LANES[mode];
  const groups = new Map();
  for (const call of calls) {
    const name = group(call);
    if (!groups.has(name)) groups.set(name, new Map());
    const lanes = groups.get(name);
    const key = lane(call);
    if (!lanes.has(key)) lanes.set(key, { key, ends: [], calls: [] });
    lanes.get(key).calls.push(call);
  }
  const result = { lanes: [], heads: [], height: 0 };
  let y = 6;
  for (const [name, lanes] of groups) {
    if (name !== null) {
      result.heads.push({ name, top: y });
      y += HEAD;
    }
    const inOrder = [...lanes.values()];
    if (mode !== "module") inOrder.sort((a, b) => a.key - b.key);
    for (const each of inOrder) {
      const rows = graph ? fillRows(each) : stagger(each);
      const height = rows.length * ROW + LANE_GAP;
      const label = mode === "module" ? each.key : layers[each.key];
      result.lanes.push({ label, layer: mode === "module" ? null : each.key, group: name, top: y, height, rows, count: each.calls.length });
      for (const call of each.calls) call.y = y + LANE_GAP / 2 + call.rank * ROW;
      y += height;
    }
  }
  result.height = y + 6;
  return result;
}

function fillRows(lane) {
  const rows = [];
  for (const call of lane.calls) {
    let least = 0;
    for (let above = call.parent; above; above = above.parent) {
      if (above.lane === lane) {
        least = above.rank + 1;
        break;
      }
    }
    let rank = least;
    while (rank < rows.length && rank < MOST_ROWS - 1 && lane.ends[rank] > call.start) rank += 1;
    rank = Math.min(rank, MOST_ROWS - 1);
    while (rows.length <= rank) {
      rows.push([]);
      lane.ends.push(-1);
    }
    rows[rank].push(call);
    // Two marks at the same instant would hide each other.
    lane.ends[rank] = Math.max(lane.ends[rank], call.end, call.start + 1e-3);
    call.rank = rank;
    call.lane = lane;
  }
  return rows;
}

/** Without durations there is nothing to stack: marks take turns in a few rows, so that their names have room. */
function stagger(lane) {
  const rows = [];
  lane.calls.forEach((call, index) => {
    call.rank = index % TURNS;
    call.lane = lane;
    (rows[call.rank] ??= []).push(call);
  });
  return rows;
}

/** How much longer than most steps a wait must be to be cut. */
const LONG_WAIT = 25;

/** How time becomes length: as it is, with long waits cut short, or one step for each thing that happens. */
class Axis {
  constructor(calls, mode) {
    this.mode = mode;
    const moments = new Float64Array(2 * calls.length);
    calls.forEach((call, index) => {
      moments[2 * index] = call.start;
      moments[2 * index + 1] = call.end;
    });
    moments.sort();
    this.times = moments.filter((time, index) => index === 0 || time !== moments[index - 1]);
    this.places = new Float64Array(this.times.length);
    /** The waits that were cut: [from, to] in nanoseconds. */
    this.cuts = [];
    const steps = this.times.slice(1).map((time, index) => time - this.times[index]);
    const usual = steps.slice().sort()[Math.floor(steps.length * 0.75)] ?? 0;
    const longest = Math.max(usual * LONG_WAIT, 1);
    for (let i = 1; i < this.times.length; i += 1) {
      let step = steps[i - 1];
      if (mode === "even") {
        step = 1;
      } else if (mode === "waits" && step > longest && steps.length > 3) {
        this.cuts.push([this.times[i - 1], this.times[i]]);
        step = longest;
      }
      this.places[i] = this.places[i - 1] + step;
    }
    this.length = Math.max(this.places.at(-1) ?? 0, 1);
  }

  /** Whether equal lengths are equal times. */
  isToScale() {
    return this.mode !== "even" && this.cuts.length === 0;
  }

  /** The place of a time. */
  place(time) {
    return between(this.times, this.places, time);
  }

  /** The time at a place. */
  time(place) {
    return between(this.places, this.times, place);
  }
}

/** The value that belongs to `wanted`, where `from` is sorted and `to` runs with it. */
function between(from, to, wanted) {
  if (from.length === 0) return 0;
  let low = 0;
  let high = from.length - 1;
  if (wanted <= from[0]) return to[0];
  if (wanted >= from[high]) return to[high];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (from[middle] <= wanted) low = middle;
    else high = middle;
  }
  const part = (wanted - from[low]) / (from[high] - from[low]);
  return to[low] + part * (to[high] - to[low]);
}

/** A step of 1, 2 or 5 times a power of ten, at least as long as `least`. */
function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(Math.max(least, 1e-3)));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= least) ?? 10 * power;
}

// The page: what the user does, and what of the trace is looked at.

const $ = (id) => document.getElementById(id);
const trace = new Trace(JSON.parse($("data").textContent));
const view = new View($("scroller"), $("canvas"), $("height"));

/** What is looked at: the packets of the list in its order, one of them, its calls, one of these. */
const state = { listed: [], isTree: false, packet: null, calls: [], call: null, matches: null, query: "" };

/** Levels of packets made of each other that the list of packets indents, by so many pixels. */
const DEEPEST_PACKET = 6;
const PACKET_INDENT = 12;

/** Levels of nesting that the list of calls indents. */
const DEEPEST_INDENT = 18;

const packets = new List($("packets"), 58, fillPacket, (index) => showPacket(state.listed[index]), fold);
const calls = new List($("calls"), 20, fillCall, (index) => choose(state.calls[index]));

// The list of packets.

function fillPacket(row, index) {
  const packet = state.listed[index];
  const line = element("div", "line");
  const number = element("span", "number", `#${packet.index + 1}`);
  line.append(number);
  if (state.isTree) {
    row.style.paddingLeft = `${12 + Math.min(packet.depth, DEEPEST_PACKET) * PACKET_INDENT}px`;
    row.setAttribute("role", "treeitem");
    row.setAttribute("aria-level", packet.depth + 1);
    if (packet.below > 0) {
      row.setAttribute("aria-expanded", packet.open);
      const folds = element("span", "fold", packet.open ? " ▾" : ` ▸ ${thousands(packet.below)} more`);
      folds.dataset.fold = packet.open ? "close" : "open";
      folds.title = packet.open ? "hide the packets that were made of it ( ← )" : "show the packets that were made of it ( → )";
      number.append(folds);
    }
  }
  const facts = element("span");
  if (packet.drops > 0) facts.append(element("span", "badge drop", "dropped"), " ");
  else if (packet.end !== "") facts.append(element("span", "badge end", packet.end.split(" ", 1)[0]), " ");
  if (packet.unpaired > 0) facts.append(element("span", "badge warn", `${thousands(packet.unpaired)} unpaired`), " ");
  facts.append(element("span", "small", `${several(packet.count, "function")} · ${duration(packet.duration)}`));
  line.append(facts);
  row.append(line);
  const first = packet.first ? packet.first.name : "no function";
  const then = packet.last && packet.count > 1 ? `→ ${packet.last.name}` : "";
  const last = element("div", "path", packet.name === "" ? then : `${first} ${then}`);
  if (packet.last?.drop) last.classList.add("is-drop");
  if (packet.name === "") row.append(element("div", "path", first), last);
  else row.append(element("div", "heading", packet.name), last);
  row.title = [packet.name, `packet ${packet.id}, sk_buff ${packet.skb}`, ...relations(packet).map((pair) => pair.join(" "))].filter((text) => text !== "").join("\n");
}

/** What a packet was made of, and how it ended. */
function relations(packet) {
  const rows = [];
  if (packet.made !== "") rows.push(["made of", packet.made]);
  if (packet.end !== "") rows.push(["ended", packet.end]);
  return rows;
}

/** Closes a packet of the tree, or with true opens it; false if it cannot be. */
function fold(index, open) {
  const packet = state.listed[index];
  if (!state.isTree) return false;
  if (packet.below === 0 || packet.open === open) {
    if (open || !packet.parent) return false;
    goToPacket(packet.parent);
    return true;
  }
  packet.open = open;
  listPackets();
  if (packets.active < 0) packets.pick(index);
  return true;
}

/** Opens what a packet is below of, so that it is listed. */
function reveal(packet) {
  for (let above = packet.parent; above; above = above.parent) above.open = true;
}

function listPackets() {
  const sorts = {
    time: (a, b) => a.index - b.index,
    duration: (a, b) => b.duration - a.duration || a.index - b.index,
    count: (a, b) => b.count - a.count || a.index - b.index,
  };
  const onlyDrops = $("only-drops").checked;
  // What is searched or sorted is a list without levels.
  state.isTree = trace.followed && !onlyDrops && state.matches === null && $("sort").value === "time";
  $("packets").setAttribute("role", state.isTree ? "tree" : "listbox");
  if (state.isTree) {
    state.listed = trace.inTree();
  } else {
    state.listed = trace.packets.filter((packet) => (!onlyDrops || packet.drops > 0) && isFound(packet));
    state.listed.sort(sorts[$("sort").value]);
  }
  packets.reset(state.listed.length, state.listed.indexOf(state.packet));
  if (packets.active >= 0) packets.activate(packets.active);
}

// Searching.

/** Whether the packet has something of what is searched. */
function isFound(packet) {
  if (state.matches === null) return true;
  const { query } = state;
  if (packet.name.toLowerCase().includes(query) || packet.end.toLowerCase().includes(query)) return true;
  return packet.id.includes(query) || packet.skb.includes(query) || `#${packet.index + 1}` === query || packet.touches(state.matches);
}

function search() {
  const query = $("search").value.trim().toLowerCase();
  state.query = query;
  state.matches = null;
  if (query !== "") {
    state.matches = new Set();
    trace.functions.forEach((each, number) => {
      if (each.name.toLowerCase().includes(query) || each.module.toLowerCase() === query) state.matches.add(number);
    });
  }
  // A search for a packet dims none of its functions.
  view.matches = state.matches !== null && state.matches.size > 0 ? state.matches : null;
  if (state.matches === null && state.packet) reveal(state.packet);
  listPackets();
  if (state.matches === null) {
    $("found").textContent = "";
  } else {
    const here = state.calls.filter((call) => state.matches.has(call.number)).length;
    $("found").textContent = `${several(state.listed.length, "packet")}, ${several(state.matches.size, "function")}, ${several(here, "call")} here`;
  }
  calls.reset(state.calls.length, state.call ? state.call.index : -1);
  view.redraw();
}

/** Goes to the next call (or with -1 to the previous one) for which `wanted` holds, in this packet and round it. */
function goTo(step, wanted) {
  const count = state.calls.length;
  const from = state.call ? state.call.index : step > 0 ? -1 : 0;
  for (let i = 1; i <= count; i += 1) {
    const call = state.calls[(((from + i * step) % count) + count) % count];
    if (wanted(call)) return choose(call);
  }
}

const isMatch = (call) => state.matches !== null && state.matches.has(call.number);

// One packet.

function showPacket(packet) {
  state.packet = packet;
  state.calls = packet.unpack();
  state.call = null;
  draw();
  const facts = [packet.name === "" ? `packet #${packet.index + 1}` : packet.name, several(packet.count, "function"), duration(packet.duration)];
  if (packet.cut) facts.push("cut short: its later events are not in this page");
  if (packet.end !== "") facts.push(packet.end);
  $("packet-facts").textContent = facts.join(" · ");
  $("packet-facts").title = `${packet.id}, sk_buff ${packet.skb}`;
  calls.reset(state.calls.length, -1);
  $("calls").scrollTop = 0;
  $("scroller").scrollTop = 0;
  showDetails();
  if (state.query !== "") search();
}

/** Lays the packet out anew, as lanes and axis are wanted. */
function draw() {
  const layout = layOut(state.calls, $("lanes").value, trace.layers, trace.graph);
  view.selected = state.call;
  view.show(state.calls, layout, new Axis(state.calls, $("axis").value), trace.graph);
}

function choose(call) {
  state.call = call;
  view.selected = call;
  // First, because how high the details are is how much room the list has.
  showDetails();
  calls.activate(call ? call.index : -1);
  if (call) view.reveal(call);
  view.redraw();
}

function fillCall(row, index) {
  const call = state.calls[index];
  row.append(element("span", "when", (call.start / 1000).toFixed(3)));
  // Deeper than there is room for, the depth is a number.
  const indent = call.level <= DEEPEST_INDENT ? " ".repeat(call.level) : `${" ".repeat(DEEPEST_INDENT - 4)}${call.level}▸ `;
  const name = element("span", "name", `${indent}${call.function.name}`);
  const took = element("span", "took", call.duration >= 0 ? duration(call.duration) : "");
  if (call.duration === ENTRY_MISSING) took.textContent = "return only";
  else if (trace.graph && call.duration === RETURN_MISSING) took.textContent = "no return";
  row.classList.toggle("is-drop", call.function.drop);
  row.classList.toggle("is-match", isMatch(call));
  row.append(name, took);
  row.title = call.function.name;
}

// What is said of a call.

function facts(call) {
  const rows = [];
  if (call.duration === ENTRY_MISSING) {
    rows.push(["returned", moment(call.start)]);
  } else {
    rows.push(["entered", moment(call.start)]);
    if (call.duration >= 0) rows.push(["took", duration(call.duration)]);
    if (call.duration > 0 && call.inside > 0) rows.push(["of that itself", duration(Math.max(0, call.duration - call.inside))]);
  }
  return rows;
}

function table(rows) {
  const made = element("table");
  for (const [name, value, className] of rows) {
    const row = element("tr", className);
    const head = element("th", "", name);
    head.setAttribute("scope", "row");
    row.append(head, element("td", "", value));
    made.append(row);
  }
  return made;
}

/** The fields of an event; those that differ from the packet's event before it are marked. */
function fieldTable(call, row) {
  let before = null;
  for (let index = call.index - 1; index >= 0 && before === null; index -= 1) {
    if (state.calls[index].row !== 0) before = new Map(trace.fields(state.calls[index].row));
  }
  return table(
    trace.fields(row).map(([name, value]) => {
      const changed = before !== null && before.get(name) !== value;
      return [changed ? `${name} ●` : name, value, changed ? "changed" : ""];
    }),
  );
}

/** Links to the packets that a packet was made of, and that were made of it. */
function showFamily(box, packet) {
  const lists = [["Made of", packet.parent ? [packet.parent] : []], ["Made of it", packet.children]];
  for (const [title, others] of lists.filter(([, others]) => others.length > 0)) {
    box.append(element("h3", "", title));
    const links = element("div", "links");
    for (const other of others.slice(0, 64)) {
      const button = element("button", "", [`#${other.index + 1}`, other.name, other.end].filter((text) => text !== "").join(" · "));
      button.type = "button";
      button.addEventListener("click", () => goToPacket(other));
      links.append(button);
    }
    if (others.length > 64) links.append(element("span", "small", `and ${several(others.length - 64, "packet")} more`));
    box.append(links);
  }
}

/** Shows a packet, which need not be listed. */
function goToPacket(packet) {
  reveal(packet);
  if (state.isTree) listPackets();
  showPacket(packet);
  packets.activate(state.listed.indexOf(packet));
}

function showDetails() {
  const box = $("details");
  box.replaceChildren();
  const { call, packet } = state;
  if (!packet) return;
  if (!call) {
    box.append(element("h2", "", `packet #${packet.index + 1}`));
    if (packet.name !== "") box.append(element("p", "packet-name", packet.name));
    if (trace.followed && packet.drops > 0) box.append(element("p", "dropped", packet.end));
    const rows = [...relations(packet), ["identity", packet.id], ["sk_buff", packet.skb]];
    rows.push(["first event", wallClock(BigInt(trace.data.began) + BigInt(packet.start))]);
    rows.push(["duration", duration(packet.duration)], ["functions", thousands(packet.count)]);
    if (!trace.followed && packet.drops > 0) rows.push(["drops", thousands(packet.drops)]);
    if (packet.unpaired > 0) rows.push(["unpaired", thousands(packet.unpaired)]);
    box.append(table(rows));
    showFamily(box, packet);
    return;
  }
  box.append(element("h2", "", call.function.name));
  if (call.function.drop && (!trace.followed || packet.drops > 0)) box.append(element("p", "dropped", "The packet is dropped here."));
  if (call.duration === ENTRY_MISSING) box.append(element("p", "missing", "A return whose call was not seen."));
  if (trace.graph && call.duration === RETURN_MISSING) box.append(element("p", "missing", "Its return was not seen."));
  const rows = facts(call);
  rows.push(["module", call.function.module], ["layer", trace.layers[call.function.layer]]);
  if (call.place !== null) rows.push(["device", call.place]);
  rows.push(["CPU", call.cpu], ["thread", call.thread === 0 ? "0 (idle task)" : call.thread]);
  box.append(table(rows));
  if (call.row !== 0) box.append(element("h3", "", "Fields"), fieldTable(call, call.row));
  if (call.returned !== 0) box.append(element("h3", "", "Fields at its return"), fieldTable(call, call.returned));
  if (call.parent) {
    box.append(element("h3", "", "Called by"));
    const chain = element("div", "links");
    chain.id = "chain";
    for (let above = call.parent; above && chain.childElementCount < 64; above = above.parent) {
      const button = element("button", "", above.function.name);
      button.type = "button";
      const target = above;
      button.addEventListener("click", () => choose(target));
      chain.append(button);
    }
    box.append(chain);
  }
}

function showTip(call, x, y) {
  const tip = $("tip");
  tip.hidden = call === null;
  if (call === null) return;
  tip.replaceChildren(element("strong", "", call.function.name));
  const rows = facts(call);
  if (call.function.drop) rows.unshift(["dropped", "here"]);
  if (call.function.module !== "vmlinux") rows.push(["module", call.function.module]);
  tip.append(table([...rows, ...trace.fields(call.row).slice(0, 20)]));
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(x + 14, window.innerWidth - width - 8))}px`;
  tip.style.top = `${y + 18 + height > window.innerHeight ? Math.max(4, y - height - 10) : y + 18}px`;
}

// What is said of the trace.

function chip(text, className, title) {
  const made = element("span", `chip ${className}`, text);
  made.title = title;
  $("chips").append(made);
}

function showTrace() {
  const { data } = trace;
  const { summary } = data;
  if (data.title !== "") {
    $("title").textContent = data.title;
    document.title = data.title;
  }
  $("facts").textContent = [data.trace.command, `Linux ${data.trace.kernel}`, data.trace.tracer, data.trace.backend].filter((fact) => fact !== "").join(" · ");
  $("facts").title = $("facts").textContent;
  chip(several(summary.packets, "packet"), "", "packets that were given an identity");
  chip(several(summary.events, "event"), "", "calls and returns that were traced");
  if (trace.drops > 0) chip(`${thousands(trace.drops)} dropped`, "bad", trace.followed ? "packets that the kernel dropped" : "packets that went through a function that drops");
  if (data.lost.total !== "0") chip(`${several(data.lost.total, "event")} lost`, "bad", "events that happened and that nobody saw; About this trace says how");
  if (data.missed !== "0") chip(`${several(data.missed, "event")} missed`, "warn", "events that this report did not get, because it was slower than the trace");
  const { left_out: leftOut } = data;
  if (leftOut.events !== 0) {
    chip(`${several(leftOut.events, "event")} left out`, "warn", `this page takes ${several(leftOut.limit, "event")}; --plugin-opt events=N takes more`);
  }
  const rows = [["command", data.trace.command], ["kernel", data.trace.kernel], ["tracer", data.trace.tracer], ["backend", data.trace.backend]];
  rows.push(["mark", data.trace.mark], ["first event", data.packets.length > 0 ? wallClock(data.began) : "none"]);
  rows.push(["packets", `${thousands(summary.packets)}, of which ${thousands(trace.packets.length)} are in this page`], ["events", thousands(summary.events)]);
  rows.push(["missed by this report", thousands(data.missed)]);
  rows.push(["left out of this page", `${several(leftOut.events, "event")}, ${several(leftOut.packets, "whole packet")}`]);
  rows.push(["functions attached", thousands(summary.attached)]);
  $("about-text").append(table(rows));
  const extra = (title, list) => {
    if (list.length > 0) $("about-text").append(element("h3", "", title), table(list));
  };
  extra("Lost", data.lost.ways.map(([kind, cpu, count]) => [kind, `${several(count, "event")}${cpu === null ? "" : ` on CPU ${cpu}`}`]));
  extra("Wanted, but not traced", summary.skipped.map(([name, reason]) => [name, reason]));
  const modes = Object.keys(LANES).filter((mode) => mode !== "place" || data.place.length > 0);
  for (const mode of modes) {
    const option = element("option", "", LANES[mode].label);
    option.value = mode;
    $("lanes").append(option);
  }
  if (data.place.length > 0) $("lanes").value = "place";
  $("axis").value = data.axis;
}

// What the user does.

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  view.recolour();
}

function listen() {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  setTheme(dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
  $("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  $("help-button").addEventListener("click", () => $("help").showModal());
  $("about-button").addEventListener("click", () => $("about").showModal());
  $("search").addEventListener("input", search);
  $("sort").addEventListener("change", listPackets);
  $("only-drops").addEventListener("change", listPackets);
  for (const id of ["lanes", "axis"]) {
    $(id).addEventListener("change", () => {
      draw();
      if (state.call) view.reveal(state.call);
    });
  }
  $("zoom-in").addEventListener("click", () => view.zoom(1 / 1.6));
  $("zoom-out").addEventListener("click", () => view.zoom(1.6));
  $("zoom-whole").addEventListener("click", () => view.whole());
  $("search").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    if (state.matches !== null && state.packet && !isFound(state.packet) && state.listed.length > 0) packets.pick(0);
    goTo(event.shiftKey ? -1 : 1, isMatch);
  });
  listenToLanes($("scroller"));
  document.addEventListener("keydown", keys);
}

function listenToLanes(scroller) {
  let drag = null;
  const point = (event) => {
    const box = scroller.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  scroller.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.offsetX > scroller.clientWidth && event.target === scroller) return;
    drag = { x: event.clientX, left: view.left, right: view.right, moved: false };
  });
  window.addEventListener("pointermove", (event) => {
    if (drag) {
      const by = event.clientX - drag.x;
      if (!drag.moved && Math.abs(by) < 4) return;
      drag.moved = true;
      scroller.classList.add("dragging");
      const part = (by / view.width()) * (drag.right - drag.left);
      view.window(drag.left - part, drag.right - part);
      return showTip(null);
    }
    const call = scroller.contains(event.target) ? view.callAt(...point(event)) : null;
    scroller.classList.toggle("pointing", call !== null);
    showTip(call, event.clientX, event.clientY);
    if (view.hovered !== call) {
      view.hovered = call;
      view.redraw();
    }
  });
  window.addEventListener("pointerup", (event) => {
    if (drag && !drag.moved && scroller.contains(event.target)) choose(view.callAt(...point(event)));
    drag = null;
    scroller.classList.remove("dragging");
  });
  window.addEventListener("pointercancel", () => {
    drag = null;
    scroller.classList.remove("dragging");
  });
  scroller.addEventListener("dblclick", () => state.call && view.fit(state.call));
  scroller.addEventListener("scroll", () => showTip(null));
  const wheel = (event) => {
    const across = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
    if (event.ctrlKey || event.metaKey) view.zoom(Math.exp(event.deltaY / 300), point(event)[0]);
    else if (Math.abs(across) > Math.abs(event.shiftKey ? 0 : event.deltaY)) view.pan(across / view.width());
    else return;
    event.preventDefault();
    showTip(null);
  };
  scroller.addEventListener("wheel", wheel, { passive: false });
  scroller.addEventListener("keydown", (event) => {
    const { call } = state;
    const first = state.calls[0] ?? null;
    const to = {
      ArrowRight: call ? state.calls[call.index + 1] : first,
      ArrowLeft: call ? state.calls[call.index - 1] : first,
      ArrowUp: call ? call.parent : first,
      ArrowDown: call ? state.calls.slice(call.index + 1).find((each) => each.parent === call) : first,
      Home: first,
      End: state.calls.at(-1),
    };
    if (event.key === "Enter" && call) view.fit(call);
    else if (event.key in to && !event.ctrlKey && !event.altKey) {
      if (to[event.key]) choose(to[event.key]);
    } else return;
    event.preventDefault();
  });
}

function keys(event) {
  if (event.key === "Escape" && !$("tip").hidden) showTip(null);
  if (event.ctrlKey || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return;
  if (event.target === $("search")) {
    if (event.key !== "Escape") return;
    $("search").value = "";
    search();
    $("scroller").focus();
    return;
  }
  const move = (step) => {
    const to = packets.active + step;
    if (to >= 0 && to < packets.count) packets.pick(to);
  };
  const actions = {
    "/": () => $("search").focus(),
    "?": () => $("help").showModal(),
    "[": () => move(-1),
    "]": () => move(1),
    "+": () => view.zoom(1 / 1.6),
    "=": () => view.zoom(1 / 1.6),
    "-": () => view.zoom(1.6),
    0: () => view.whole(),
    n: () => goTo(1, isMatch),
    N: () => goTo(-1, isMatch),
    d: () => goTo(1, (call) => call.function.drop),
  };
  if (!(event.key in actions) || event.target.matches?.("select, input")) return;
  event.preventDefault();
  actions[event.key]();
}

showTrace();
listen();
listPackets();
if (state.listed.length > 0) packets.pick(0);
else {
  $("empty").hidden = false;
  $("scroller").hidden = true;
  $("empty").textContent = trace.data.summary.events === "0" ? "No event was traced." : "No event of the trace is in this page.";
}

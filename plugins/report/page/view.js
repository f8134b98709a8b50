// The picture: one canvas of the size of the window onto it, drawn anew whenever something moved. What is not in the
// window, and what would fall onto a pixel that is painted already, is skipped, so a hundred thousand calls are no
// different from a hundred.

const TIME_HEIGHT = 26;
const MARK = 5;
const MOST_LINKS = 400;

class View {
  constructor(scroller, canvas, spacer) {
    this.scroller = scroller;
    this.canvas = canvas;
    this.spacer = spacer;
    this.calls = [];
    this.layout = { lanes: [], heads: [], height: 0 };
    this.axis = new Axis([], "time");
    this.left = 0;
    this.right = 1;
    this.labels = 136;
    this.selected = null;
    this.hovered = null;
    this.matches = null;
    this.graph = true;
    this.pending = false;
    this.colours = {};
    new ResizeObserver(() => this.resize()).observe(scroller);
    scroller.addEventListener("scroll", () => this.redraw());
  }

  /** Shows these calls. */
  show(calls, layout, axis, graph) {
    this.calls = calls;
    this.layout = layout;
    this.axis = axis;
    this.graph = graph;
    this.hovered = null;
    for (const call of calls) call.places = [axis.place(call.start), axis.place(call.end)];
    this.spacer.style.height = `${layout.height + TIME_HEIGHT}px`;
    this.whole();
  }

  /** The whole journey in the window. */
  whole() {
    const margin = this.axis.length * 0.012;
    // The name of a mark stands beside it; that of a bar in it.
    this.window(-margin, this.axis.length + (this.graph ? margin : 9 * margin));
  }

  /** Moves the window onto the time axis. */
  window(left, right) {
    const least = this.axis.length * 1e-7;
    const most = this.axis.length * 1.2;
    const width = Math.min(Math.max(right - left, least), most);
    const middle = Math.min(Math.max((left + right) / 2, 0), this.axis.length);
    this.left = middle - width / 2;
    this.right = middle + width / 2;
    this.redraw();
  }

  /** Zooms so that what is at `x` pixels stays where it is. */
  zoom(factor, x = this.labels + this.width() / 2) {
    const at = this.left + ((x - this.labels) / this.width()) * (this.right - this.left);
    this.window(at - (at - this.left) * factor, at + (this.right - at) * factor);
  }

  /** Moves by a part of the window's width. */
  pan(part) {
    const by = part * (this.right - this.left);
    this.window(this.left + by, this.right + by);
  }

  /** Brings a call into the window. */
  reveal(call) {
    const [left, right] = call.places;
    if (right < this.left || left > this.right) {
      const width = this.right - this.left;
      this.window(left - width * 0.2, left + width * 0.8);
    }
    const room = this.scroller.clientHeight - TIME_HEIGHT;
    const top = this.scroller.scrollTop;
    if (call.y < top) this.scroller.scrollTop = call.y - ROW;
    else if (call.y + ROW > top + room) this.scroller.scrollTop = call.y + 2 * ROW - room;
    this.redraw();
  }

  /** Fills the window with one call. */
  fit(call) {
    const [left, right] = call.places;
    const margin = Math.max((right - left) * 0.08, this.axis.length * 1e-4);
    this.window(left - margin, right + margin);
  }

  width() {
    return Math.max(this.scroller.clientWidth - this.labels, 1);
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [this.scroller.clientWidth, this.scroller.clientHeight];
    this.labels = width < 640 ? 96 : 136;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    // It takes no room of its own: what can be scrolled is as high as the lanes.
    this.canvas.style.marginBottom = `${-height}px`;
    this.redraw();
  }

  /** Takes the colours from the style sheet. */
  recolour() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    this.colours = { layers: [], inks: [] };
    for (const name of ["ink", "soft", "faint", "line", "paper", "panel", "stripe", "drop", "on-drop", "accent", "match"]) {
      this.colours[name] = colour(name);
    }
    for (let index = 0; index < 8; index += 1) {
      this.colours.layers.push(colour(`layer-${index}`));
      this.colours.inks.push(colour(`edge-${index}`));
    }
    this.font = style.getPropertyValue("--mono").trim();
    this.redraw();
  }

  redraw() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.draw();
    });
  }

  x(time) {
    return this.at(this.axis.place(time));
  }

  /** Pixels, of a place on the axis. */
  at(place) {
    return this.labels + ((place - this.left) / (this.right - this.left)) * this.width();
  }

  /** The call at this point of the canvas, or null. */
  callAt(x, y) {
    if (y < TIME_HEIGHT || x < this.labels) return null;
    const depth = y - TIME_HEIGHT + this.scroller.scrollTop;
    const lane = this.layout.lanes.find((each) => depth >= each.top && depth < each.top + each.height);
    const row = lane?.rows[Math.floor((depth - lane.top - LANE_GAP / 2) / ROW)];
    if (!row) return null;
    let best = null;
    for (let index = this.firstVisible(row); index < row.length; index += 1) {
      const [left, right] = this.extent(row[index]);
      if (left > x + 4) break;
      // Marks and slivers are hit from a little farther away, but not at the cost of what is really there.
      const reach = right - left < 8 ? 4 : 0;
      if (x >= left - reach && x <= right + reach) {
        const distance = x < left ? left - x : x > right ? x - right : 0;
        if (best === null || distance <= best.distance) best = { call: row[index], distance };
      }
    }
    return best?.call ?? null;
  }

  extent(call) {
    const left = this.at(call.places[0]);
    if (call.duration < 0) return [left - MARK, left + MARK];
    return [left, Math.max(this.at(call.places[1]), left + 1)];
  }

  /** Rows are in order of time. */
  firstVisible(row) {
    const time = this.axis.time(this.left);
    let low = 0;
    let high = row.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (row[middle].end < time) low = middle + 1;
      else high = middle;
    }
    return Math.max(low - 1, 0);
  }

  draw() {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [this.canvas.width / ratio, this.canvas.height / ratio];
    const c = this.canvas.getContext("2d");
    const { colours } = this;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.fillStyle = colours.paper;
    c.fillRect(0, 0, width, height);
    c.textBaseline = "middle";
    c.save();
    c.beginPath();
    c.rect(0, TIME_HEIGHT, width, height - TIME_HEIGHT);
    c.clip();
    c.translate(0, TIME_HEIGHT - this.scroller.scrollTop);
    const [top, bottom] = [this.scroller.scrollTop, this.scroller.scrollTop + height];
    const lanes = this.layout.lanes.filter((lane) => lane.top + lane.height > top && lane.top < bottom);
    this.drawGround(c, width, lanes, top, bottom);
    c.save();
    c.beginPath();
    c.rect(this.labels, top, width - this.labels, height);
    c.clip();
    this.drawLinks(c, top, bottom);
    for (const lane of lanes) {
      const first = Math.max(0, Math.floor((top - lane.top) / ROW) - 1);
      const last = Math.min(lane.rows.length, Math.ceil((bottom - lane.top) / ROW) + 1);
      for (let row = first; row < last; row += 1) this.drawRow(c, lane.rows[row], width);
    }
    this.drawSelection(c);
    c.restore();
    this.drawLabels(c, lanes);
    c.restore();
    this.drawTime(c, width);
  }

  drawGround(c, width, lanes, top, bottom) {
    const { colours } = this;
    lanes.forEach((lane) => {
      c.fillStyle = this.layout.lanes.indexOf(lane) % 2 === 0 ? colours.stripe : colours.paper;
      c.fillRect(0, lane.top, width, lane.height);
    });
    for (const [from, to] of this.axis.cuts) {
      const [left, right] = [this.x(from), this.x(to)];
      if (right < this.labels || left > width) continue;
      c.fillStyle = colours.faint;
      c.fillRect(left, top, right - left, bottom - top);
    }
    c.strokeStyle = colours.line;
    c.lineWidth = 1;
    for (const [x] of this.ticks()) {
      c.beginPath();
      c.moveTo(Math.round(x) + 0.5, top);
      c.lineTo(Math.round(x) + 0.5, bottom);
      c.stroke();
    }
  }

  /** Lines from a call down (or up) to those that it makes in another lane. */
  drawLinks(c, top, bottom) {
    const { colours } = this;
    const chain = new Set();
    for (let call = this.selected; call; call = call.parent) chain.add(call);
    const painted = new Set();
    for (const highlighted of [false, true]) {
      c.strokeStyle = highlighted ? colours.accent : colours.soft;
      c.globalAlpha = highlighted ? 0.9 : 0.28;
      c.lineWidth = highlighted ? 1.5 : 1;
      c.beginPath();
      let lines = 0;
      for (const call of highlighted ? chain : this.calls) {
        const { parent } = call;
        if (!parent || parent.lane === call.lane || call.duration === ENTRY_MISSING) continue;
        const x = Math.round(this.at(call.places[0])) + 0.5;
        if (x < this.labels || x > this.labels + this.width()) continue;
        const [from, to] = parent.y < call.y ? [parent.y + ROW - 2, call.y] : [call.y + ROW - 2, parent.y];
        if (to < top || from > bottom) continue;
        const key = x * 65536 + Math.round(from);
        if (!highlighted && painted.has(key)) continue;
        painted.add(key);
        lines += 1;
        c.moveTo(x, from);
        c.lineTo(x, to);
      }
      // So many would hide what they join.
      if (lines <= MOST_LINKS) c.stroke();
    }
    c.globalAlpha = 1;
  }

  drawRow(c, row, width) {
    const { colours } = this;
    let painted = -Infinity;
    c.font = `11px ${this.font}`;
    for (let index = this.firstVisible(row); index < row.length; index += 1) {
      const call = row[index];
      const [left, right] = this.extent(call);
      if (left > width) break;
      if (right < this.labels) continue;
      const drop = call.function.drop;
      // A sliver on a pixel that has one already; drops and matches are always to be seen.
      if (right <= painted + 0.5 && !drop && !this.matches?.has(call.number)) continue;
      painted = Math.max(painted, right);
      const dimmed = this.matches !== null && !this.matches.has(call.number);
      c.globalAlpha = dimmed ? 0.22 : 1;
      const fill = drop ? colours.drop : colours.layers[call.function.layer];
      const edge = drop ? colours.drop : colours.inks[call.function.layer];
      const ink = drop ? colours["on-drop"] : colours.ink;
      if (call.duration < 0) {
        this.drawMark(c, call, left + MARK, fill, edge);
        const next = row[index + 1];
        const room = (next ? this.extent(next)[0] : width) - right - 6;
        if (room > 24) this.drawText(c, call.function.name, right + 3, call.y + ROW / 2, room, colours.ink);
      } else {
        const [x, wide] = [Math.max(left, this.labels - 2), Math.min(right, width + 2) - Math.max(left, this.labels - 2)];
        c.fillStyle = fill;
        c.fillRect(x, call.y + 1, Math.max(wide - (wide > 3 ? 0.75 : 0), 1), ROW - 3);
        if (wide > 3) {
          c.fillStyle = edge;
          c.fillRect(x, call.y + 1, Math.min(2, wide / 2), ROW - 3);
        }
        if (wide > 26) this.drawText(c, call.function.name, Math.max(x, this.labels) + 5, call.y + ROW / 2, wide - 9, ink);
      }
    }
    c.globalAlpha = 1;
  }

  /** An instant. A call whose other end was not seen is open to the side where that would be. */
  drawMark(c, call, x, fill, edge) {
    const middle = call.y + ROW / 2 - 0.5;
    c.fillStyle = fill;
    c.strokeStyle = edge;
    c.lineWidth = 1.5;
    c.beginPath();
    if (call.duration === ENTRY_MISSING) {
      c.moveTo(x - MARK, middle - MARK);
      c.lineTo(x, middle);
      c.lineTo(x - MARK, middle + MARK);
      c.stroke();
      return;
    }
    if (this.graph) {
      c.moveTo(x + MARK, middle - MARK);
      c.lineTo(x, middle - MARK);
      c.lineTo(x, middle + MARK);
      c.lineTo(x + MARK, middle + MARK);
      c.fillRect(x, middle - MARK, MARK, 2 * MARK);
      c.stroke();
      return;
    }
    c.moveTo(x, middle - MARK);
    c.lineTo(x + MARK - 1, middle);
    c.lineTo(x, middle + MARK);
    c.lineTo(x - MARK + 1, middle);
    c.closePath();
    c.fill();
    c.stroke();
  }

  drawSelection(c) {
    const { colours } = this;
    for (const [call, colour, thick] of [[this.hovered, colours.soft, 1], [this.selected, colours.accent, 2]]) {
      if (!call) continue;
      const [left, right] = this.extent(call);
      c.strokeStyle = colour;
      c.lineWidth = thick;
      c.strokeRect(left - 1.5, call.y - 0.5, Math.max(right - left, 2) + 3, ROW);
    }
  }

  drawLabels(c, lanes) {
    const { colours } = this;
    for (const lane of lanes) {
      c.fillStyle = this.layout.lanes.indexOf(lane) % 2 === 0 ? colours.stripe : colours.paper;
      c.fillRect(0, lane.top, this.labels, lane.height);
      if (lane.layer !== null) {
        c.fillStyle = colours.inks[lane.layer];
        c.fillRect(0, lane.top + 2, 3, lane.height - 4);
      }
      c.font = "12px system-ui, sans-serif";
      const count = c.measureText(thousands(lane.count)).width;
      this.drawText(c, lane.label, 12, lane.top + LANE_GAP / 2 + ROW / 2 - 0.5, this.labels - count - 26, colours.ink);
      c.font = "11px system-ui, sans-serif";
      c.textAlign = "right";
      c.fillStyle = colours.soft;
      c.fillText(thousands(lane.count), this.labels - 10, lane.top + LANE_GAP / 2 + ROW / 2 - 0.5);
      c.textAlign = "left";
    }
    c.fillStyle = colours.line;
    c.fillRect(this.labels - 1, 0, 1, this.layout.height);
    for (const head of this.layout.heads) {
      c.fillStyle = colours.panel;
      c.fillRect(0, head.top, this.labels + this.width(), HEAD);
      c.font = "600 12px system-ui, sans-serif";
      this.drawText(c, head.name, 10, head.top + HEAD / 2, this.labels + this.width() - 20, colours.ink);
    }
  }

  /** Where the axis has a tick, and what stands there. */
  ticks() {
    const ticks = [];
    const width = this.width();
    const span = this.axis.times.at(-1) ?? 0;
    const [unit, size] = span < 1e7 ? ["µs", 1e3] : span < 1e10 ? ["ms", 1e6] : ["s", 1e9];
    if (this.axis.isToScale()) {
      const step = niceStep(((this.right - this.left) * 110) / width);
      const digits = Math.min(9, Math.max(0, -Math.floor(Math.log10(step / size))));
      for (let i = Math.max(0, Math.ceil(this.left / step)); i * step <= this.right; i += 1) {
        ticks.push([this.x(i * step + (this.axis.times[0] ?? 0)), `${((i * step) / size).toFixed(digits)} ${unit}`]);
      }
      return ticks;
    }
    for (let x = this.labels + 8; x < this.labels + width - 60; x += 120) {
      const place = this.left + ((x - this.labels) / width) * (this.right - this.left);
      if (place >= 0 && place <= this.axis.length) ticks.push([x, `${(this.axis.time(place) / size).toFixed(2)} ${unit}`]);
    }
    return ticks;
  }

  drawTime(c, width) {
    const { colours } = this;
    c.fillStyle = colours.panel;
    c.fillRect(0, 0, width, TIME_HEIGHT);
    c.fillStyle = colours.line;
    c.fillRect(0, TIME_HEIGHT - 1, width, 1);
    c.font = "11px system-ui, sans-serif";
    this.drawText(c, "since the first event", 12, TIME_HEIGHT / 2, this.labels - 20, colours.soft);
    c.save();
    c.beginPath();
    c.rect(this.labels, 0, width - this.labels, TIME_HEIGHT);
    c.clip();
    // How long the waits are matters more than what time it is.
    const taken = [];
    c.fillStyle = colours.accent;
    for (const [from, to] of this.axis.cuts) {
      const [left, right] = [this.x(from), this.x(to)];
      const text = duration(to - from);
      const wide = c.measureText(text).width;
      c.fillRect(left, TIME_HEIGHT - 3, right - left, 2);
      if (right - left < 24) continue;
      const at = (left + right - wide) / 2;
      if (taken.length > 0 && taken.at(-1)[1] > at) continue;
      taken.push([at - 6, at + wide + 6]);
      c.fillText(text, at, TIME_HEIGHT / 2);
    }
    c.fillStyle = colours.soft;
    for (const [x, text] of this.ticks()) {
      const end = x + 4 + c.measureText(text).width;
      if (taken.some(([left, right]) => x < right && end > left)) continue;
      c.fillRect(Math.round(x), TIME_HEIGHT - 6, 1, 5);
      c.fillText(text, x + 4, TIME_HEIGHT / 2);
    }
    c.restore();
  }

  /** Text that ends with an ellipsis where it has no room. */
  drawText(c, text, x, y, room, colour) {
    c.fillStyle = colour;
    let shown = text.length > 200 ? `${text.slice(0, 200)}…` : text;
    if (c.measureText(shown).width > room) {
      const letter = c.measureText("n").width;
      shown = text.slice(0, Math.max(Math.floor(room / letter) - 1, 1));
      while (shown.length > 1 && c.measureText(`${shown}…`).width > room) shown = shown.slice(0, -1);
      shown = `${shown}…`;
      if (c.measureText(shown).width > room) return;
    }
    c.fillText(shown, x, y);
  }
}

// {{name}}: how often packets entered each function, as a table when the trace ends.
//
// `wit/plugin-0.1.0.wit` describes the interface `raw-sink`, which this file exports, and all that it is given. In
// JavaScript it is much faster than `sink`, which makes an object of each event.

import host from "ipft:plugin/host@0.1.0";

// The layout of an event: 64 bytes. As JavaScript has no fast 64-bit integers, it is taken as 16 words of 32 bits.
const EVENT_WORDS = 16;
const FUNCTION = 8;
const KIND = 10;

// What an event's kind says. Others are for later versions of ipft.
const ENTRY = 0;

// An event names a function by its index here.
const functions = [];

let top = Infinity;

// Names come from the kernel and may hold anything, also what a terminal would obey: what is not printable ASCII
// becomes a question mark.
const shown = (name) => name.replace(/[^!-~]/gu, "?");

// QuickJS has no TextEncoder.
const utf8 = (text) => Uint8Array.from(unescape(encodeURIComponent(text)), (each) => each.charCodeAt(0));

export const rawSink = {
  // ipft has checked the options against plugin.json: `top` is there, and it is a whole number.
  start(trace, options) {
    const wanted = Number(new Map(options).get("top"));
    if (wanted < 0) {
      throw "the option 'top' is a number of functions, and cannot be negative";
    }
    top = wanted === 0 ? Infinity : wanted;
  },

  // Functions come in parts: with the first events that need them.
  learn(learned, names) {
    for (const { name, module } of learned) {
      functions.push({ name, module, entered: 0 });
    }
  },

  events(events, payload) {
    const words = new Uint32Array(events.buffer, events.byteOffset, events.byteLength / 4);
    for (let at = 0; at < words.length; at += EVENT_WORDS) {
      const called = words[at + KIND] === ENTRY ? functions[words[at + FUNCTION]] : undefined;
      if (called) {
        called.entered++;
      }
    }
  },

  // `finish` gets the sum.
  missed(events) {},

  finish(summary) {
    const entered = functions.filter((each) => each.entered > 0).sort((a, b) => b.entered - a.entered);
    const lines = ["     ENTERED  FUNCTION"];
    for (const { name, module, entered: times } of entered.slice(0, top)) {
      const where = module === "vmlinux" ? "" : ` [${shown(module)}]`;
      lines.push(`${String(times).padStart(12)}  ${shown(name)}${where}`);
    }
    if (entered.length > top) {
      lines.push(`and ${entered.length - top} more functions`);
    }
    const lost = summary.losses.reduce((sum, loss) => sum + Number(loss.count), Number(summary.missed));
    if (lost > 0) {
      lines.push(`${lost} events were lost: the numbers are too low`);
    }
    host.write(utf8(lines.join("\n") + "\n"));
  },
};

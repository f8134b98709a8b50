"""{{name}}: how often packets entered each function, as a table when the trace ends.

`wit/plugin-0.1.0.wit` describes the interface `raw-sink`, which the class exports, and all that it is given. In Python
it is much faster than `sink`, which makes an object of each event.
"""

from collections import Counter
from struct import Struct

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import host

# packet, skb, timestamp, entry-timestamp; function, cpu, kind, thread, payload-offset, payload-len; spare. What is not
# needed is skipped (`x`), which is faster: of the 64 bytes this reads the function and the kind.
EVENT = Struct("<32xI4xI20x")

# What an event's kind says. Others are for later versions of ipft.
ENTRY = 0


def shown(name: str) -> str:
    """The name, fit to be shown.

    Names come from the kernel and may hold anything, also what a terminal would obey: what is not printable ASCII
    becomes a question mark.
    """
    return "".join(each if "!" <= each <= "~" else "?" for each in name)


# An event names a function by its index here.
functions = []

# How often each function was entered, by its index.
entered = Counter()

# The option `top`; None is all.
top = None


# Each call is made on a new object of this class: what is to be kept from one to the next is in the variables above.
class RawSink(exports.RawSink):
    def start(self, trace, options):
        # ipft has checked the options against plugin.json: `top` is there, and it is a whole number.
        global top
        wanted = int(dict(options)["top"])
        if wanted < 0:
            raise Err("the option 'top' is a number of functions, and cannot be negative")
        top = wanted or None

    def learn(self, learned, names):
        # Functions come in parts: with the first events that need them.
        functions.extend(learned)

    def events(self, events, payload):
        entered.update(function for function, kind in EVENT.iter_unpack(events) if kind == ENTRY)

    def missed(self, events):
        # `finish` gets the sum.
        pass

    def finish(self, summary):
        known = (each for each in entered.items() if each[0] < len(functions))
        ranked = sorted(known, key=lambda each: (-each[1], each[0]))
        lines = ["     ENTERED  FUNCTION"]
        for index, times in ranked[:top]:
            function = functions[index]
            where = "" if function.module == "vmlinux" else f" [{shown(function.module)}]"
            lines.append(f"{times:12}  {shown(function.name)}{where}")
        if top is not None and len(ranked) > top:
            lines.append(f"and {len(ranked) - top} more functions")
        lost = summary.missed + sum(loss.count for loss in summary.losses)
        if lost:
            lines.append(f"{lost} events were lost: the numbers are too low")
        host.write("".join(line + "\n" for line in lines).encode())

-- Shows a packet's length and how it is to be segmented, at every function.
--
-- The kernel side is an extension in C, compiled with
--
--     clang -target bpf -O2 -g -c gso.c -o gso.bpf.o
--
-- and expected beside this file, or where GSO_OBJECT says. It fills the data like this:
--
--     struct { __u32 len; __u16 gso_size; __u16 gso_segs; __u32 gso_type; };

api_version = 1

local folder = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
local object = assert(io.open(os.getenv("GSO_OBJECT") or folder .. "gso.bpf.o", "rb"))
program = object:read("a")
object:close()

-- The bits of gso_type, from the lowest: SKB_GSO_* in include/linux/skbuff.h.
local NAMES = {
  "TCPV4", "DODGY", "TCP_ECN", "TCP_FIXEDID", "TCPV6", "FCOE", "GRE", "GRE_CSUM", "IPXIP4", "IPXIP6", "UDP_TUNNEL",
  "UDP_TUNNEL_CSUM", "PARTIAL", "TUNNEL_REMCSUM", "SCTP", "ESP", "UDP", "UDP_L4", "FRAGLIST", "TCP_ACCECN",
}

-- The same types come again and again, so each is put into words once.
local words = setmetatable({}, {
  __index = function(words, gso_type)
    local set = {}
    for bit, name in ipairs(NAMES) do
      if gso_type & (1 << (bit - 1)) ~= 0 then
        set[#set + 1] = name
      end
    end
    local unknown = gso_type >> #NAMES << #NAMES
    if unknown ~= 0 then
      set[#set + 1] = string.format("0x%x", unknown)
    end
    words[gso_type] = #set > 0 and table.concat(set, "|") or "<none>"
    return words[gso_type]
  end,
})

function decode(data)
  local len, gso_size, gso_segs, gso_type = string.unpack("=I4I2I2I4", data)
  return {
    len = len,
    gso_size = gso_size,
    gso_segs = gso_segs,
    gso_type = words[gso_type],
  }
end

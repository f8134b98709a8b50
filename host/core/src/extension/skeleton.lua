-- An extension in Lua: ipft compiles `module` to BPF by itself, with the types of the running kernel.
--
--   ipft icmp -e FILE.lua
--
-- It runs at each function that a traced packet enters. The fields of the table that it returns become fields of the
-- event, with the types of their values; `nil` drops the event. The book describes what it can do: "Expressions in Lua".

api_version = 2

-- Constants may stand here.
local longest = 65535

function module(skb)
  if skb.len > longest then
    return nil
  end

  local dev = skb.dev
  local shinfo = cast("struct skb_shared_info", skb.head + skb["end"])

  return {
    bytes = skb.len,
    device = dev.name,
    mtu = dev.mtu,
    protocol = skb.protocol,
    segments = shinfo.gso_segs,
  }
end

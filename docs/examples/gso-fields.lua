-- Segmentation offload of each packet, as gso.c shows it, without clang: ipft compiles the function itself.

api_version = 2

function module(skb)
  -- It lies behind the packet's bytes: skb_shinfo() in the kernel. "end" is a word of Lua.
  local shared = cast("struct skb_shared_info", skb.head + skb["end"])

  return {
    len = skb.len,
    gso_size = shared.gso_size,
    gso_segs = shared.gso_segs,
    gso_type = shared.gso_type,
  }
end

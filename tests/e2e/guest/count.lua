#!/usr/bin/env -S ipft lua
-- Counts three pings on lo in maps of every type, by every way to change an element.
local bpf, bit, ffi = require('bpf'), require('bit'), require('ffi')

local packets = bpf.map('array', 256)
local bytes = bpf.map('hash', 64, ffi.typeof('uint32_t'), ffi.typeof('uint64_t'))
bytes[1] = 0
local sizes = bpf.map('lru_hash', 64)
local cpus = bpf.map('percpu_array', 4, nil, 'uint64_t')
local kinds = bpf.map('percpu_hash', 16, 'uint64_t', 'int32_t')
local kept = bpf.map('lru_percpu_hash', 16)
local echo = { request = 8, reply = 0 }
kinds[echo.request], kinds[echo.reply] = 0, 0
kept[7] = 5
local largest = bpf.map('array', 1)
sizes[3], sizes[4] = 9, 9

local code = assert(bpf(function ()
  local proto = pkt.ip.proto
  xadd(packets[proto], 1)
end))
bpf.socket('lo', code)
bpf.socket('lo', function (skb)
  if eth.type ~= c.eth.ip or pkt.ip.proto ~= c.ip.proto_icmp then return 0 end
  xadd(bytes[1], skb.len)
  -- No such element: nothing happens.
  xadd(bytes[2], skb.len)
  local size = sizes[skb.len]
  sizes[skb.len] = (size or 0) + 1
  sizes[3] = nil
  xadd(cpus[1], 1)
  local icmp = pkt.ip.icmp
  if kinds[icmp.type] ~= nil then xadd(kinds[icmp.type], -1) end
  if kept[7] then kept[7] = nil end
  for i = 16, 23 do
    if icmp.data[i] > largest[0] then largest[0] = icmp.data[i] end
  end
  return bit.band(skb.len, 0)
end)

assert(os.execute('ping -q -c 3 -i 0.02 -W 10 -p ff 127.0.0.1 >/dev/null'))

local function sum(values)
  local all = 0
  for _, value in ipairs(values) do all = all + value end
  return all
end
print('packets', packets[1], packets[17], packets[255])
print('bytes', bytes[1], bytes[2])
for size, count in pairs(sizes) do print('size', size, count) end
print('cpus', sum(cpus[1]), sum(cpus[0]))
print('kinds', sum(kinds[echo.request]), sum(kinds[echo.reply]))
print('kept', kept[7])
print('largest', largest[0])
local indices = 0
for index, count in packets.pairs, packets, 0 do indices = indices + index * 0 + 1 end
print('elements', indices, #packets)
io.write('arguments ', table.concat(arg, ' '), '\n')

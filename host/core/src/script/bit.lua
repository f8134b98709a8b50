-- The module `bit` of LuaJIT: numbers of 32 bits with sign.
local bit = {}

local function signed(number)
  number = number & 0xffffffff
  return number >= 0x80000000 and number - 0x100000000 or number
end

-- Like Lua's own operators, these want integers; LuaJIT rounds others.
local function integer(number)
  return math.tointeger(number) or math.floor(number + 0.5)
end

local function fold(operation)
  return function(first, ...)
    local result = integer(first)
    for _, number in ipairs({ ... }) do
      result = operation(result, integer(number))
    end
    return signed(result)
  end
end

bit.band = fold(function(a, b) return a & b end)
bit.bor = fold(function(a, b) return a | b end)
bit.bxor = fold(function(a, b) return a ~ b end)
function bit.tobit(number) return signed(integer(number)) end
function bit.bnot(number) return signed(~integer(number)) end
function bit.lshift(number, count) return signed(integer(number) << (count & 31)) end
function bit.rshift(number, count) return signed((integer(number) & 0xffffffff) >> (count & 31)) end
function bit.arshift(number, count) return signed(signed(integer(number)) // (1 << (count & 31))) end
function bit.rol(number, count)
  number, count = integer(number) & 0xffffffff, count & 31
  return signed(number << count | number >> (32 - count))
end
function bit.ror(number, count) return bit.rol(number, -count & 31) end
function bit.bswap(number)
  return signed(string.unpack(">I4", string.pack("<I4", integer(number) & 0xffffffff)))
end
function bit.tohex(number, digits)
  digits = digits or 8
  local text = string.format(digits < 0 and "%08X" or "%08x", integer(number) & 0xffffffff)
  return string.sub(text, -math.min(math.abs(digits), 8))
end

return bit

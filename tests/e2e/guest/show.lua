-- Makes the fields of the object that SHOWN names.

api_version = 1

local object = assert(io.open(os.getenv("SHOWN"), "rb"))
program = object:read("a")
object:close()

function decode(data)
  local data_len, protocol = string.unpack("=I4>I2", data)
  return { data_len = data_len, protocol = protocol }
end

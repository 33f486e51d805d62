-- The wrapped keys of a store, and nothing else of its meta, whatever somebody put there.
--
-- KEYS: meta. ARGV: the field that comes first, how long its value is, how many at most. Answers fields and values.
local found, first = {}, ARGV[1]
local length, most = tonumber(ARGV[2]), tonumber(ARGV[3])
local function add(field)
  if #found < 2 * most and redis.call('HSTRLEN', KEYS[1], field) == length then
    found[#found + 1] = field
    found[#found + 1] = redis.call('HGET', KEYS[1], field)
  end
end
add(first)
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  -- All of ours are as long as the first: "ring:" and 16 hexadecimal digits.
  local is_ring = #field == #first and string.find(field, '^ring:[0-9a-f]+$')
  if is_ring and field ~= first then add(field) end
end
return found

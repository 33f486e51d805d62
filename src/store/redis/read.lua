-- Reads records, and of one that is too long only its length.
--
-- KEYS: hashes. ARGV: the longest; then of each record: its key by number, its field.
local longest, found = tonumber(ARGV[1]), {}
for i = 2, #ARGV, 2 do
  local key, field = KEYS[tonumber(ARGV[i])], ARGV[i + 1]
  local length = redis.call('HSTRLEN', key, field)
  if length > longest then
    found[#found + 1] = length
  else
    found[#found + 1] = redis.call('HGET', key, field)
  end
end
return found

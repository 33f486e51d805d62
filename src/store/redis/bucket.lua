-- The next part of a hash. Of a value that is too long comes no more than shows that it is, and of a field too.
--
-- KEYS: a hash. ARGV: the cursor, about how many at once, the longest value.
local reply = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local found, longest = reply[2], tonumber(ARGV[3])
for i = 1, #found, 2 do
  if #found[i] > 64 then found[i] = string.sub(found[i], 1, 65) end
  if #found[i + 1] > longest then found[i + 1] = string.sub(found[i + 1], 1, longest + 1) end
end
return reply

-- The next part of a bucket. Of a value that is too long comes no more than shows that it is.
--
-- KEYS: a hash. ARGV: the cursor, about how many at once, the longest.
local reply = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local longest = tonumber(ARGV[3])
for i, text in ipairs(reply[2]) do
  if #text > longest then reply[2][i] = string.sub(text, 1, longest + 1) end
end
return reply

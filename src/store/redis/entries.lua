-- Entries of an audit log, in their order. Of one that is too long comes no more than shows that it is.
--
-- KEYS: audit. ARGV: the number of the first, how many, the longest.
local first, longest = tonumber(ARGV[1]), tonumber(ARGV[3])
local found = redis.call('LRANGE', KEYS[1], first, first + tonumber(ARGV[2]) - 1)
for i = 1, #found do
  if #found[i] > longest then found[i] = string.sub(found[i], 1, longest + 1) end
end
return found

-- Entries of an audit log, in their order: at least one, if there is one, and then as many as come to no more than so many
-- bytes. Of one that is too long comes no more than shows that it is.
--
-- KEYS: audit. ARGV: the number of the first, how many, the longest, about how many bytes at once.
local first, longest, room = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4])
local found = {}
if redis.call('TYPE', KEYS[1]).ok ~= 'list' then return found end
for number = first, first + tonumber(ARGV[2]) - 1, 20 do
  local last = math.min(number + 19, first + tonumber(ARGV[2]) - 1)
  local some = redis.call('LRANGE', KEYS[1], number, last)
  if #some == 0 then return found end
  for i = 1, #some do
    if #some[i] > longest then some[i] = string.sub(some[i], 1, longest + 1) end
    found[#found + 1] = some[i]
    room = room - #some[i]
    if room < 0 then return found end
  end
end
return found

-- Ends the putting back of a partition: counts its records, sums up its digests, and makes every reader compare what it
-- holds with what is here, by a change that does not follow from the one before it.
--
-- KEYS: meta, digest, changes, buckets in order. ARGV: identity; last as it is; the next revision; one that is known to be
-- ours; how far ahead of the time in µs others may be; changes kept.
local head = redis.call('HMGET', KEYS[1], 'identity', 'last')
if head[1] ~= ARGV[1] then return {'other_identity', head[1] or ''} end
if (head[2] or '') ~= ARGV[2] then return {'conflict'} end
-- As in commit.lua.
local is_junk = false
if redis.call('EXISTS', KEYS[3]) == 1 then
  local about = redis.call('XINFO', 'STREAM', KEYS[3])
  for i = 1, #about, 2 do
    if about[i] == 'last-generated-id' then
      local top = string.match(about[i + 1], '^%d+')
      local time = redis.call('TIME')
      local farthest = math.max(time[1] * 1000000 + time[2] + tonumber(ARGV[5]), tonumber(ARGV[4]))
      if tonumber(top) > farthest then
        is_junk = true
      elseif tonumber(top) >= tonumber(ARGV[3]) then
        return {'behind', top}
      end
    end
  end
end
local count, all = 0, {0, 0, 0, 0, 0, 0, 0, 0}
for i = 4, #KEYS do
  count = count + redis.call('HLEN', KEYS[i])
  local digest = redis.call('HGET', KEYS[2], tostring(i - 4))
  if digest and #digest == 8 then
    for byte = 1, 8 do all[byte] = bit.bxor(all[byte], string.byte(digest, byte)) end
  end
end
if is_junk then redis.call('DEL', KEYS[3]) end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[6], ARGV[3] .. '-0', 'gap', '1')
redis.call('HSET', KEYS[2], 'all', string.char(unpack(all)))
redis.call('HSET', KEYS[1], 'last', ARGV[3], 'count', string.format('%.0f', count), 'restoring', '0')
return {'done'}

-- Ends the putting back of a partition: counts its records, sums up its digests, and makes every reader compare what it
-- holds with what is here, by a change that does not follow from the one before it.
--
-- KEYS: meta, digest, changes, buckets in order. ARGV: identity; last; the next revision; changes kept.
local head = redis.call('HMGET', KEYS[1], 'identity', 'last')
if head[1] ~= ARGV[1] then return {'other_identity', head[1] or ''} end
if head[2] ~= ARGV[2] then return {'conflict'} end
local top = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
if top and tonumber(string.match(top[1], '^%d+')) >= tonumber(ARGV[3]) then
  return {'behind', string.match(top[1], '^%d+')}
end
local count, all = 0, {0, 0, 0, 0, 0, 0, 0, 0}
for i = 4, #KEYS do
  count = count + redis.call('HLEN', KEYS[i])
  local digest = redis.call('HGET', KEYS[2], tostring(i - 4))
  if digest and #digest == 8 then
    for byte = 1, 8 do all[byte] = bit.bxor(all[byte], string.byte(digest, byte)) end
  end
end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[4], ARGV[3] .. '-0', 'gap', '1')
redis.call('HSET', KEYS[2], 'all', string.char(unpack(all)))
redis.call('HSET', KEYS[1], 'last', ARGV[3], 'count', string.format('%.0f', count), 'restoring', '0')
return {'done'}

-- Makes one partition if it is empty, and says what it is. Of two that make it at once the first decides. Without an
-- identity it only looks.
--
-- KEYS: meta, and what else a partition in use has. ARGV: layout, identity, restoring; then fields of
-- meta and their values.
local meta = KEYS[1]
if redis.call('EXISTS', meta) == 0 then
  for i = 2, #KEYS do
    if redis.call('EXISTS', KEYS[i]) == 1 then return {'leftovers', KEYS[i]} end
  end
  if not ARGV[2] then return {'empty'} end
  redis.call('HSET', meta, 'layout', ARGV[1], 'identity', ARGV[2], 'last', '0', 'count', '0', 'restoring', ARGV[3],
    unpack(ARGV, 4))
  return {'made'}
end
local found = redis.call('TYPE', meta).ok
if found ~= 'hash' then return {'wrong_type', meta, found} end
return {'there'}

-- How far a partition is, all of it as of one moment. KEYS: meta, digest.
-- What somebody put there may be long; ours is not.
local function short(key, field)
  local length = redis.call('HSTRLEN', key, field)
  if length > 64 then return '(too long)' end
  return redis.call('HGET', key, field)
end
local tail = {}
for i, field in ipairs({'identity', 'last', 'count', 'restoring'}) do tail[i] = short(KEYS[1], field) end
tail[5] = short(KEYS[2], 'all')
return tail

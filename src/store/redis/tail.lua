-- How far a partition is, all of it as of one moment. KEYS: meta, digest.
local tail = redis.call('HMGET', KEYS[1], 'identity', 'last', 'count', 'restoring')
tail[5] = redis.call('HGET', KEYS[2], 'all')
return tail

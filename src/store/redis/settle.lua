-- Writes what a bucket's digest is found to be, if nobody has written to the bucket since it was looked at.
--
-- KEYS: meta, digest. ARGV: identity; bucket; its digest before or ''; its digest.
if redis.call('HGET', KEYS[1], 'identity') ~= ARGV[1] then return {'conflict'} end
if (redis.call('HGET', KEYS[2], ARGV[2]) or '') ~= ARGV[3] then return {'conflict'} end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[4])
return {'done'}

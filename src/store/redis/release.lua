-- Gives back the claim of a fingerprint whose key was not made. KEYS: claims. ARGV: fingerprint; key id.
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held and string.sub(held, 1, 16) == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1]) end
return {}

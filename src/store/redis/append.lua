-- Adds entries of another store's log as they are, if it is as long as was seen.
--
-- KEYS: meta, audit. ARGV: identity; how many entries there are; the entries.
local identity = redis.call('HGET', KEYS[1], 'identity')
if not identity then return {'not_made'} end
if identity ~= ARGV[1] then return {'other_identity', identity} end
local found = redis.call('TYPE', KEYS[2]).ok
if found ~= 'list' and found ~= 'none' then return {'wrong_type', KEYS[2], found} end
if redis.call('LLEN', KEYS[2]) ~= tonumber(ARGV[2]) then return {'conflict'} end
for i = 3, #ARGV do redis.call('RPUSH', KEYS[2], ARGV[i]) end
return {'done'}

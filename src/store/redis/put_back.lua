-- Puts records back, each where what is there is still what was read, and none if one is not. Readers are told by
-- `restoring` that the digests do not say what is there, unless every record is what it was.
--
-- KEYS: meta, and those that records and indexes refer to by number.
-- ARGV: identity; how many records, of each: key, field, sealed before or '', sealed;
--       then indexes, of each: 'set' | 'take' if free | 'unset' if its own, key, field, value.
local at = 0
local function take()
  at = at + 1
  return ARGV[at]
end

for _, key in ipairs(KEYS) do
  local found = redis.call('TYPE', key).ok
  if found ~= 'hash' and found ~= 'none' then return {'wrong_type', key, found} end
end
local identity = redis.call('HGET', KEYS[1], 'identity')
if not identity then return {'not_made'} end
if identity ~= take() then return {'other_identity', identity} end
local records = {}
for i = 1, tonumber(take()) do
  records[i] = {key = KEYS[tonumber(take())], field = take(), before = take(), sealed = take()}
  if (redis.call('HGET', records[i].key, records[i].field) or '') ~= records[i].before then return {'conflict'} end
end
for _, record in ipairs(records) do
  if record.sealed ~= record.before then
    redis.call('HSET', KEYS[1], 'restoring', '1')
    redis.call('HSET', record.key, record.field, record.sealed)
  end
end
while at < #ARGV do
  local what, key, field, value = take(), KEYS[tonumber(take())], take(), take()
  if what == 'set' then
    redis.call('HSET', key, field, value)
  elseif what == 'take' then
    redis.call('HSETNX', key, field, value)
  elseif redis.call('HGET', key, field) == value then
    redis.call('HDEL', key, field)
  end
end
return {'done'}

-- Claims a fingerprint for a key that is about to be made, for the partition of a fingerprint is not the one of its key.
-- A claim that its writer left behind is taken over by whoever has found that it has no key.
--
-- KEYS: claims. ARGV: fingerprint; key id; the claim to take over or ''; for how many ms a claim may have no key.
-- A claim is the key id and the time in ms in eight bytes.
local function time()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local held, now = redis.call('HGET', KEYS[1], ARGV[1]), time()
if held and string.sub(held, 1, 16) ~= ARGV[2] then
  local age = 0
  if #held == 24 then
    local high, low = struct.unpack('>I4I4', string.sub(held, 17))
    age = now - (high * 4294967296 + low)
  end
  if held ~= ARGV[3] or age < tonumber(ARGV[4]) then return {'held', held, tostring(age)} end
end
local stamp = struct.pack('>I4I4', math.floor(now / 4294967296), now % 4294967296)
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. stamp)
return {'claimed', '', string.format('%.0f', now)}

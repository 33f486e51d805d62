-- Takes a node's report, and says how far the partitions are and what time it is.
--
-- The node knows what it had applied when it sent this; when it has applied up to what it is told here, its view is in
-- step as of the sending, whatever lies between it and this server.
--
-- A master that takes no writes for now (its memory or disk is full, its replicas are away) still says how far it is: it
-- takes no changes either. A replica does not, for its master may be further.
--
-- KEYS: nodes; then of each partition: meta, digest. ARGV: node id, report (a JSON object with fields).
-- Answers the time, why the report was not taken or nothing, and of each partition what it says.
-- What somebody put there may be long; ours is not. What cannot be read is nothing.
local function short(key, field)
  local length = redis.pcall('HSTRLEN', key, field)
  if type(length) == 'table' then return false end
  if length > 64 then return '(too long)' end
  return redis.pcall('HGET', key, field)
end

local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local report = string.sub(ARGV[2], 1, -2) .. ',"reported_at":' .. now .. '}'
local wrote, why = redis.pcall('HSET', KEYS[1], ARGV[1], report), ''
if type(wrote) == 'table' and wrote.err then
  if string.find(wrote.err, 'READONLY', 1, true) then return wrote end
  why = wrote.err
end
local reply = {now, why}
for i = 2, #KEYS, 2 do
  -- A partition that cannot be read is one that says nothing; the others are still told.
  local tail = {}
  for at, field in ipairs({'identity', 'last', 'count', 'restoring'}) do tail[at] = short(KEYS[i], field) end
  tail[5] = short(KEYS[i + 1], 'all')
  reply[#reply + 1] = tail
end
return reply

-- One step of one partition: checks that everything its writer has read is still so, and that the revision grows, and
-- then writes records, indexes, digests, changes, papers and entries of the log; or writes nothing and says why.
--
-- Every writer of records moves `last`. So `last` being what the writer has seen says that every record and index it read
-- since is unchanged. Papers and the log can be written without a record, and are compared by themselves.
-- A script that fails half-way keeps what it has written. So all that can fail is looked at first.
--
-- A stream takes no number that is not above all it ever had. One that somebody has led far ahead is junk: it begins anew,
-- and whoever had not read it to its end sees by the revision before the next change that something is missing.
--
-- KEYS: meta, digest, changes, audit, papers, and those that records and indexes refer to by number.
-- ARGV: identity; last as it is; the revision that the first change follows; one that is known to be ours; how far ahead
--       of the time in µs others may be; changes kept; deadline in ms or ''; how many changes, of each: revision, sealed;
--       how many records, of each: key, field, sealed before or '', sealed, bucket, change of the digest;
--       how many papers, of each: field, sealed before or '' or '*' for whatever it is, sealed or '' to take it away;
--       how many entries the log has, how many are added, of each: sealed;
--       then indexes, of each: 'set' | 'unset' | 'clear', key, field, value.
local at = 0
local function take()
  at = at + 1
  return ARGV[at]
end

local meta, digest, stream, audit, papers = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local identity, last, follows, proven, ahead = take(), take(), take(), take(), take()
local kept, deadline = take(), take()

local strangers = {}
for number, key in ipairs(KEYS) do
  local wanted = 'hash'
  if number == 3 then wanted = 'stream' elseif number == 4 then wanted = 'list' end
  local found = redis.call('TYPE', key).ok
  if found ~= wanted and found ~= 'none' then
    if number ~= 4 and number ~= 5 then return {'wrong_type', key, found} end
    strangers[key] = true
  end
end
-- What lies where the log or the papers should be and is neither is as good as nothing, and gives way.
local function paper(field)
  if strangers[papers] then return '' end
  -- Ours are short. What is not is none that anybody has read.
  if redis.call('HSTRLEN', papers, field) > 65536 then return '?' end
  return redis.call('HGET', papers, field) or ''
end

local head = redis.call('HMGET', meta, 'identity', 'last', 'count')
if not head[1] then return {'not_made'} end
if head[1] ~= identity then return {'other_identity', head[1]} end

local changes = {}
for _ = 1, tonumber(take()) do
  changes[#changes + 1] = {revision = take(), sealed = take()}
end

local records, new = {}, 0
for _ = 1, tonumber(take()) do
  records[#records + 1] = {
    key = KEYS[tonumber(take())], field = take(), before = take(), sealed = take(), bucket = take(), term = take()
  }
end
local slips = {}
for _ = 1, tonumber(take()) do slips[#slips + 1] = {field = take(), before = take(), sealed = take()} end
local logged, entries = tonumber(take()), {}
for _ = 1, tonumber(take()) do entries[#entries + 1] = take() end

-- The answer to an earlier sending of the same may have been lost. Its first change tells, or its first entry, which is
-- like no other, or that every paper is what it is to become.
if changes[1] then
  for _, entry in ipairs(redis.call('XRANGE', stream, changes[1].revision .. '-0', changes[1].revision .. '-0')) do
    for i = 1, #entry[2], 2 do
      if entry[2][i] == 'r' and entry[2][i + 1] == changes[1].sealed then return {'done'} end
    end
  end
elseif entries[1] then
  if not strangers[audit] and redis.call('LINDEX', audit, logged) == entries[1] then return {'done'} end
else
  local all = true
  for _, slip in ipairs(slips) do
    all = all and paper(slip.field) == slip.sealed
  end
  if all then return {'done'} end
end

if (head[2] or '') ~= last then return {'conflict', head[2] or ''} end
local before = tonumber(follows)
for _, change in ipairs(changes) do
  local revision = tonumber(change.revision)
  if not revision or not before or revision <= before then return {'conflict', last} end
  before = revision
end
local time, is_junk = redis.call('TIME'), false
if changes[1] and redis.call('EXISTS', stream) == 1 then
  local about = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #about, 2 do
    if about[i] == 'last-generated-id' then
      local top = string.match(about[i + 1], '^%d+')
      if tonumber(top) >= tonumber(changes[1].revision) then
        local farthest = math.max(time[1] * 1000000 + time[2] + tonumber(ahead), tonumber(proven))
        if tonumber(top) <= farthest then return {'behind', top} end
        is_junk = true
      end
    end
  end
end
if deadline ~= '' then
  if time[1] * 1000 + math.floor(time[2] / 1000) > tonumber(deadline) then return {'late'} end
end

for _, record in ipairs(records) do
  local held = redis.call('HGET', record.key, record.field)
  if (held or '') ~= record.before then return {'conflict', last} end
  if not held then new = new + 1 end
end
for _, slip in ipairs(slips) do
  if slip.before ~= '*' and paper(slip.field) ~= slip.before then return {'conflict', last} end
end
if entries[1] and (strangers[audit] and 0 or redis.call('LLEN', audit)) ~= logged then return {'conflict', last} end

-- From here on nothing fails but the first write, when the server takes none.
local previous = follows
if is_junk then redis.call('DEL', stream) end
for key in pairs(strangers) do redis.call('DEL', key) end
for _, change in ipairs(changes) do
  redis.call('XADD', stream, 'MAXLEN', '~', kept, change.revision .. '-0', 'p', previous, 'r', change.sealed)
  previous = change.revision
end
if changes[1] then
  redis.call('HSET', meta, 'last', previous, 'count', string.format('%.0f', (tonumber(head[3]) or 0) + new))
end
for _, slip in ipairs(slips) do
  if slip.sealed == '' then
    redis.call('HDEL', papers, slip.field)
  else
    redis.call('HSET', papers, slip.field, slip.sealed)
  end
end
for _, entry in ipairs(entries) do redis.call('RPUSH', audit, entry) end

local function xor(field, term)
  local held, bytes = redis.call('HGET', digest, field), {}
  for i = 1, 8 do
    bytes[i] = bit.bxor(held and #held == 8 and string.byte(held, i) or 0, string.byte(term, i))
  end
  redis.call('HSET', digest, field, string.char(unpack(bytes)))
end
for _, record in ipairs(records) do
  redis.call('HSET', record.key, record.field, record.sealed)
  xor(record.bucket, record.term)
  xor('all', record.term)
end
while at < #ARGV do
  local what, key, field, value = take(), KEYS[tonumber(take())], take(), take()
  if what == 'set' then
    redis.call('HSET', key, field, value)
  elseif what == 'unset' then
    redis.call('HDEL', key, field)
  else
    redis.call('DEL', key)
  end
end
return {'done'}

-- Adds to the uses of keys. KEYS: usage. ARGV: the longest form of the uses of one key, the most hours, the most days, the
-- most sources; then of each key: id, more uses, in the form that `store/use_form.rs` says. What is there and not of that
-- form is taken for nothing.
local longest, hours, days, sources = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local top, bucket_top = 2 ^ 53 - 1, 2 ^ 48 - 1

-- A list of buckets stays a part of the form it is in: making a long string is most of what this script costs.
local function read_buckets(form, at)
  local length = struct.unpack('>I1', form, at)
  local last = at + length * 10
  if #form < last then error('short') end
  return {form = form, first = at + 1, last = last, length = length}, last + 1
end

local function read(form)
  local uses, at, length = {sources = {}}
  uses.version, uses.last, uses.address, uses.count, uses.since, uses.shadow, at = struct.unpack('>I1I6c16I7I6I7', form)
  if uses.version ~= 1 then error('version') end
  uses.hours, at = read_buckets(form, at)
  uses.days, at = read_buckets(form, at)
  length, at = struct.unpack('>I1', form, at)
  if length > sources then error('long') end
  for i = 1, length do
    local source = {}
    source.first, source.last, source.count, source.shadow, at = struct.unpack('>I6I6I7I7', form, at)
    -- The address, and the agent with its length.
    local stop = at + 16 + struct.unpack('>I1', form, at + 16)
    if #form < stop then error('short') end
    source.who = string.sub(form, at, stop)
    uses.sources[i], at = source, stop + 1
  end
  if at ~= #form + 1 then error('long') end
  return uses
end

-- Adds one bucket, and returns what the list is then: its length and its three pieces.
local function add_bucket(held, number, count, most)
  local form, first, length = held.form, held.first, held.length
  -- Where the newer ones begin: nearly always at the end.
  local after, rest = held.last + 1, held.last + 1
  while after > first do
    local before, often = struct.unpack('>I4I6', form, after - 10)
    if before < number then break end
    after = after - 10
    if before == number then
      local sum = struct.pack('>I4I6', number, math.min(count + often, bucket_top))
      return length, string.sub(form, first, after - 1), sum, string.sub(form, rest, held.last)
    end
    rest = after
  end
  if length >= most then
    -- It is older than all that are kept.
    if after == first then return length, string.sub(form, first, held.last), '', '' end
    first, length = first + 10, length - 1
  end
  return length + 1, string.sub(form, first, after - 1), struct.pack('>I4I6', number, count), string.sub(form, rest, held.last)
end

local function add_buckets(held, more, most)
  local length, before, own, after = held.length
  if length > most then error('long') end
  if more.length == 0 then return string.char(length), string.sub(held.form, held.first, held.last), '', '' end
  for at = more.first, more.last, 10 do
    local number, count = struct.unpack('>I4I6', more.form, at)
    length, before, own, after = add_bucket(held, number, count, most)
    if at + 9 < more.last then
      local form = before .. own .. after
      held = {form = form, first = 1, last = #form, length = length}
    end
  end
  return string.char(length), before, own, after
end

local function in_shadow(uses, since)
  if uses.since < since then
    uses.since, uses.shadow = since, 0
    for _, source in ipairs(uses.sources) do source.shadow = 0 end
  end
end

local function add(held, more)
  if held.last > more.last or (held.last == more.last and held.address > more.address) then
    more.last, more.address = held.last, held.address
  end
  more.count = math.min(held.count + more.count, top)
  in_shadow(held, more.since)
  in_shadow(more, held.since)
  more.shadow = math.min(held.shadow + more.shadow, top)
  local known = {}
  for _, source in ipairs(more.sources) do known[source.who] = source end
  for _, source in ipairs(held.sources) do
    local same = known[source.who]
    if same then
      same.first, same.last = math.min(same.first, source.first), math.max(same.last, source.last)
      same.count = math.min(same.count + source.count, top)
      same.shadow = math.min(same.shadow + source.shadow, top)
    else
      known[source.who] = source
      more.sources[#more.sources + 1] = source
    end
  end
  table.sort(more.sources, function(a, b)
    if a.last ~= b.last then return a.last > b.last end
    return a.who < b.who
  end)
end

-- What `more` has become by adding `held`; the lists of buckets are added here.
local function write(held, more)
  local parts = {struct.pack('>I1I6c16I7I6I7', 1, more.last, more.address, more.count, more.since, more.shadow)}
  parts[2], parts[3], parts[4], parts[5] = add_buckets(held.hours, more.hours, hours)
  parts[6], parts[7], parts[8], parts[9] = add_buckets(held.days, more.days, days)
  parts[10] = string.char(math.min(#more.sources, sources))
  for i = 1, math.min(#more.sources, sources) do
    local source = more.sources[i]
    parts[#parts + 1] = struct.pack('>I6I6I7I7', source.first, source.last, source.count, source.shadow)
    parts[#parts + 1] = source.who
  end
  return table.concat(parts)
end

local function merge(held, more)
  held, more = read(held), read(more)
  add(held, more)
  return write(held, more)
end

for i = 5, #ARGV, 2 do
  local id, form = ARGV[i], ARGV[i + 1]
  local length = redis.call('HSTRLEN', KEYS[1], id)
  if length > 0 and length <= longest then
    local is_good, sum = pcall(merge, redis.call('HGET', KEYS[1], id), form)
    if is_good then form = sum end
  end
  redis.call('HSET', KEYS[1], id, form)
end
return {}

-- Adds to the uses of keys. KEYS: usage. ARGV: the longest form of the uses of one key, the most hours, the most days, the
-- most sources; then of each key: id, more uses, in the form that `store/use_form.rs` says. What is there and not of that
-- form is taken for nothing.
local longest, hours, days, sources = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local top, bucket_top = 2 ^ 53 - 1, 2 ^ 48 - 1

local function read_buckets(form, at)
  local length = struct.unpack('>I1', form, at)
  local last = at + length * 10
  if #form < last then error('short') end
  return string.sub(form, at + 1, last), last + 1
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

local function add_buckets(held, more, most)
  for at = 1, #more, 10 do
    local number, count = struct.unpack('>I4I6', more, at)
    -- Where the newer ones begin: nearly always at the end.
    local after, rest = #held + 1
    rest = after
    while after > 1 do
      local before, often = struct.unpack('>I4I6', held, after - 10)
      if before < number then break end
      after = after - 10
      if before == number then
        count = math.min(count + often, bucket_top)
        break
      end
      rest = after
    end
    held = string.sub(held, 1, after - 1) .. struct.pack('>I4I6', number, count) .. string.sub(held, rest)
  end
  return string.sub(held, -most * 10)
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
  more.hours = add_buckets(held.hours, more.hours, hours)
  more.days = add_buckets(held.days, more.days, days)
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

local function write(uses)
  local parts = {
    struct.pack('>I1I6c16I7I6I7', 1, uses.last, uses.address, uses.count, uses.since, uses.shadow),
    struct.pack('>I1', #uses.hours / 10), uses.hours,
    struct.pack('>I1', #uses.days / 10), uses.days,
    struct.pack('>I1', math.min(#uses.sources, sources)),
  }
  for i = 1, math.min(#uses.sources, sources) do
    local source = uses.sources[i]
    parts[#parts + 1] = struct.pack('>I6I6I7I7', source.first, source.last, source.count, source.shadow)
    parts[#parts + 1] = source.who
  end
  return table.concat(parts)
end

for i = 5, #ARGV, 2 do
  local id, form = ARGV[i], ARGV[i + 1]
  local length = redis.call('HSTRLEN', KEYS[1], id)
  if length > 0 and length <= longest then
    local is_good, held = pcall(read, redis.call('HGET', KEYS[1], id))
    if is_good then
      local more = read(form)
      add(held, more)
      form = write(more)
    end
  end
  redis.call('HSET', KEYS[1], id, form)
end
return {}

-- Adds to when keys were last used and how often. KEYS: usage. ARGV: of each key: id, last used in ms, how often.
for i = 1, #ARGV, 3 do
  local held = redis.call('HGET', KEYS[1], ARGV[i])
  local last, count = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  if held then
    local before, often = string.match(held, '^(%d+):(%d+)$')
    if before then
      last = math.max(last, tonumber(before))
      count = count + tonumber(often)
    end
  end
  redis.call('HSET', KEYS[1], ARGV[i], string.format('%.0f:%.0f', last, count))
end
return {}

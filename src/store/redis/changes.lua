-- The next changes of streams, as XREAD answers. Of a value that is too long comes no more than shows that it is.
--
-- KEYS: streams. ARGV: how many of each, the longest; then of each stream: the id that was read last.
local call = {'XREAD', 'COUNT', ARGV[1], 'STREAMS'}
for i = 1, #KEYS do call[#call + 1] = KEYS[i] end
for i = 3, #ARGV do call[#call + 1] = ARGV[i] end
local streams, longest = redis.call(unpack(call)) or {}, tonumber(ARGV[2])
for _, stream in ipairs(streams) do
  for _, entry in ipairs(stream[2]) do
    local fields = entry[2]
    -- Ours have two. More of them would be as large as one that is too long.
    for i = #fields, 9, -1 do fields[i] = nil end
    for i, text in ipairs(fields) do
      if #text > longest then fields[i] = string.sub(text, 1, longest + 1) end
    end
  end
end
return streams

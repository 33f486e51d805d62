-- Counts the answers by status and prints them when wrk ends. Loaded by the scripts beside it; not a load of its own.
-- wrk runs every thread in a Lua state of its own: `response` counts there, and `done`, in the first state, adds them up.

local threads = {}

function setup(thread)
   table.insert(threads, thread)
end

-- A global, because wrk hands only globals from a thread's state to `done`.
counts = {}

function response(status)
   counts[status] = (counts[status] or 0) + 1
end

function done(summary)
   local sum = {}
   for _, thread in ipairs(threads) do
      for status, count in pairs(thread:get("counts")) do
         sum[status] = (sum[status] or 0) + count
      end
   end
   local statuses = {}
   for status in pairs(sum) do
      table.insert(statuses, status)
   end
   table.sort(statuses)
   print("answers by status:")
   for _, status in ipairs(statuses) do
      print(string.format("  %d  %d", status, sum[status]))
   end
   local e = summary.errors
   if e.connect + e.read + e.write + e.timeout > 0 then
      print(string.format("  without an answer: connect %d, read %d, write %d, timeout %d", e.connect, e.read, e.write, e.timeout))
   end
end

-- The value of an environment variable that the load cannot do without.
function from_environment(name)
   local value = os.getenv(name)
   if not value or value == "" then
      io.stderr:write("set " .. name .. " (keygate demo prints it)\n")
      os.exit(64)
   end
   return value
end

-- `text` made `size` bytes long by spaces before its last byte, so that JSON stays JSON.
function padded(text, size)
   return text:sub(1, -2) .. string.rep(" ", size - #text) .. text:sub(-1)
end

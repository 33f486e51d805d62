-- The load of `benches/run peers`, which sets the environment it reads. To send requests by hand, use the scripts beside it.
-- No `response` function: wrk would then parse every header for it, and the load would cost more than what it loads.

local method = os.getenv("BENCH_METHOD")
local path = os.getenv("BENCH_PATH")
local size = tonumber(os.getenv("BENCH_BODY"))
local most = tonumber(os.getenv("BENCH_REQUESTS"))
local requests = {}

-- Every request is ready before the first is sent. The keys come in random order, so that no table answers from one warm line.
function init(args)
   local body = nil
   local headers = { ["User-Agent"] = "keygate-bench" }
   if size > 0 then
      body = '{"series":[' .. string.rep(" ", size - 13) .. "]}"
      headers["Content-Type"] = "application/json"
   end
   for key in io.lines(os.getenv("BENCH_KEYS")) do
      headers["DD-API-KEY"] = key
      table.insert(requests, wrk.format(method, path, headers, body))
      if #requests == most then
         break
      end
   end
end

local n = 0
function request()
   n = n % #requests + 1
   return requests[n]
end

-- wrk's own report leaves out p99.9, so the figures are printed here: one line, latencies in microseconds.
function done(summary, latency)
   local e = summary.errors
   print(
      string.format(
         'BENCH {"requests":%d,"microseconds":%d,"bytes":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d,"p50":%d,"p99":%d,"p999":%d}',
         summary.requests,
         summary.duration,
         summary.bytes,
         e.connect,
         e.read,
         e.write,
         e.status,
         e.timeout,
         latency:percentile(50),
         latency:percentile(99),
         latency:percentile(99.9)
      )
   )
end

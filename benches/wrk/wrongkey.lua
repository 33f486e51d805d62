-- A flood of wrong keys, each request another one: every answer should be a 403, and the upstream should see nothing.
-- wrk -t2 -c64 -d10s --latency -s benches/wrk/wrongkey.lua http://127.0.0.1:8080
dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "status.lua")

local requests = {}

-- Each thread makes its own keys from its own seed. 1,024 of them are enough that none is a favourite.
function init(args)
   math.randomseed(os.time() + tonumber(tostring(wrk.thread):match("0x(%x+)") or "0", 16) % 65536)
   for n = 1, 1024 do
      local key = ""
      for _ = 1, 32 do
         key = key .. string.format("%x", math.random(0, 15))
      end
      requests[n] = wrk.format("POST", "/api/v2/series", { ["DD-API-KEY"] = key, ["Content-Type"] = "application/json" }, '{"series":[]}')
   end
end

local n = 0
function request()
   n = n % #requests + 1
   return requests[n]
end

-- Metrics as an Agent sends them: POST /api/v2/series with 1 KiB of JSON and an API key.
-- API_KEY=... wrk -t2 -c64 -d10s --latency -s benches/wrk/intake.lua http://127.0.0.1:8080
dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "status.lua")

wrk.method = "POST"
wrk.path = "/api/v2/series"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["DD-API-KEY"] = from_environment("API_KEY")
wrk.body = padded(
   string.format(
      '{"series":[{"metric":"keygate.bench","type":3,"points":[{"timestamp":%d,"value":1}],"resources":[{"name":"wrk","type":"host"}]}]}',
      os.time()
   ),
   1024
)

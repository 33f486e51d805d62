-- Logs as the browser SDK sends them: POST /api/v2/logs, the client token in the query, text/plain, another origin.
-- CLIENT_TOKEN=pub... wrk -t2 -c64 -d10s --latency -s benches/wrk/logs.lua http://127.0.0.1:8080
dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "status.lua")

wrk.method = "POST"
wrk.path = "/api/v2/logs?ddsource=browser&ddtags=sdk_version%3A6.0.0%2Cservice%3Awrk&dd-evp-origin=browser&dd-api-key="
   .. from_environment("CLIENT_TOKEN")
wrk.headers["Content-Type"] = "text/plain;charset=UTF-8"
wrk.headers["Origin"] = "http://shop.example"
local line = string.format(
   '{"date":%d000,"message":"wrk","status":"info","origin":"logger","service":"wrk","view":{"url":"http://shop.example/"}}',
   os.time()
)
wrk.body = string.rep(line .. "\n", 7) .. line

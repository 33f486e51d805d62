-- A program that reads the API: GET with an API key and an application key, attributed to a user.
-- API_KEY=... APP_KEY=... wrk -t2 -c64 -d10s --latency -s benches/wrk/api.lua http://127.0.0.1:8080
-- API_PATH names another path than the one below.
dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "status.lua")

wrk.method = "GET"
wrk.path = os.getenv("API_PATH") or "/api/v2/users"
wrk.headers["Accept"] = "application/json"
wrk.headers["DD-API-KEY"] = from_environment("API_KEY")
wrk.headers["DD-APPLICATION-KEY"] = from_environment("APP_KEY")

-- Posts one chat completion per request; prints a machine-readable line with the statuses seen.
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  ok, bad, last = 0, 0, 0
  local model = args[1] or "gpt-4o-mini"
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  for at = 2, #args, 2 do
    wrk.headers[args[at]] = args[at + 1]
  end
  wrk.body = '{"model":"' .. model .. '","messages":[{"role":"system","content":"You are a dispatcher."},'
    .. '{"role":"user","content":"When is the train on track four due, and what does it carry?"}],"temperature":0}'
end

function response(status)
  if status == 200 then
    ok = ok + 1
  else
    bad = bad + 1
    last = status
  end
end

function done(summary, latency)
  local good, wrong, seen = 0, 0, 0
  for _, thread in ipairs(threads) do
    good = good + thread:get("ok")
    wrong = wrong + thread:get("bad")
    seen = math.max(seen, thread:get("last"))
  end
  local e = summary.errors
  io.write(string.format(
    '\nRESULT {"ok":%d,"bad":%d,"last_bad":%d,"socket_errors":%d,"timeouts":%d,"seconds":%.6f,"p50_ms":%.4f,"p99_ms":%.4f}\n',
    good, wrong, seen, e.connect + e.read + e.write, e.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end

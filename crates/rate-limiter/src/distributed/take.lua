-- One exchange with a quota that several processes share: charges, takes back and grants, in this order.
-- KEYS[1]: where its state is.
-- ARGV: nanoseconds in which one call is regained, burst, calls to charge, calls given back, calls to take.
-- Returns how many calls are granted, and microseconds until the whole burst is there again.
--
-- The state is what is owed in nanoseconds, when that was in microseconds of this server's clock, and by which interval:
-- whole numbers, which a double holds exactly up to 2^53 (a burst regained in 104 days).
local interval, burst, charge, back, take =
  tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

local owed = 0
local state = redis.call('GET', KEYS[1])
if state then
  local debt, at, by = string.match(state, '^(%d+) (%d+) (%d+)$')
  if not debt then
    return redis.error_reply('ERR ' .. KEYS[1] .. ' holds no quota')
  end
  -- A clock that stepped back gives nothing and takes nothing; another interval keeps what was used, counted in calls.
  local regained = math.max(0, now - tonumber(at)) * 1000
  owed = math.max(0, tonumber(debt) - regained) * interval / tonumber(by)
end

local capacity = burst * interval
owed = math.max(0, owed + (charge - back) * interval)
local granted = math.max(0, math.min(take, math.floor((capacity - owed) / interval)))
owed = owed + granted * interval

if owed > 0 then
  -- When it has been regained, nothing is lost with it.
  redis.call('SET', KEYS[1], string.format('%.0f %.0f %.0f', owed, now, interval), 'PX', string.format('%.0f', math.ceil(owed / 1000000)))
else
  redis.call('DEL', KEYS[1])
end
return { granted, math.ceil(owed / 1000) }

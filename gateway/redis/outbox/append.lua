-- Appends events that happened outside of Redis.
-- KEYS[1] the outbox; ARGV[1] events kept; then of each event its id, its time in Unix ms, and its text.
-- Returns how many events had to go.
local before = redis.call('XLEN', KEYS[1])
local events = (#ARGV - 1) / 3
for index = 2, #ARGV, 3 do
  local id, at, event = ARGV[index], ARGV[index + 1], ARGV[index + 2]
  redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[1], '*', 'id', id, 'event', event, 'at', at)
end
return math.max(0, before + events - tonumber(ARGV[1]))

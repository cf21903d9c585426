-- Takes events out of the outbox of one slot, in Redis Cluster.
-- KEYS[1] the outbox, a stream. ARGV[1] events at most; ARGV[2] drop so many, the oldest; then the entries that are done.
-- Returns the number of events, how many were dropped, and events.
for index = 3, #ARGV do redis.call('XDEL', KEYS[1], ARGV[index]) end
local dropped = 0
if ARGV[2] ~= '0' then
  for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[2])) do
    dropped = dropped + redis.call('XDEL', KEYS[1], entry[1])
  end
end
local waiting = redis.call('XLEN', KEYS[1])
local events = ARGV[1] == '0' and {} or redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[1])
-- One for each of 16,384 slots would stay.
if waiting == 0 then redis.call('DEL', KEYS[1]) end
return { waiting, dropped, events }

-- A turn of a node that sends, or would like to.
-- KEYS[1] the outbox, a stream; KEYS[2] the sender, a run of a node, for as long as the key lives.
-- ARGV[1] this run; ARGV[2] lifetime of the sender, ms, 0: gives its place up; ARGV[3] events at most; then the entries that
-- are done.
-- Returns the number of events; 1 if this run is the sender now, else 0; and events, if it is.
for index = 4, #ARGV do redis.call('XDEL', KEYS[1], ARGV[index]) end
local waiting = redis.call('XLEN', KEYS[1])
local sender = redis.call('GET', KEYS[2])
if sender and sender ~= ARGV[1] then return { waiting, 0, {} } end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[2])
  return { waiting, 0, {} }
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
local events = ARGV[3] == '0' and {} or redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[3])
return { waiting, 1, events }

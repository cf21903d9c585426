-- Behind outbox/tell.lua: a node has members in a room from now on, or has none any more.
-- KEYS[1] the leases of nodes with members in the room, a set; KEYS[2] leases that have left it lately, a set; KEYS[3] the
-- outbox, if there is one.
-- ARGV[1] the lease; ARGV[2] 1: it has members, 0: it has none, 'doubt': it has none, and the last write may be lost; 'reaped':
-- it has expired. ARGV[3] the room; ARGV[4] types of events that are told; ARGV[5] prefix of their ids; ARGV[6] events kept;
-- ARGV[7] lifetime of KEYS[2], ms.
-- Returns events that were lost, why, and up to 1000 leases of the room if it is occupied.
local function about(type)
  if not string.find(ARGV[4], type, 1, true) then return end
  tell(KEYS[3], ARGV[5], ARGV[6], '"type":"' .. type .. '","room":"' .. ARGV[3] .. '"')
end

local before = #redis.call('SRANDMEMBER', KEYS[1], 2)
-- Before anything is written: a key of another type ends the script.
redis.call('SRANDMEMBER', KEYS[2], 1)

if ARGV[2] == '1' then
  redis.call('SADD', KEYS[1], ARGV[1])
  redis.call('SREM', KEYS[2], ARGV[1])
  if before == 0 then about('room.occupied') end
  return { dropped, refusal, redis.call('SRANDMEMBER', KEYS[1], 1000) }
end
local removed = redis.call('SREM', KEYS[1], ARGV[1])
-- Its end is told also if KEYS[1] was deleted, and by the first of the nodes that reap it.
local isFirst = redis.call('SADD', KEYS[2], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[7])
if before == removed and (isFirst == 1 or removed == 1 or ARGV[2] == 'doubt') then about('room.vacated') end
return { dropped, refusal, {} }

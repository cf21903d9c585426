-- Behind outbox/tell.lua: a node has members in a room from now on, or has none any more.
-- KEYS[1] the leases of nodes with members in the room, a set; KEYS[2] the outbox, if there is one.
-- ARGV[1] the lease; ARGV[2] 1: it has members, 0: it has none, 'doubt': it has none, and the last write may be lost; 'reaped':
-- it has expired. But for 1, the last KEYS is its index of rooms, with the entry ARGV[7].
-- ARGV[3] the room; ARGV[4] types of events that are told; ARGV[5] prefix of their ids; ARGV[6] events kept.
-- Returns events that were lost, why, and up to 1000 leases of the room.
local function about(type)
  if not string.find(ARGV[4], type, 1, true) then return end
  tell(KEYS[2], ARGV[5], ARGV[6], '"type":"' .. type .. '","room":"' .. ARGV[3] .. '"')
end

local before = #redis.call('SRANDMEMBER', KEYS[1], 1)
if ARGV[2] == '1' then
  redis.call('SADD', KEYS[1], ARGV[1])
  if before == 0 then about('room.occupied') end
else
  local removed = redis.call('SREM', KEYS[1], ARGV[1])
  -- The index knows of the room also if KEYS[1] was deleted. The first of the nodes that reap removes the entry.
  if ARGV[2] == 'reaped' or removed == 0 then
    removed = math.max(removed, redis.call('SREM', KEYS[#KEYS], ARGV[7]))
  end
  local isEmpty = #redis.call('SRANDMEMBER', KEYS[1], 1) == 0
  if isEmpty and (removed == 1 or ARGV[2] == 'doubt') then about('room.vacated') end
end
return { dropped, refusal, redis.call('SRANDMEMBER', KEYS[1], 1000) }

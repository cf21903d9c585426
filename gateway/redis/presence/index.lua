-- The index of a lease: the rooms in which it may have members. Its member '' is no room but a mark: the set was not deleted.
-- KEYS[1] the set. Its name has a random part: a key of another type there is garbage, and is deleted.
-- ARGV[1] return so many rooms, at random; 0: add the rooms that follow.
-- Returns the rooms, perhaps with ''; or 1: the set is new, or was deleted or replaced; 0: it was there.
local function call(command, word)
  local reply = redis.pcall(command, KEYS[1], word)
  if type(reply) ~= 'table' or not string.find(reply.err or '', 'WRONGTYPE', 1, true) then return reply end
  redis.call('DEL', KEYS[1])
  return redis.call(command, KEYS[1], word)
end

if ARGV[1] ~= '0' then return call('SRANDMEMBER', ARGV[1]) end
local begun = call('SADD', '')
if type(begun) == 'number' and #ARGV > 1 then redis.call('SADD', KEYS[1], unpack(ARGV, 2)) end
return begun

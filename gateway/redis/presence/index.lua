-- The rooms in which a lease may have members. '' among them is no room: it shows that the set is the one that was begun.
-- KEYS[1] the set, whose name only nodes can know; ARGV[1] how many of it to return, chosen at random; or 0, to enter the
-- rooms that follow.
-- Returns the rooms; or 1 if the set had not been begun, or was deleted or replaced, else 0.
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

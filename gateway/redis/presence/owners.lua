-- Whose members are in a room: for each run of a node, the lease of the first of them.
-- KEYS[1] the room's members; ARGV[1] at most so many.
-- Connections begin with the name of the run and a '-', and '.' comes next after that: one step leads from each run to the
-- next, however many members it has.
local owners, from = {}, '-'
for step = 1, tonumber(ARGV[1]) do
  local member = redis.call('ZRANGEBYLEX', KEYS[1], from, '+', 'LIMIT', 0, 1)[1]
  if not member then break end
  local instance, life = string.match(member, '^([^\n]*)%-[^\n]*\n(%d+)\n')
  if instance then owners[#owners + 1] = instance .. '.' .. life end
  from = '(' .. (instance and instance .. '.' or member)
end
return owners

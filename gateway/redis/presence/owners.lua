-- The leases that have members in a room: for each instance (run of a node), the lease of its first member.
-- KEYS[1] the members; ARGV[1] leases at most.
-- A connection is the instance, '-', and a number. '.' is the next byte behind '-': one ZRANGEBYLEX skips all members of an
-- instance.
local owners, from = {}, '-'
for step = 1, tonumber(ARGV[1]) do
  local member = redis.call('ZRANGEBYLEX', KEYS[1], from, '+', 'LIMIT', 0, 1)[1]
  if not member then break end
  local instance, life = string.match(member, '^([^\n]*)%-[^\n]*\n(%d+)\n')
  if instance then owners[#owners + 1] = instance .. '.' .. life end
  from = '(' .. (instance and instance .. '.' or member)
end
return owners
